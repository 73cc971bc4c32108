"""The small room: `broadcast()` of the `websockets` library, with what it lacks to keep what v4 keeps.

To `WebsocketsBroadcast` it adds two things. Each client has a token bucket, and is told what it is refused. And a
client for which more than `buffer_size` bytes wait is evicted at once. It is not `noticed` if less waits for a client
whose line is dark: the ping waits behind that.
"""

import asyncio

from websockets.asyncio.server import broadcast
from websockets.exceptions import ConnectionClosed

from chatroom_lib.message import Message, MessageError, decode, encode
from chatroom_lib.rate_limits import TokenBucket


class BoundedBroadcast:
    server_options = {"ping_interval": 20, "ping_timeout": 20}  # the library's default

    def __init__(self, buffer_size: int = 512 * 1024, limit: float | None = 1.0, burst: int = 5):
        self.buffer_size = buffer_size  # bytes that may wait for one client
        self.limit, self.burst = limit, burst  # messages a second, messages at once
        self.connections = {}  # connection -> None: a set in the order of joining

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        pass

    async def handle(self, connection):
        self.connections[connection] = None
        limiter = TokenBucket(self.limit, self.burst) if self.limit else None
        try:
            async for frame in connection:
                message = decode(frame)
                if limiter and limiter.wait(asyncio.get_running_loop().time()):
                    refusal = Message("chatroom", "Not sent: too fast.", message.content)
                    await connection.send(encode(refusal))
                else:
                    self.broadcast(message)
        except MessageError as error:
            await connection.close(1007, str(error))
        except ConnectionClosed:
            pass
        finally:
            del self.connections[connection]

    def broadcast(self, message: Message):
        broadcast(self.connections, encode(message))
        for connection in self.connections:
            if connection.transport.get_write_buffer_size() > self.buffer_size:
                connection.transport.abort()  # close() would wait behind what is not read

    def members(self):
        return list(self.connections)
