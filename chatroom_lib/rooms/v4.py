"""v4: fan-out.

What changed since v3.2
- A message is turned into a WebSocket frame once, and everybody gets the same bytes.
- In an idle room a message goes out at once. In a busy one, the messages of a moment go to each client in one write.
  That moment is over when there are as many as last time, or when it has lasted as long as the last writing. So the
  busier the room, the fewer system calls a message costs.
- Writing never waits: what a client has not read stays in its transport's buffer. A client with more than
  `buffer_size` bytes there is evicted, and the others hear everything. Where nothing waits, nothing can come between:
  no hub, no channels, no outboxes, no writers.
- A client may say `burst` messages at once after a silence, and `limit` a second in the long run.

How it fails
- It evicts clients that v3.2 would keep with gaps. They must come again, and nobody tells them what they missed.
- A few people who say several messages of 64 KiB at once, the longest that a server takes, can evict a healthy client.
- It relies on what lies below `send()`: frames, the connection's transport, and one task writing at a time.
- A busy room keeps its core busy even while it waits for more messages: it asks again in every iteration of the loop.
- One event loop is one core. What the article leaves for later is missing here too.
"""

import asyncio
import math

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import OPEN

from chatroom_lib.frames import frame_key, frames
from chatroom_lib.message import Message, MessageError, decode, encode
from chatroom_lib.rate_limits import TokenBucket

MAX_BATCH = 65536  # bytes that may wait to be written together
MAX_DELAY = 0.02  # seconds; the longest that a message may wait for more


class Room:
    def __init__(self, buffer_size: int = 512 * 1024, limit: float | None = 1.0, burst: int = 5):
        self.buffer_size = buffer_size  # bytes that may wait for one client
        self.limit = limit  # messages a second that one client may say; None: as many as it likes
        self.burst = burst  # messages that it may say at once
        self.connections = {}  # connection -> frame key, in the order of joining; no await between look and change
        self.batch = []  # messages not yet written, as UTF-8
        self.batch_bytes = 0
        self.idle = True  # nothing came in the last wait for more; the batch is empty
        self.usual = 1  # messages that the last batch had
        self.next_flush = 0.0  # the loop time until which the room waits for as many again
        self.evicted = 0  # clients whose buffer was too full
        self.refused = 0  # messages that came too soon after the last ones

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        pass

    async def handle(self, connection):
        """One visit: join, then read until the client leaves."""
        self.connections[connection] = frame_key(connection)
        try:
            await self.read(connection)
        finally:
            self.connections.pop(connection, None)  # it is gone already if it was evicted

    # the only task that reads from this connection
    async def read(self, connection: ServerConnection):
        clock = asyncio.get_running_loop().time
        limiter = TokenBucket(self.limit, self.burst) if self.limit else None
        try:
            async for frame in connection:
                message = decode(frame)
                if limiter and (wait := limiter.wait(clock())):
                    self.refuse(connection, message, wait)
                    await asyncio.sleep(0)  # the others first
                else:
                    self.broadcast(message)
        except MessageError as error:
            await connection.close(1007, str(error))
        except ConnectionClosed:
            pass

    def refuse(self, connection: ServerConnection, message: Message, wait: float):
        self.refused += 1
        reply = Message("chatroom", f"Not sent. Please wait {math.ceil(wait)} s.", message.content)
        self.deliver(connection, frames([encode(reply).encode()], connection))

    def broadcast(self, message: Message):
        """Say `message` to all: at once, or if the room is busy, together with the other messages of this moment."""
        self.batch.append(encode(message).encode())
        self.batch_bytes += len(self.batch[-1])
        if self.idle:
            self.idle = False
            self.flush()
            asyncio.get_running_loop().call_soon(self.flush_when_due)
        elif self.batch_bytes > MAX_BATCH:
            self.flush()

    def flush_when_due(self):
        """Called in every iteration of the event loop until the wait for more ends and nobody has said anything."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        if len(self.batch) >= self.usual or start >= self.next_flush:
            if not self.batch:
                self.idle = True
                return
            self.usual = len(self.batch)
            self.flush()
            if self.usual > 1:  # else there may be nobody to wait for
                end = loop.time()
                self.next_flush = end + min(MAX_DELAY, end - start)
        loop.call_soon(self.flush_when_due)  # and not call_later: a timer may be a millisecond late

    def flush(self):
        payloads, self.batch, self.batch_bytes = self.batch, [], 0
        shared = {}  # frame key -> the frames
        for connection, key in list(self.connections.items()):
            if key not in shared:
                shared[key] = frames(payloads, connection)
            self.deliver(connection, shared[key])

    def deliver(self, connection: ServerConnection, data: bytes):
        transport = connection.transport
        if connection.protocol.state is OPEN:  # else it is leaving
            if transport.get_write_buffer_size() <= self.buffer_size:
                transport.write(data)
            elif self.connections.pop(connection, None):
                self.evicted += 1
                transport.abort()  # close() would wait behind what is not read

    def members(self):
        return list(self.connections)
