"""v4: fan-out.

What changed since v3.2
- A message is turned into a WebSocket frame once, and everybody gets the same bytes.
- In an idle room a message goes out at once. In a busy one, what is said within a moment goes to each client in one
  write. That moment is half as long as the last writing took, or one turn of the event loop. So the busier the room,
  the fewer system calls a message costs.
- Writing never waits: what a client has not read stays in its transport's buffer. Whoever has more than
  `buffer_size` bytes there is put out (`evicted`), and the others hear everything. Where nothing waits, nothing can
  come between: no hub, no channels, no outboxes, no writers.
- A client may say `burst` messages at once after a silence, and `limit` a second in the long run.

How it fails
- It puts people out whom v3.2 would keep with gaps. They must come again, and nobody tells them what they missed.
- A few messages of a megabyte, the longest that `websockets` takes, can put out who is well but far away.
- It relies on what lies below `send()`: frames, the connection's transport, and one task writing at a time.
- One event loop is one core. What the article leaves for later is missing here too.
"""

import asyncio
import math

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN

from chatroom_lib.message import Message, MessageError, decode, encode
from chatroom_lib.rate_limits import TokenBucket

BATCH = 65536  # bytes that may be gathered before they are written
REST = 0.02  # seconds; the longest that a message may wait for more


class Room:
    def __init__(self, buffer_size: int = 512 * 1024, limit: float | None = 1.0, burst: int = 5):
        self.buffer_size = buffer_size  # bytes that may wait for one client
        self.limit = limit  # messages a second that one client may say; None: as many as it likes
        self.burst = burst  # messages that it may say at once
        self.connections = {}  # connection -> the form its frames have, in the order of joining
        self.gathered = []  # messages not yet written, as UTF-8
        self.gathered_bytes = 0
        self.idle = True  # nothing is gathered, and nothing was said in this turn of the event loop
        self.rest = 0.0  # until when what is said waits for more, on the loop's clock
        self.evicted = 0  # clients that were put out
        self.refused = 0  # messages that came too soon after the last ones

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        pass

    async def handle(self, connection):
        """One visit: join, then read until the client leaves."""
        self.connections[connection] = form_of(connection)
        try:
            await self.read(connection)
        finally:
            self.connections.pop(connection, None)  # it is gone already if it was put out

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
        """Say `message` to all: at once, or if the room is busy, with whatever else is said in this moment."""
        self.gathered.append(encode(message).encode())
        self.gathered_bytes += len(self.gathered[-1])
        if self.idle:
            self.idle = False
            self.flush()
            asyncio.get_running_loop().call_soon(self.flush_when_due)
        elif self.gathered_bytes > BATCH:
            self.flush()

    def flush_when_due(self):
        """Called in every turn of the event loop until there was one in which nobody said anything."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        if start >= self.rest:
            if not self.gathered:
                self.idle = True
                return
            self.flush()
            end = loop.time()
            self.rest = end + min(REST, (end - start) / 2)
        loop.call_soon(self.flush_when_due)  # and not call_later: a timer may be a millisecond late

    def flush(self):
        payloads, self.gathered, self.gathered_bytes = self.gathered, [], 0
        shared = {}  # form -> the frames in it
        for connection, form in list(self.connections.items()):
            if form not in shared:
                shared[form] = frames(payloads, connection)
            self.deliver(connection, shared[form])

    def deliver(self, connection: ServerConnection, data: bytes):
        transport = connection.transport
        if connection.protocol.state is not OPEN:
            pass  # it is leaving
        elif transport.get_write_buffer_size() <= self.buffer_size:
            transport.write(data)
        elif self.connections.pop(connection, None):
            self.evicted += 1
            transport.abort()  # close() would wait behind what is not read

    def members(self):
        return list(self.connections)


def frames(payloads: list[bytes], connection: ServerConnection) -> bytes:
    """A text frame for each payload, compressed if that is what `connection` has negotiated."""
    extensions = connection.protocol.extensions
    return b"".join(Frame(Opcode.TEXT, payload).serialize(mask=False, extensions=extensions) for payload in payloads)


def form_of(connection: ServerConnection):
    """Connections of equal form can be sent the same bytes.

    Without compression all are equal. With it, those are who agreed on the same parameters and start each message
    afresh; a connection whose compressor remembers earlier messages ("context takeover", RFC 7692) is like no other.
    """
    extensions = connection.protocol.extensions
    if all(getattr(extension, "local_no_context_takeover", False) for extension in extensions):
        return repr(extensions)
    return connection
