"""Solutions to the exercises of chapter 02."""

import asyncio

from websockets.exceptions import ConnectionClosed

from chatroom_lib import MessageError, decode, encode, rooms


class Room1(rooms.resolve("v2")):
    """Let Eve in: she is appended without the lock. Nothing else runs meanwhile, and a broadcast in flight
    reaches her at the end of the list. Removals still need the lock, since they shift everybody behind them."""

    async def handle(self, connection):
        self.connections.append(connection)
        try:
            async for frame in connection:
                task = asyncio.create_task(self.broadcast(decode(frame)))
                self.broadcasts.add(task)
                task.add_done_callback(self.broadcasts.discard)
        except MessageError as error:
            await connection.close(1007, str(error))
        except ConnectionClosed:
            pass


class Room2(rooms.resolve("v2-rw")):
    """Repair the read-write lock: remember the dead, and remove them when this broadcast is no longer a reader."""

    async def broadcast(self, message):
        dead = []
        async with self.lock.read():
            for connection in self.connections:
                try:
                    await connection.send(encode(message))
                except ConnectionClosed:
                    dead.append(connection)
        async with self.lock.write():
            self.connections = [connection for connection in self.connections if connection not in dead]


class Room3(rooms.resolve("v2")):
    """Patience has an end: a second for each send, and then the connection is aborted. (`close()` would not do: its
    close frame waits behind everything that the other end has not read.)"""

    async def broadcast(self, message):
        async with self.lock:
            for connection in list(self.connections):
                try:
                    async with asyncio.timeout(1):
                        await connection.send(encode(message))
                except (ConnectionClosed, TimeoutError):
                    connection.transport.abort()
                    self.connections.remove(connection)
