"""What AckAtOnce, CommitBehind, SyncNormal and the rooms of resuming_room.py share: BoundedBroadcast with a history.

As it stands here it writes down what is said, and then tells everybody, as v6 does. The others change one thing.
"""

import asyncio

from websockets.asyncio.server import broadcast
from websockets.exceptions import ConnectionClosed

from chatroom_lib.history import KEEP, History, HistoryError
from chatroom_lib.message import Message, MessageError, PageRequest, decode_request, encode, last_wanted
from chatroom_lib.rate_limits import TokenBucket

MAX_WAITING = 256  # messages that may wait to be written down
CHUNK = 16  # messages that are read at once for a newcomer


class HistoryRoom:
    synchronous = "FULL"  # a commit waits until the medium has it

    def __init__(
        self,
        path: str | None = None,
        buffer_size: int = 512 * 1024,
        limit: float | None = 1.0,
        burst: int = 5,
        keep: int = KEEP,
    ):
        self.history = History(path, keep, synchronous=self.synchronous)
        self.buffer_size = buffer_size  # bytes that may wait for one client
        self.limit, self.burst = limit, burst  # messages a second, messages at once
        self.incoming = asyncio.Queue(MAX_WAITING)  # (who has said it, message): not yet written down
        self.connections = {}  # connection -> None: a set in the order of joining
        self.last = 0  # the number of the last message that was sent to them

    async def __aenter__(self):
        await self.history.__aenter__()
        self.last = self.history.last
        self.writer = asyncio.create_task(self.write())
        return self

    async def __aexit__(self, *exc):
        self.writer.cancel()
        await asyncio.wait([self.writer])
        await self.history.__aexit__(*exc)

    async def handle(self, connection):
        try:
            await self.catch_up(connection, last_wanted(connection.request.path))
            await self.read(connection)
        except MessageError as error:
            await connection.close(1007, str(error))
        except HistoryError:
            await connection.close(1011, "the history cannot be read")
        except ConnectionClosed:
            pass
        finally:
            self.connections.pop(connection, None)

    async def catch_up(self, connection, messages: int):
        position = max(0, self.last - messages)
        while position < (level := self.last):
            some = await self.history.after(position, level, CHUNK)
            for message in some:
                await connection.send(encode(message))
            position = some[-1].seq if some else level
        self.connections[connection] = None

    async def read(self, connection):
        limiter = TokenBucket(self.limit, self.burst) if self.limit else None
        async for frame in connection:
            message = decode_request(frame)
            if isinstance(message, PageRequest):
                raise MessageError("this room has no pages")
            elif limiter and limiter.wait(asyncio.get_running_loop().time()) and not self.knows(message):
                self.refuse(connection, message, "too fast")
            else:
                await self.accept(connection, message)

    def knows(self, message: Message) -> bool:
        return self.history.knows(message)

    async def accept(self, connection, message: Message):
        await self.incoming.put((connection, message))

    # the only task that writes to the history
    async def write(self):
        while True:
            batch = await self.next_batch()
            try:
                kept = await self.history.append([message for _, message in batch], once=True)
            except HistoryError:
                for connection, message in batch:
                    self.refuse(connection, message, "the room cannot write it down")
            else:
                self.deliver(batch, kept)

    async def next_batch(self) -> list[tuple]:
        batch = [await self.incoming.get()]
        while not self.incoming.empty():
            batch.append(self.incoming.get_nowait())
        return batch

    def deliver(self, batch: list[tuple], kept: list[Message]):
        """What is new goes to all. Whoever says again what all have heard hears it once more."""
        for (connection, _), message in zip(batch, kept):
            if message.seq <= self.last:
                self.send([connection], message)
        for message in dict.fromkeys(kept):
            if message.seq > self.last:
                self.send(self.connections, message)
        self.last = self.history.last

    def refuse(self, connection, message: Message, why: str):
        self.send([connection], Message("chatroom", f"Not sent: {why}.", message.content, message.id))

    def send(self, connections, message: Message):
        broadcast(connections, encode(message))
        for connection in connections:
            if connection.transport.get_write_buffer_size() > self.buffer_size:
                connection.transport.abort()  # close() would wait behind what is not read

    def members(self):
        return list(self.connections)
