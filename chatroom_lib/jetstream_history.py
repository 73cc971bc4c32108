"""A history that the servers of several machines share: a stream of NATS JetStream.

JetStream numbers what is published to it, 1, 2, 3, ..., keeps it, and only then acknowledges it. It recognises by its
`Nats-Msg-Id` what is published again, for an hour. Once a message is kept, it is republished to all servers, with its
number; so each hears it at once, and sees by the number whether it has missed any. Those it asks for: a *batched direct
get*, one request and many answers, which needs nats-server 2.11 or newer. (nats-py's ordered consumer would do both,
but after a restart of nats-server it may stand still: nats.py#510.)

nats-server writes to its disk every two minutes, unless its configuration says `jetstream { sync_interval: always }`.
So without that an acknowledged message can be lost when the power goes, though not when the process is killed. Then the
stream has fewer messages than a server has heard of it, and will give their numbers again. A server that sees this says
so in the stream itself (`set_back` in its metadata counts how often), and from then on it is another history to all.
"""

import asyncio
import contextlib
import hashlib
import json
import re
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import uuid4

from chatroom_lib.history import KEEP, LARGEST, HistoryError
from chatroom_lib.message import Message, decode_request, encode
from chatroom_lib.shared_history import CHUNK, LONGEST_SILENCE, SharedLog

URL = "nats://127.0.0.1:4222"
PATIENCE = 2.0  # seconds that an answer may take
AGAIN = 0.05  # seconds from one attempt to the next
RECOGNISED = 3600.0  # seconds in which a message that is published again is recognised
SET_BACK = "set_back"  # in the metadata of a stream
MOST_UNREAD = 10_000  # messages that are republished to us, until we ask for what we miss
WHAT_TO_DO = "start nats-server there, or let `chatroom cluster` start one"


