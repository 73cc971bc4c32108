"""A line on real sockets that is slow, or goes dark: a relay between a client and the server.

The simulation needs none: there the network itself delays and holds back packets.
"""

import asyncio
from collections.abc import Callable

from chatroom_lib.clients.connect import reset_socket
from chatroom_lib.clients.scenario import NEVER, SMALL_BUFFER, Client

MAX_IN_FLIGHT = 16  # chunks of SMALL_BUFFER bytes on a slow line, in each direction


class Line:
    """The line of one client, to whom `port` is the server's from now on. `clock` tells the seconds of the run."""

    def __init__(self, client: Client, clock: Callable[[], float]):
        self.client, self.clock = client, clock
        self.tasks: set[asyncio.Task] = set()

    async def open(self, host: str, port: int) -> None:
        async def relay(reader, writer):
            self.tasks.add(asyncio.current_task())
            try:
                there = await asyncio.open_connection(host, port, limit=SMALL_BUFFER)
            except OSError:
                return writer.transport.abort()
            try:
                async with asyncio.TaskGroup() as directions:
                    directions.create_task(self.carry(reader, there[1]))
                    directions.create_task(self.carry(there[0], writer))
            except asyncio.CancelledError:
                pass  # by close(): before Python 3.12, asyncio logs an error for a task that ends so
            finally:
                writer.transport.abort()
                there[1].transport.abort()

        self.server = await asyncio.start_server(relay, "127.0.0.1", 0, limit=SMALL_BUFFER)
        self.port = self.server.sockets[0].getsockname()[1]

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One direction. What arrives is held back for `latency` seconds, and while the line is dark."""
        writer.transport.set_write_buffer_limits(SMALL_BUFFER)
        chunks = asyncio.Queue(MAX_IN_FLIGHT)
        taking = asyncio.create_task(self.take(reader, chunks))
        try:
            while True:
                due, chunk = await chunks.get()
                await asyncio.sleep(due - self.clock())
                await self.lit()
                if not chunk:
                    return hang_up(writer, chunk)
                writer.write(chunk)
                await writer.drain()
        except OSError:
            pass  # the connection is lost
        finally:
            taking.cancel()

    async def take(self, reader: asyncio.StreamReader, chunks: asyncio.Queue) -> None:
        chunk = b"first"
        while chunk:
            await self.lit()
            try:
                chunk = await reader.read(SMALL_BUFFER)
            except ConnectionError:
                chunk = None  # a reset
            await chunks.put((self.clock() + self.client.latency, chunk))

    async def lit(self) -> None:
        """Wait for as long as the line is dark."""
        if self.client.dark <= self.clock() < self.client.light:
            if self.client.light == NEVER:
                await asyncio.get_running_loop().create_future()
            await asyncio.sleep(self.client.light - self.clock())

    async def close(self) -> None:
        self.server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


def hang_up(writer: asyncio.StreamWriter, end: bytes | None) -> None:
    """Pass on the end of a stream: b"" is the polite one, None a reset."""
    if end is None:
        reset_socket(writer.transport)
    elif writer.can_write_eof() and not writer.transport.is_closing():
        writer.write_eof()
