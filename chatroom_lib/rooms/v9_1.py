"""v9.1: servers on several machines.

What changed since v9
- The history is a stream of NATS JetStream, which servers on other machines reach, too. It is the same room: it writes
  down what is said, and sends on what it hears of the history.
- A server that the stream does not answer refuses what is said, and goes on serving what it has. What was published
  and never answered may or may not be in the stream: it is published again under the same id, until there is an answer.

How it fails
- The NATS server is one, too. (Three of them can keep three copies of the stream; nothing changes here.)
- Each server hears every message, and sends it to its own people: more servers carry more people, and each message
  costs each of them something.
- Anybody can say anything in anybody's name. What else the article leaves for later is missing here, too.
"""

import asyncio
import logging
import math
import random
import socket
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request, Response
from websockets.protocol import OPEN

from chatroom_lib.frames import PING, frame_key, frames
from chatroom_lib.history import KEEP, LARGEST, HistoryError
from chatroom_lib.jetstream_history import URL, JetStreamHistory
from chatroom_lib.message import (
    MAX_SIZE,
    Gap,
    Message,
    MessageError,
    PageRequest,
    Position,
    come_back_within,
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
SEND_BUFFER = 64 * 1024  # bytes, at most, that the system takes for one client; megabytes would hide who does not read
WAITING = 0.01  # seconds from one look at what has been sent to the next
RESTART = 1.0  # seconds that a room may need to be there again
PATIENCE = 1.5  # seconds that a client waits at the door
LONGEST_WAIT = 60.0  # seconds until whoever is refused there may come again, at most
logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Reader:
    connection: ServerConnection
    key: Hashable  # its frame key
    position: int  # the number of the last message that it was sent; not kept up to date while it is live
    resumes: bool = False  # did it say where it was? Then it is told what is missing
    behind: asyncio.Event = field(default_factory=asyncio.Event)  # not set: it is live
    alive: float = 0.0  # the loop time of its last sign of life
    next_ping: float = 0.0  # the loop time
    waiting: int = 0  # bytes that waited for it at the last look
    written: int = 0  # bytes that have been added since then
    next_look: asyncio.TimerHandle | None = None
    told: float = math.inf  # seconds within which it would come back


class Room:
    many_servers = True  # several may have one history

    def __init__(
        self,
        nats: str = URL,
        buffer_size: int = 64 * 1024,
        limit: float | None = 1.0,
        burst: int = 5,
        keep: int = KEEP,
        max_age: float | None = None,
        deadline: float = 30.0,
        returns: float = 500.0,
    ):
        self.history = JetStreamHistory(nats, keep, max_age, recent=RECENT)
        self.buffer_size = buffer_size  # bytes that may wait for one client; then it falls behind
        self.limit = limit  # messages a second that one client may say; None: as many as it likes
        self.burst = burst  # messages that it may say at once
        self.deadline = deadline  # seconds without a sign of life after which a client is cut off
        self.ping_every = deadline * 2 / 3  # seconds; so there is a third of the deadline for the answer, at least
        self.returns = returns  # clients that can be let in a second: `chatroom load --storm` measures it
        self.turn_began = None  # the loop time at which the first knocked of all who have their turn now
        self.next_turn = 0.0  # the loop time at which the next one may come who is refused at the door
        self.incoming = asyncio.Queue(MAX_WAITING)  # (who has said it, message): not yet written down
        self.unwritten = set()  # (token, id) of each of these, and of those that are being written
        self.in_doubt = set()  # (token, id) of what may be in the history, and may not
        self.readers = {}  # connection -> Reader, in the order of joining
        self.last = 0  # the number of the last message that was sent to those who are live
        self.usual = 1  # messages that the last batch had
        self.next_batch_at = 0.0  # the loop time until which it waits for as many again
        self.fallen = 0  # how often somebody who was live fell behind
        self.silent = 0  # clients that were cut off for giving no sign of life
        self.turned_away = 0  # clients that were refused at the door
        self.refused = 0  # messages that came too soon after the last ones, or could not be written down

    async def __aenter__(self):
        await self.history.__aenter__()
        self.last = self.history.last
        self.tasks = [asyncio.create_task(self.write()), asyncio.create_task(self.follow())]
        return self

    async def __aexit__(self, *exc):
        for task in self.tasks:
            task.cancel()
        await asyncio.wait(self.tasks)
        await self.history.__aexit__(*exc)

    async def handle(self, connection: ServerConnection):
        """One visit: read, and beside that feed it, until the client leaves."""
        reader = self.readers[connection] = Reader(connection, frame_key(connection), self.last)
        reader.behind.set()
        self.watch(reader)
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
            await connection.close(1013, "the history cannot be read here")
        except* ConnectionClosed:
            pass
        finally:
            self.watch_no_more(reader)
            del self.readers[connection]

    # ------------------------------------------------------------ is anybody there?

    def watch(self, reader: Reader):
        """Note every byte that comes from it, whatever it is a part of; and look after it from now on."""
        clock = asyncio.get_running_loop().time
        protocol = reader.connection.protocol
        receive_data = protocol.receive_data

        def receive(data):
            reader.alive = clock()
            receive_data(data)

        protocol.receive_data = receive
        bound_send_buffer(reader.connection)
        reader.alive = clock()
        reader.next_ping = reader.alive + random.uniform(0, self.ping_every)  # not all at the same time
        self.look_in(reader, reader.next_ping - reader.alive)

    def watch_no_more(self, reader: Reader):
        reader.next_look.cancel()
        del reader.connection.protocol.receive_data

    def look_in(self, reader: Reader, seconds: float):
        """Look after it in so many seconds, or a little later: together with others, since waking up for each of them
        would cost more than looking."""
        loop, tick = asyncio.get_running_loop(), self.deadline / 60
        due = math.ceil((loop.time() + seconds) / tick) * tick
        reader.next_look = loop.call_at(due, self.look_after, reader)

    # a callback, not a task: it waits for nothing, so a full buffer does not stop it
    def look_after(self, reader: Reader):
        """Ping it every now and then, and cut it off when it has been silent for too long."""
        transport, now = reader.connection.transport, asyncio.get_running_loop().time()
        waiting = transport.get_write_buffer_size()
        reader.alive = min(now, reader.alive + now - reader.next_look.when())  # while we are late, we hear nobody
        takes_some = reader.waiting > 0 and waiting < reader.waiting + reader.written
        if takes_some or self.holds_it_back(transport):
            reader.alive = now
        reader.waiting, reader.written = waiting, 0
        if now - reader.alive >= self.deadline:
            self.silent += 1
            return transport.abort()  # close() would wait behind what is not read
        if now >= reader.next_ping:
            reader.next_ping = now + self.ping_every
            if reader.connection.protocol.state is OPEN:
                self.write_to(reader, PING)
                self.tell_more(reader)
        next_time = min(reader.next_ping, reader.alive + self.deadline)
        self.look_in(reader, min(next_time - now, self.deadline / 30) if waiting else next_time - now)

    def write_to(self, reader: Reader, data: bytes):
        reader.connection.transport.write(data)
        reader.written += len(data)

    def holds_it_back(self, transport: asyncio.Transport) -> bool:
        """Do we not read from it, though it reads? Then its silence is our own doing."""
        _, high = transport.get_write_buffer_limits()
        return not transport.is_reading() and transport.get_write_buffer_size() <= high

    # ------------------------------------------------------------ the return

    def process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        """For `websockets.serve`: refuse at the door whom we could not serve as long as they wait there. That costs
        less than to serve somebody who has hung up meanwhile.

        Whatever is ready takes its turn, and everybody has several: to be accepted, to be read, to be let in. So all
        turns together should not take longer than a part of the time that they wait."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self.turn_began is None:
            self.turn_began = now
            loop.call_soon(self.end_turn)
        if now - self.turn_began <= PATIENCE / 4:
            return None
        self.turned_away += 1
        self.next_turn = min(max(self.next_turn, now) + 1 / self.returns, now + LONGEST_WAIT)
        response = connection.respond(503, "Too many are coming at once.\n")
        response.headers["Retry-After"] = f"{math.ceil(self.next_turn - now)}"
        return response

    def end_turn(self):
        self.turn_began = None

    def farewell(self) -> tuple[int, str]:
        """The code and the reason with which to close all connections, if the server stops."""
        return CloseCode.SERVICE_RESTART, come_back_within(self.return_within())

    def return_within(self) -> float:
        """Seconds within which all who are here could be let in again."""
        return math.ceil(RESTART + len(self.readers) / self.returns)

    def tell_more(self, reader: Reader):
        """Many more have come since it was told how long all would take to come back."""
        if reader.resumes and not reader.behind.is_set() and self.return_within() >= 2 * reader.told:
            reader.told = self.return_within()
            position = Position(self.history.epoch, self.last, return_within=reader.told)
            self.write_to(reader, frames([encode_position(position).encode()], reader.connection))

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
            await self.catch_up_with(wanted)
            await self.tell(reader, self.history.resume(wanted, self.last, last_wanted(path, self.last)))
        elif last := last_wanted(path):
            newest, reader.position = reader.position, max(self.history.first - 1, reader.position - last)
            oldest = await self.history.after(reader.position, newest, 1)  # what is before that may be too old
            reader.position = oldest[0].seq - 1 if oldest else newest

    async def catch_up_with(self, heard: Position):
        """Somebody who comes from another server may have heard more than we have sent by now."""
        ahead = heard.epoch == self.history.epoch
        while ahead and heard.seq > self.last and await self.history.after(self.last, LARGEST, 1):
            await asyncio.sleep(WAITING)

    async def tell(self, reader: Reader, position: Position):
        """The next message that it hears is the one after this position."""
        reader.position, reader.told = position.seq, self.return_within()
        await reader.connection.send(encode_position(replace(position, return_within=reader.told)))

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
            reader.alive = asyncio.get_running_loop().time()

    # the only task that sends to those who are live
    async def follow(self):
        """Send what any of the servers has written."""
        while True:
            async for messages in self.history.follow(self.last):
                self.in_doubt.difference_update((message.token, message.id) for message in messages)
                self.broadcast(messages)
            self.last = self.history.last  # of another history: the stream was lost, or a part of it
            for connection in self.readers:
                connection.transport.abort()  # whoever comes back is told

    def broadcast(self, messages: list[Message]):
        """Send these to all who are live. They are in the history, where the others find them."""
        clock = asyncio.get_running_loop().time
        some_are_gone = messages[0].seq > self.last + 1  # the history has forgotten them already
        start = clock()
        payloads = [encode(message).encode() for message in messages]
        shared = {}  # frame key -> the frames
        for connection, reader in self.readers.items():
            if reader.behind.is_set() or connection.protocol.state is not OPEN:
                continue
            if some_are_gone or connection.transport.get_write_buffer_size() > self.buffer_size:
                self.fallen += 1
                reader.position = self.last
                reader.behind.set()
                continue
            if reader.key not in shared:
                shared[reader.key] = frames(payloads, connection)
            self.write_to(reader, shared[reader.key])
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
            elif limiter and (wait := limiter.wait(clock())) and not await self.knows(request):
                await connection.send(encode(self.refusal(request, f"Please wait {math.ceil(wait)} s.")))
                await asyncio.sleep(0)  # the others first
            else:
                if request.id is not None:
                    self.unwritten.add((request.token, request.id))
                await self.incoming.put((connection, request))

    async def knows(self, message: Message) -> bool:
        """Does any of the servers have it?"""
        if message.id is None or (message.token, message.id) in self.unwritten | self.in_doubt:
            return message.id is not None
        if not self.history.knows(message):
            with suppress(HistoryError):
                await self.history.learn()
        return self.history.knows(message)

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
            level = self.last
            try:
                kept = await self.history.append([message for _, message in batch], once=True)
            except HistoryError as error:
                if not failing:
                    logger.error("%s; what people say is refused", error)
                failing = True
                for connection, message in batch:
                    in_doubt = (message.token, message.id) in self.in_doubt
                    if not (in_doubt or self.history.knows(message)):
                        self.reply(connection, self.refusal(message, "This server cannot write it down."))
                    await asyncio.sleep(0)  # so that it goes out
            else:
                failing = False
                self.answer_all(batch, kept, level)
            self.unwritten.difference_update((message.token, message.id) for _, message in batch)

    def answer_all(self, batch: list[tuple[ServerConnection, Message]], kept: list[Message | None], level: int):
        for (connection, said), message in zip(batch, kept):
            if message is None and said.id is not None and not self.history.knows(said):
                self.in_doubt.add((said.token, said.id))
            elif message and message.refused is not None:
                self.reply(connection, self.refusal(said, "The log does not take it."))
        self.acknowledge_again(batch, kept, level)

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

    def acknowledge_again(self, batch: list[tuple[ServerConnection, Message]], kept: list[Message | None], level: int):
        """Whoever says again what they have been sent already hears it once more. What is new, numbers above `level`,
        they are sent by `follow`."""
        for (connection, _), message in zip(batch, kept):
            if message and message.seq and (reader := self.readers.get(connection)):
                if message.seq <= min(level, reader.position if reader.behind.is_set() else level):
                    self.reply(connection, message)

    def members(self):
        return list(self.readers)


def bound_send_buffer(connection: ServerConnection):
    sock = connection.transport.get_extra_info("socket")
    with suppress(OSError):  # the connection is lost already
        if sock and sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) > 2 * SEND_BUFFER:  # Linux doubles it
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
