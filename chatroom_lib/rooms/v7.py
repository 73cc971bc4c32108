"""v7: resume.

What changed since v6
- Whoever comes back says what they heard last, `?since=EPOCH:SEQ`, and hears the rest: no message twice, none left out.
  Whoever has heard nothing, `?since=:`, hears all that is kept, or the last ones only (`?since=:&last=50`).
- Every client is a reader of the history, with a position in it. It catches up as fast as it reads; then it is live,
  and hears what is said at once.
- Whoever does not keep up falls back into the history, instead of being evicted; and can speak while they catch up.
- If what somebody has missed is gone, they are told which numbers (a gap).

How it fails
- A client whose line is dead without a word stays for ever, and nobody notices.
- When the server restarts, all come back in the same moment.
- When the disk is full, nobody can speak.
- One machine: if it is gone, so is everything. What else the article leaves for later is missing here, too.
"""

import asyncio
import logging
import math
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import dataclass, field

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import OPEN

from chatroom_lib.frames import frame_key, frames
from chatroom_lib.history import KEEP, History, HistoryError
from chatroom_lib.message import (
    MAX_SIZE,
    Gap,
    Message,
    MessageError,
    PageRequest,
    Position,
    decode_request,
    encode,
    encode_end,
    encode_position,
    last_wanted,
    since_wanted,
)  # fmt: skip
from chatroom_lib.rate_limits import TokenBucket

MAX_WAITING = 256  # messages that may wait to be written down; then the room reads no more
MAX_DELAY = 0.02  # seconds; the longest that a message may wait for more
MAX_BATCH = 65536  # characters that are written down together, but for one message
CHUNK = 16  # messages that are read at once for whoever catches up
RECENT = 256  # messages in memory: when all come back at once, what they missed is read from the disk once
logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Reader:
    connection: ServerConnection
    key: Hashable  # its frame key
    position: int  # the number of the last message that it was sent; not kept up to date while it is live
    resumes: bool = False  # did it say where it was? Then it is told what is missing
    behind: asyncio.Event = field(default_factory=asyncio.Event)  # not set: it is live


