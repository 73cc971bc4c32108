"""v5: history.

What changed since v4
- What is said is written down first, and heard second: whatever anybody has heard is in a file, whenever the room dies.
- All that is said while the disk is busy is written down together, in one commit, and delivered together: the busier
  the room, the fewer commits a message costs. A thread waits for the disk, not the loop.
- Each message has a number, `seq`: 1, 2, 3, ... without a hole.
- A newcomer may ask for the last ones (`?last=50`), and whoever is here for earlier ones, a page at a time.

How it fails
- Whoever loses the connection cannot know whether their last words are in the file. If they say them again, the others
  hear them twice.
- Whoever was away gets the last ones, but which they have missed, nobody tells them.
- When the disk is full, nobody can speak.
- One event loop is one core. What the article leaves for later is missing here too, but for the history.
"""

import asyncio
import logging
import math

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import OPEN

from chatroom_lib.frames import frame_key, frames
from chatroom_lib.history import KEEP, History, HistoryError
from chatroom_lib.message import Message, MessageError, PageRequest, decode_request, encode, encode_end, last_wanted
from chatroom_lib.rate_limits import TokenBucket

MAX_WAITING = 256  # messages that may wait to be written down; then the room reads no more
MAX_DELAY = 0.02  # seconds; the longest that a message may wait for more
MAX_BATCH = 65536  # characters that are written down together, but for one message
CHUNK = 16  # messages that are read at once for a newcomer
logger = logging.getLogger(__name__)


class Room:
    def __init__(
        self,
        path: str | None = None,
        buffer_size: int = 512 * 1024,
        limit: float | None = 1.0,
        burst: int = 5,
        keep: int = KEEP,
        max_age: float | None = None,
    ):
        self.history = History(path, keep, max_age)  # of the last `keep` messages, and the last `max_age` seconds
        self.buffer_size = buffer_size  # bytes that may wait for one client
        self.limit = limit  # messages a second that one client may say; None: as many as it likes
        self.burst = burst  # messages that it may say at once
        self.incoming = asyncio.Queue(MAX_WAITING)  # (who has said it, message): not yet written down
        self.connections = {}  # connection -> frame key, in the order of joining
        self.last = 0  # the number of the last message that was sent to them
        self.usual = 1  # messages that the last batch had
        self.next_batch_at = 0.0  # the loop time until which it waits for as many again
        self.evicted = 0  # clients whose buffer was too full
        self.refused = 0  # messages that came too soon after the last ones, or could not be written down

    async def __aenter__(self):
        await self.history.__aenter__()
        self.last = self.history.last
        self.writer = asyncio.create_task(self.write())
        return self

    async def __aexit__(self, *exc):
        self.writer.cancel()
        await asyncio.wait([self.writer])
        await self.history.__aexit__(*exc)

    async def handle(self, connection: ServerConnection):
        """One visit: catch up, join, then read until the client leaves."""
        try:
            await self.catch_up(connection, last_wanted(connection.request.path))
            await self.read(connection)
        except MessageError as error:
            await connection.close(1007, str(error))
        except HistoryError as error:
            logger.error("%s", error)
            await connection.close(1011, "the history cannot be read")
        except ConnectionClosed:
            pass
        finally:
            self.connections.pop(connection, None)  # it is gone already if it was evicted

    async def catch_up(self, connection: ServerConnection, messages: int):
        """Send a newcomer the last messages, as fast as it reads them, and what is said meanwhile. Then it joins."""
        position = max(0, self.last - messages)
        while position < (level := self.last):
            some = await self.history.after(position, level, CHUNK)
            for message in some:
                await connection.send(encode(message))
            position = some[-1].seq if some else level
        self.connections[connection] = frame_key(connection)  # no await since the test: it has all, and gets the next

    # the only task that reads from this connection
    async def read(self, connection: ServerConnection):
        clock = asyncio.get_running_loop().time
        limiter = TokenBucket(self.limit, self.burst) if self.limit else None
        async for frame in connection:
            request = decode_request(frame)
            if isinstance(request, PageRequest):
                await self.send_page(connection, request)
            elif limiter and (wait := limiter.wait(clock())):
                self.refuse(connection, request, f"Please wait {math.ceil(wait)} s.")
                await asyncio.sleep(0)  # the others first
            else:
                await self.incoming.put((connection, request))

    async def send_page(self, connection: ServerConnection, request: PageRequest):
        page = await self.history.before(min(request.before, self.last + 1), request.limit)
        for message in page:
            await connection.send(encode(message))
        if not page:
            await connection.send(encode_end(request))

    def refuse(self, connection: ServerConnection, message: Message, why: str):
        self.refused += 1
        reply = Message("chatroom", f"Not sent. {why}", refused=message.content, id=message.id)
        self.deliver(connection, frames([encode(reply).encode()], connection))

    # the only task that writes to the history
    async def write(self):
        failing = False
        while True:
            batch = await self.next_batch()
            try:
                self.broadcast(await self.history.append([message for _, message in batch]))
                failing = False
            except HistoryError as error:
                if not failing:
                    logger.error("%s; what people say is refused", error)
                failing = True
                for connection, message in batch:
                    self.refuse(connection, message, "The room cannot write it down.")

    async def next_batch(self) -> list[tuple[ServerConnection, Message]]:
        """What was said while the last batch was written down and sent. If that is less than last time, wait for more,
        but not longer than the last sending took: a batch more costs as much again."""
        clock = asyncio.get_running_loop().time
        batch = [await self.incoming.get()]
        size = len(batch[0][1].content)
        while size < MAX_BATCH:
            if not self.incoming.empty():
                batch.append(self.incoming.get_nowait())
                size += len(batch[-1][1].content)
            elif len(batch) < self.usual and clock() < self.next_batch_at:
                await asyncio.sleep(0)
            else:
                break
        self.usual = len(batch)
        return batch

    def broadcast(self, messages: list[Message]):
        clock = asyncio.get_running_loop().time
        start = clock()
        payloads = [encode(message).encode() for message in messages]
        shared = {}  # frame key -> the frames
        for connection, key in list(self.connections.items()):
            if key not in shared:
                shared[key] = frames(payloads, connection)
            self.deliver(connection, shared[key])
        self.last = messages[-1].seq
        self.next_batch_at = clock() + min(MAX_DELAY, clock() - start)

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
