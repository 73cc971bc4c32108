"""Relay through core NATS: publish what is said, and deliver what comes back, also what one's own people have said.

That is how somebody builds who puts a message broker between the servers, as the article proposes: no server hears its
own people first. But a broker that only passes on, such as core NATS or Redis's publish and subscribe, keeps the order
of each publisher, and none between two: what is said at the same time at two servers may reach a third and a fourth in
different orders. What is said while a server is cut off from it, or while it is down, nobody there ever hears; nor is
anybody told.
"""

import asyncio
from contextlib import suppress

from websockets.asyncio.server import broadcast
from websockets.exceptions import ConnectionClosed

from chatroom_lib.message import Message, MessageError, PageRequest, decode_request, encode
from chatroom_lib.rate_limits import TokenBucket

SUBJECT = "chatroom.said"


class RelayCore:
    many_servers = True
    server_options = {"ping_interval": 20, "ping_timeout": 20}

    def __init__(self, nats: str, buffer_size: int = 512 * 1024, limit: float | None = 1.0, burst: int = 5):
        self.nats = nats
        self.buffer_size = buffer_size  # bytes that may wait for one client
        self.limit, self.burst = limit, burst  # messages a second, messages at once
        self.connections = {}  # connection -> None: a set in the order of joining

    async def __aenter__(self):
        import nats

        options = dict(max_reconnect_attempts=-1, reconnect_time_wait=0.05, ping_interval=1, error_cb=ignore)
        self.relay = await nats.connect(self.nats, **options)
        await self.relay.subscribe(SUBJECT, cb=self.hear)
        return self

    async def __aexit__(self, *exc):
        await self.relay.close()

    async def handle(self, connection):
        self.connections[connection] = None
        limiter = TokenBucket(self.limit, self.burst) if self.limit else None
        try:
            async for frame in connection:
                message = decode_request(frame)
                if isinstance(message, PageRequest):
                    raise MessageError("this room has no pages")
                if limiter and limiter.wait(asyncio.get_running_loop().time()):
                    refusal = Message("chatroom", "Not sent: too fast.", message.content, message.id)
                    await connection.send(encode(refusal))
                else:
                    await self.relay.publish(SUBJECT, encode(message).encode())
        except MessageError as error:
            await connection.close(1007, str(error))
        except ConnectionClosed:
            pass
        finally:
            del self.connections[connection]

    async def hear(self, said):
        with suppress(UnicodeDecodeError):
            broadcast(self.connections, said.data.decode())
        for connection in self.connections:
            if connection.transport.get_write_buffer_size() > self.buffer_size:
                connection.transport.abort()  # close() would wait behind what is not read

    def members(self):
        return list(self.connections)


async def ignore(error):
    """It tries again by itself, for ever."""
    if asyncio.current_task().cancelling():
        raise asyncio.CancelledError  # nats-py, in asyncio.wait_for, has swallowed it