class Room:
    def __init__(
        self,
        path: str | None = None,
        buffer_size: int = 64 * 1024,
        limit: float | None = 1.0,
        burst: int = 5,
        keep: int = KEEP,
        max_age: float | None = None,
    ):
        self.history = History(path, keep, max_age, recent=RECENT)
        self.buffer_size = buffer_size  # bytes that may wait for one client; then it falls behind
        self.limit = limit  # messages a second that one client may say; None: as many as it likes
        self.burst = burst  # messages that it may say at once
        self.incoming = asyncio.Queue(MAX_WAITING)  # (who has said it, message): not yet written down
        self.unwritten = set()  # (token, id) of each of these, and of those that are being written
        self.readers = {}  # connection -> Reader, in the order of joining
        self.last = 0  # the number of the last message that was sent to those who are live
        self.usual = 1  # messages that the last batch had
        self.next_batch_at = 0.0  # the loop time until which it waits for as many again
        self.fallen = 0  # how often somebody who was live fell behind
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
        """One visit: read, and beside that feed it, until the client leaves."""
        reader = self.readers[connection] = Reader(connection, frame_key(connection), self.last)
        reader.behind.set()
        try:
            async with asyncio.TaskGroup() as tasks:
                feeding = tasks.create_task(self.feed(reader))
                await asyncio.sleep(0)  # first it is told where it is
                await self.read(connection)
                feeding.cancel()
        except* MessageError as errors:
            await connection.close(1007, str(errors.exceptions[0]))
        except* HistoryError as errors:
            logger.error("%s", errors.exceptions[0])
            await connection.close(1011, "the history cannot be read")
        except* ConnectionClosed:
            pass
        finally:
            del self.readers[connection]

    # ------------------------------------------------------------ what a client hears

    async def feed(self, reader: Reader):
        """Send a client what it has missed, as fast as it reads. Then it is live, until it falls behind; and again."""
        with suppress(ConnectionClosed):  # read() ends the visit, when it has read what the client has said before
            await self.welcome(reader, reader.connection.request.path)
            while True:
                while reader.position < (level := self.last):
                    await self.send_next(reader, level)
                reader.behind.clear()  # no await since the test: it has all that the others have, and gets the next
                await reader.behind.wait()

    async def welcome(self, reader: Reader, path: str):
        if wanted := since_wanted(path):
            reader.resumes = True
            await self.tell(reader, self.history.resume(wanted, self.last, last_wanted(path, self.last)))
        elif last := last_wanted(path):
            newest, reader.position = reader.position, max(self.history.first - 1, reader.position - last)
            oldest = await self.history.after(reader.position, newest, 1)  # what is before that may be too old
            reader.position = oldest[0].seq - 1 if oldest else newest

    async def tell(self, reader: Reader, position: Position):
        """The next message that it hears is the one after this position."""
        reader.position = position.seq
        await reader.connection.send(encode_position(position))

    async def send_next(self, reader: Reader, level: int):
        """The next messages up to number `level`, which was sent to all who are live."""
        some = await self.history.after(reader.position, level, CHUNK)
        found = some[0].seq - 1 if some else level
        if found > reader.position:  # the history has forgotten what is between
            if not reader.resumes:
                await reader.connection.close(1013, "what you have not heard yet is gone")  # now all sending fails
            await self.tell(reader, Position(self.history.epoch, found, Gap(reader.position + 1, found)))
        for message in some:
            await reader.connection.send(encode(message))
            reader.position = message.seq

    def broadcast(self, messages: list[Message]):
        """Send these to all who are live. They are in the history, where the others find them."""
        clock = asyncio.get_running_loop().time
        start = clock()
        payloads = [encode(message).encode() for message in messages]
        shared = {}  # frame key -> the frames
        for connection, reader in self.readers.items():
            if reader.behind.is_set() or connection.protocol.state is not OPEN:
                continue
            if connection.transport.get_write_buffer_size() > self.buffer_size:
                self.fallen += 1
                reader.position = self.last
                reader.behind.set()
                continue
            if reader.key not in shared:
                shared[reader.key] = frames(payloads, connection)
            connection.transport.write(shared[reader.key])
        self.last = messages[-1].seq
        self.next_batch_at = clock() + min(MAX_DELAY, clock() - start)

    def reply(self, connection: ServerConnection, message: Message):
        """Send something to one client alone. No history has it, so whoever does not read it must come back."""
        if connection.protocol.state is OPEN:
            fed = connection.transport.get_write_buffer_limits()[1] + MAX_SIZE  # while it catches up, as much may wait
            if connection.transport.get_write_buffer_size() > self.buffer_size + fed:
                connection.transport.abort()  # close() would wait behind what is not read
            else:
                connection.transport.write(frames([encode(message).encode()], connection))

    # ------------------------------------------------------------ what a client says

    # the only task that reads from this connection
    async def read(self, connection: ServerConnection):
        clock = asyncio.get_running_loop().time
        limiter = TokenBucket(self.limit, self.burst) if self.limit else None
        async for frame in connection:
            request = decode_request(frame)
            if isinstance(request, PageRequest):
                await self.send_page(connection, request)
            elif limiter and (wait := limiter.wait(clock())) and not self.knows(request):
                await connection.send(encode(self.refusal(request, f"Please wait {math.ceil(wait)} s.")))
                await asyncio.sleep(0)  # the others first
            else:
                if request.id is not None:
                    self.unwritten.add((request.token, request.id))
                await self.incoming.put((connection, request))

    def knows(self, message: Message) -> bool:
        return (message.token, message.id) in self.unwritten or self.history.knows(message)

    async def send_page(self, connection: ServerConnection, request: PageRequest):
        page = await self.history.before(min(request.before, self.last + 1), request.limit)
        for message in page:
            await connection.send(encode(message))
        if not page:
            await connection.send(encode_end(request))

    def refusal(self, message: Message, why: str) -> Message:
        self.refused += 1
        return Message("chatroom", f"Not sent. {why}", refused=message.content, id=message.id)

    # the only task that writes to the history
    async def write(self):
        failing = False
        while True:
            batch = await self.next_batch()
            try:
                kept = await self.history.append([message for _, message in batch], once=True)
            except HistoryError as error:
                if not failing:
                    logger.error("%s; what people say is refused", error)
                failing = True
                for connection, message in batch:
                    if not self.history.knows(message):
                        self.reply(connection, self.refusal(message, "The room cannot write it down."))
            else:
                failing = False
                self.acknowledge_again(batch, kept)
                if new := [message for message in dict.fromkeys(kept) if message.seq > self.last]:
                    self.broadcast(new)
            self.unwritten.difference_update((message.token, message.id) for _, message in batch)

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

    def acknowledge_again(self, batch: list[tuple[ServerConnection, Message]], kept: list[Message]):
        """Whoever says again what they have been sent already hears it once more."""
        for (connection, _), message in zip(batch, kept):
            if reader := self.readers.get(connection):
                if message.seq <= (reader.position if reader.behind.is_set() else self.last):
                    self.reply(connection, message)

    def members(self):
        return list(self.readers)