class JetStreamHistory(SharedLog):
    """The messages in the stream `stream` of the NATS server at `url`; it is made if it is missing.

    It forgets all but the newest `keep` messages, and those older than `max_age` seconds. The last `recent` messages
    stay in memory, too. All methods raise HistoryError.
    """

    def __init__(
        self, url: str = URL, keep: int = KEEP, max_age: float | None = None, recent: int = 0, stream: str = "chatroom"
    ):
        super().__init__(keep, recent if max_age is None else 0)
        self.url, self.stream, self.max_age = url, stream, max_age
        self.live = deque(maxlen=MOST_UNREAD)  # what was republished and is not yet followed
        self.in_doubt: set[asyncio.Task] = set()  # publish what may be in the stream, and may not
        self.attempts: set[asyncio.Task] = set()  # to publish something, that wait for an answer
        self.asked: dict[str, Answer] = {}  # our requests for messages
        self.suspect = False  # is it to be asked whether it is still the same stream?
        self.answered_at = 0.0  # the loop time at which something was acknowledged last
        self.last_error: Exception | None = None
        self.silent_since: float | None = None  # the loop time since which it has not answered

    async def __aenter__(self) -> "JetStreamHistory":
        try:
            import nats
        except ImportError:
            raise HistoryError("a room on NATS needs the package nats-py: pip install nats-py") from None
        self.errors = (nats.errors.Error, OSError, asyncio.TimeoutError)
        self.refusals = (nats.errors.MaxPayloadError, nats.js.errors.APIError)
        try:
            async with asyncio.timeout(PATIENCE):
                self.connection = await nats.connect(
                    self.url,
                    allow_reconnect=True,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=AGAIN,
                    connect_timeout=PATIENCE,
                    ping_interval=1,
                    disconnected_cb=self.note_disconnection,
                    reconnected_cb=self.note_reconnection,
                    error_cb=self.note_error,
                )
        except (*self.errors, ValueError) as error:
            why = getattr(self.last_error, "strerror", None) or self.last_error or error or "no answer"
            raise HistoryError(f"no NATS server answers at {self.shown} ({why}); {WHAT_TO_DO}") from None
        try:
            async with asyncio.timeout(PATIENCE):
                await self.begin()
        except BaseException as error:
            await self.connection.close()
            if isinstance(error, TimeoutError):
                raise HistoryError(f"{self.shown}: no answer") from None
            raise
        return self

    async def begin(self) -> None:
        version = self.connection.connected_server_version
        if (version.major, version.minor) < (2, 11):
            number = f"{version.major}.{version.minor}.{version.patch}"
            raise HistoryError(f"the NATS server at {self.shown} is of version {number}; 2.11 or newer is needed")
        self.jetstream = self.connection.jetstream(timeout=PATIENCE)
        self.inbox = self.connection.new_inbox()
        await self.connection.subscribe(f"{self.inbox}.*", cb=self.take_answer)
        await self.connection.subscribe(self.republished, cb=self.take_live)
        await self.open_stream()

    async def __aexit__(self, *exc) -> None:
        for task in self.in_doubt:
            task.cancel()
        await self.connection.close()

    @property
    def shown(self) -> str:
        """The address without a password."""
        return re.sub(r"//[^/]*@", "//", self.url)

    @property
    def republished(self) -> str:
        return f"{self.stream}.kept"

    async def open_stream(self) -> None:
        """Make the stream, unless there is one, and let it be as we want it."""
        from nats.js.api import RePublish, StorageType, StreamConfig
        from nats.js.errors import NotFoundError

        ours = dict(
            max_msgs=self.keep,
            max_age=self.max_age or 0,
            duplicate_window=min(RECOGNISED, self.max_age or RECOGNISED),
            allow_direct=True,
            republish=RePublish(src=self.stream, dest=self.republished),
        )
        with self.problems():
            try:
                info = await self.jetstream.stream_info(self.stream)
                if self.stream not in (info.config.subjects or []):
                    raise HistoryError(f"{self.shown}: there is another stream {self.stream!r}, of something else")
            except NotFoundError:
                named = dict(name=self.stream, subjects=[self.stream], storage=StorageType.FILE)
                info = await self.jetstream.add_stream(StreamConfig(**named, **ours))
            else:  # the rest, such as the number of its copies, is left to whoever runs the NATS server
                if epoch_of(info) == self.epoch and info.state.last_seq < self.last:
                    ours["metadata"] = {**(info.config.metadata or {}), SET_BACK: str(set_back(info) + 1)}
                info = await self.jetstream.update_stream(replace(info.config, **ours))
        if epoch_of(info) != self.epoch:
            self.epoch = epoch_of(info)
            self.first, self.last = max(1, info.state.first_seq), info.state.last_seq
            for known in (self.numbers, self.recent, self.live):
                known.clear()

    @contextlib.contextmanager
    def problems(self):
        try:
            yield
        except self.errors as error:
            raise HistoryError(f"{self.shown}: {error or 'no answer'}") from error

    # ------------------------------------------------------------ writing

    async def append(self, messages: list[Message], once: bool = True) -> list[Message | None]:
        """Keep these messages; returns them with their `seq`. One whose token and `id` are known is not kept again, and
        comes back as it was kept first.

        None: it may be in the stream, and may not, since the stream does not answer. It is published again until it
        does. Until then nothing can be appended: HistoryError. One that the stream does not take, since it is full or
        the message too large, comes back as `refused`.
        """
        await self.answers()
        start = self.answered_at = asyncio.get_running_loop().time()
        speakers = dict.fromkeys(message.token for message in messages)
        theirs = [[message for message in messages if message.token == token] for token in speakers]
        kept: dict[int, Message] = {}
        tasks = [asyncio.create_task(self.publish_in_turn(each, kept)) for each in theirs]
        self.in_doubt = await self.unanswered(tasks)
        for task in list(self.in_doubt):
            task.add_done_callback(self.in_doubt.discard)
            self.fall_silent(start)
        return [kept.get(id(message)) for message in messages]

    async def unanswered(self, tasks: list[asyncio.Task]) -> set[asyncio.Task]:
        """Those of which none has been answered for too long."""
        left = set(tasks)
        while left and (seconds := self.answered_at + PATIENCE - asyncio.get_running_loop().time()) > 0:
            _, left = await asyncio.wait(left, timeout=seconds)
        return left

    async def answers(self) -> None:
        """Wait for it if it has been silent for a moment only. Raises HistoryError if that is longer."""
        while self.in_doubt or not self.connection.is_connected:
            self.fall_silent(now := asyncio.get_running_loop().time())
            if now > self.silent_since + PATIENCE:
                raise HistoryError(f"{self.shown}: cut off from it")
            await asyncio.sleep(AGAIN)
        self.silent_since = None

    def fall_silent(self, since: float) -> None:
        """It has not answered since that loop time, at the latest."""
        if self.silent_since is None:
            self.silent_since = since

    async def publish_in_turn(self, messages: list[Message], kept: dict[int, Message]) -> None:
        """Those of one speaker: the second one, when the first one is kept."""
        for message in messages:
            kept[id(message)] = await self.publish(message)

    async def publish(self, message: Message) -> Message:
        key = json.dumps([message.token, message.id]) if message.id is not None else uuid4().hex
        headers = {"Nats-Msg-Id": hashlib.sha256(key.encode()).hexdigest()}
        data = encode(message).encode()
        while True:
            attempt = asyncio.create_task(self.jetstream.publish(self.stream, data, timeout=PATIENCE, headers=headers))
            self.attempts.add(attempt)
            try:
                answer = await attempt
                break
            except self.refusals as error:
                if getattr(error, "code", 400) != 503:  # 503: it is not there yet
                    return replace(message, refused=message.content)
                await asyncio.sleep(AGAIN)
            except (*self.errors, asyncio.CancelledError):
                if asyncio.current_task().cancelling():
                    attempt.cancel()
                    raise
                self.look_at_stream()  # it may be lost
                await asyncio.sleep(AGAIN)
            finally:
                self.attempts.discard(attempt)
        self.answered_at = asyncio.get_running_loop().time()
        if not answer.duplicate and answer.seq <= self.last:
            self.look_at_stream()  # it gives numbers again
        if answer.duplicate:
            with contextlib.suppress(HistoryError):
                for first in await self.after(answer.seq - 1, answer.seq, 1):
                    return first
        return Message(message.token, message.content, id=message.id, seq=answer.seq)

    # ------------------------------------------------------------ reading

    async def after(self, seq: int, until: int, limit: int) -> list[Message]:
        """The first `limit` messages with numbers above `seq`, up to `until`."""
        if (found := self.in_memory(seq, until, limit)) is not None:
            await asyncio.sleep(0)  # the others first: whoever has missed much asks again and again
            return found
        if until <= seq:
            return []
        token = uuid4().hex
        answer = self.asked[token] = Answer()
        wanted = json.dumps({"seq": seq + 1, "batch": min(limit, until - seq)})
        try:
            with self.problems():
                request = f"$JS.API.DIRECT.GET.{self.stream}"
                await self.connection.publish(request, wanted.encode(), reply=f"{self.inbox}.{token}")
                async with asyncio.timeout(PATIENCE):
                    await answer.complete.wait()
        finally:
            del self.asked[token]
        known_to_be_there = answer.status == "404" and seq < min(until, self.last)
        if answer.status not in ("204", "404") or known_to_be_there:
            raise HistoryError(f"{self.shown}: it cannot be read now (status {answer.status})")
        return [message for message in answer.messages if message.seq <= until]

    async def before(self, seq: int, limit: int) -> list[Message]:
        """The last `limit` messages with numbers below `seq`, the oldest first."""
        seq = min(seq, self.last + 1)
        return await self.after(max(seq - 1 - limit, self.first - 1), seq - 1, limit)

    async def take_answer(self, part) -> None:
        if answer := self.asked.get(part.subject.rpartition(".")[2]):
            if part.headers and "Nats-Sequence" in part.headers:
                answer.messages.append(as_message(part))
            else:
                answer.status = (part.headers or {}).get("Status", "")
                answer.complete.set()

    async def take_live(self, part) -> None:
        self.live.append(as_message(part))
        self.rung.set()

    async def follow(self, seq: int) -> AsyncIterator[list[Message]]:
        """As SharedLog's; but it ends if the stream is lost, or a part of it, and another history has begun."""
        ask = True
        while True:
            if asyncio.current_task().cancelling():
                raise asyncio.CancelledError  # nats-py, in asyncio.wait_for, may have swallowed it
            self.rung.clear()
            if self.suspect:
                ask, self.suspect = True, False
                if await self.is_another():
                    return
            some = self.next_live(seq)
            if not some and (ask or self.live):
                with contextlib.suppress(HistoryError):
                    some = await self.after(seq, LARGEST, CHUNK)
                ask = len(some) == CHUNK
                if not some:
                    self.live.clear()  # numbers that the stream does not have
            if some:
                seq = some[-1].seq
                self.note(some)
                self.remember(some)
                yield some
            else:
                ask = not await self.rings_within(LONGEST_SILENCE) or ask

    def next_live(self, seq: int) -> list[Message]:
        """What was republished right after number `seq`."""
        some = []
        while self.live and self.live[0].seq <= seq + len(some) + 1:
            if (message := self.live.popleft()).seq > seq + len(some):
                some.append(message)
        return some

    async def is_another(self) -> bool:
        """Is it another stream now, or one that has lost its newest messages?"""
        before = self.epoch
        try:
            await self.open_stream()
        except HistoryError:
            self.suspect = True  # ask once more
            await asyncio.sleep(AGAIN)
        return self.epoch != before

    def note(self, messages: list[Message]) -> None:
        for message in messages:
            if message.id is not None:
                self.numbers.setdefault((message.token, message.id), message.seq)
        self.last = max(self.last, messages[-1].seq)
        self.first = max(self.first, self.last - self.keep + 1)
        self.forget_ids(self.first)

    async def learn(self) -> None:
        """From now on `knows` tells also of what other servers have written until now, unless we are cut off."""
        if self.in_doubt or not self.connection.is_connected:
            return
        seq = self.last
        while some := await self.after(seq, LARGEST, CHUNK):
            self.note(some)
            seq = some[-1].seq

    async def note_disconnection(self) -> None:
        self.fall_silent(asyncio.get_running_loop().time())

    def look_at_stream(self) -> None:
        """Let `follow` look whether it is still the same."""
        self.suspect = True
        self.rung.set()

    async def note_reconnection(self) -> None:
        self.look_at_stream()
        for attempt in self.attempts:
            attempt.cancel()  # its answer is lost: it is made again

    async def note_error(self, error: Exception) -> None:
        """It tries again by itself, for ever."""
        self.last_error = error
        if asyncio.current_task().cancelling():
            raise asyncio.CancelledError  # nats-py, in asyncio.wait_for, has swallowed it


class Answer:
    """What comes of one request, part by part."""

    def __init__(self):
        self.messages: list[Message] = []
        self.status = ""  # 204: that was all; 404: there is none; 503: nobody is there to answer
        self.complete = asyncio.Event()


def epoch_of(info) -> str:
    """What the history is called in this stream."""
    return hashlib.sha256(f"{info.created.isoformat()} {set_back(info)}".encode()).hexdigest()[:16]


def set_back(info) -> int:
    """How often the stream has lost its newest messages, as far as somebody has noticed."""
    return int((info.config.metadata or {}).get(SET_BACK, 0))


def as_message(part) -> Message:
    """The message in something that the stream has kept. Whatever else somebody has published there is none of ours,
    but has a number, too."""
    seq = int(part.headers["Nats-Sequence"])
    try:
        message = decode_request(part.data.decode())
        if isinstance(message, Message):
            return replace(message, seq=seq)
    except (ValueError, RecursionError):  # MessageError included
        pass
    return Message("chatroom", "(something that is no message)", seq=seq)
