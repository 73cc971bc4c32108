"""The load client: many clients talk in a room on this machine, and what arrives is counted.

    result = run_load("ws://127.0.0.1:8081/chatroom", clients=10, every=0.001, seconds=5.0)

The schedule is fixed before the run: message k is due k * every seconds after the start, and clients take turns.
A room that stalls does not slow the schedule down, and latency counts from the time at which a message was due.
Otherwise messages that a stalled client sends late would count as fast ("coordinated omission").

If a connection ends, its client is gone; but if the room can tell what one has missed (`?since=EPOCH:SEQ`), it comes
back, says again what it has not heard itself, and hears the rest. If there are several servers, it goes to the next.
"""

import asyncio
import errno
import math
import secrets
import socket
from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from time import monotonic as clock
from urllib.parse import urlsplit

from rich.table import Column, Table
from rich.text import Text
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.protocol import State

from chatroom_lib.clients.backoff import Backoff
from chatroom_lib.clients.connect import FOR_GOOD, asking_for_the_rest, dial_options, reset
from chatroom_lib.instrumentation.asyncio_internals import running_loop
from chatroom_lib.message import Message, Position, decode_position, decode_reply, encode
from chatroom_lib.runtime.addresses import is_loopback
from chatroom_lib.runtime.background import run
from chatroom_lib.runtime.descriptors import allow_many_connections
from chatroom_lib.runtime.progress import progress_bar
from chatroom_lib.trace import percentile

TIME_TO_JOIN = 5.0  # seconds, for all clients together
SETTLE = 0.1  # seconds; the server has accepted all clients, but the room may not have registered them yet
OVERRUN = 0.2  # seconds by which a busy machine may overrun the schedule
QUIET_PERIOD = 0.5  # seconds without a frame after which none is expected any more
TIME_FOR_STRAGGLERS = 3.0  # seconds, at most, for what is still in flight at the end
QUEUE_SIZE = 100  # messages of one client that are due and not yet sent
CONTENT_SIZE = 60  # characters; a frame then has about 90 bytes
SEND_BUFFER = 4096  # bytes; Linux would buffer 40,000 messages for each client, and we would call them sent
FIRST_WAIT, LONGEST_WAIT = 0.1, 1.0  # seconds before a client comes back, at most, unless the room tells it otherwise
MAX_MISSING = 10_000  # numbers that one client remembers as not yet heard
EXAMPLE = "ws://127.0.0.1:8081/chatroom"


class LoadError(ValueError):
    """A load test cannot run. The text says why, and what to do, in one line."""


def counts(meaning: str, **options):
    """A field of a Result, and how its table explains it."""
    return field(metadata={"meaning": meaning}, **options)


@dataclass(frozen=True)
class Result:
    """What a run counted. `sent` and `unsent` add up to the messages that were due.

    `expected` is the number of deliveries that there should have been: each message sent counts once for every client
    that was connected and reading at that time, or came back, and each refusal subtracts as many. Deaf clients do not
    read, so nothing is expected of them. A message that a room without numbers (`seq`) delivers twice counts twice, and
    can hide a loss.
    """

    url: str
    clients: int
    seconds: float  # for which the clients talked
    deaf: bool  # the clients never read
    sent: int = counts("messages that a connection took")  # its buffers included
    unsent: int = counts("messages due that no connection took")  # stalled or lost, or this machine was too slow
    refused: int = counts("messages that the room would not pass on")  # and answered with a refusal
    expected: int = counts("the others, times the clients that listened")
    heard: int = counts("messages that arrived, at all clients")
    losses: int = counts("expected and not heard")
    p50_ms: float | None = counts("from due to heard, for half of them")  # None if nothing was heard
    p99_ms: float | None = counts("from due to heard, for 99 of 100")
    lost_connections: int = counts("ended before the run did")
    malformed: int = counts("frames that are not messages")  # or that break the protocol
    acknowledged: int | None = counts("heard by who said them, by their id", default=None)  # None: the room has no ids
    heard_twice: int = counts("arrived again at a client, by their number", default=0)  # and not in `heard`
    returns: int = counts("lost connections made again, to hear the rest", default=0)

    def as_dict(self) -> dict:
        return asdict(self)

    def table(self) -> Table:
        who = "clients who do not read" if self.deaf else "clients"
        title = Text(f"{self.clients} {who} talk for {self.seconds:g} s at {self.url}")
        table = Table("", Column("number", justify="right"), "what it counts", title=title)
        for each in fields(self):
            if meaning := each.metadata.get("meaning"):
                nothing = "no ids" if each.name == "acknowledged" else "none heard"
                table.add_row(each.name.replace("_", " "), formatted(getattr(self, each.name), nothing), meaning)
        return table


def formatted(number: float | None, nothing: str) -> str:
    if number is None:
        return nothing
    return f"{number:,.2f}" if isinstance(number, float) else f"{number:,}"


class Numbers:
    """The numbers of what one client has heard. They come nearly in order, so it remembers the last, and those missing
    before it."""

    def __init__(self):
        self.last: int | None = None
        self.missing: set[int] = set()

    def add(self, seq: int) -> bool:
        """True if it is new."""
        if self.last is None or seq > self.last:
            if self.last is not None and seq - self.last <= MAX_MISSING - len(self.missing):
                self.missing.update(range(self.last + 1, seq))
            self.last = seq
            return True
        is_new = seq in self.missing
        self.missing.discard(seq)
        return is_new


class LoadRun:
    """One load test; see `run_load` for the arguments."""

    def __init__(self, urls: Sequence[str], clients: int, every: float, seconds: float, deaf: bool):
        self.urls, self.clients, self.every, self.seconds, self.deaf = urls, clients, every, seconds, deaf
        self.places = [client % len(urls) for client in range(clients)]  # at which of these each one is
        self.run_id = secrets.token_hex(4)  # distinguishes our messages from all others
        self.due = max(1, math.ceil(seconds / every - 1e-6))  # messages in all
        self.queues = [asyncio.Queue(QUEUE_SIZE) for _ in range(clients)]  # the numbers of messages that are due
        self.connections: list[ClientConnection] = []
        self.positions: list[Position | None] = [None] * clients  # what a room has told each; None: nothing
        self.backoffs = [Backoff(FIRST_WAIT, LONGEST_WAIT, elsewhere=len(urls) > 1) for _ in range(clients)]
        self.unheard: list[dict[str, str]] = [{} for _ in range(clients)]  # id -> frame, to be said again after a loss
        self.away = self.returns = 0  # clients that are coming back, and how often any has
        self.listening = 0  # clients that are connected and reading, or coming back
        self.queued = self.sent = self.refused = self.expected = self.malformed = 0
        self.acknowledged = self.heard_twice = 0
        self.with_ids = not deaf  # until we hear a message of ours without its id: then the room has none
        self.numbers = [Numbers() for _ in range(clients)]
        self.latencies = array("d")  # seconds, one for each message heard (8 bytes)

    async def run(self, show: Callable[[float], None]) -> Result:
        try:
            await self.join()
            await self.talk(show)
            return self.result()
        finally:
            for connection in self.connections:
                reset(connection)
            await asyncio.gather(*(connection.wait_closed() for connection in self.connections))

    async def talk(self, show: Callable[[float], None]) -> None:
        self.start = self.last_frame = clock()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.report_progress(show))]
            for client, connection in enumerate(self.connections):
                tasks.append(group.create_task(self.speak(client, connection)))
                if not self.deaf:
                    tasks.append(group.create_task(self.stay(client)))
            await self.keep_schedule()
            await self.wait_for_stragglers()
            for task in tasks:
                task.cancel()

    # ------------------------------------------------------------ joining

    async def join(self) -> None:
        """Connect all clients, one after another."""
        allow_many_connections()
        try:
            async with asyncio.timeout(TIME_TO_JOIN):
                for client in range(self.clients):
                    self.connections.append(await self.dial(client))
        except (OSError, WebSocketException, ValueError) as error:
            raise LoadError(self.explain(error)) from error
        self.listening = 0 if self.deaf else self.clients
        await asyncio.sleep(SETTLE)

    async def dial(self, client: int) -> ClientConnection:
        url = self.urls[self.places[client]]
        connection = await connect(
            asking_for_the_rest(url, self.position(client), last=0),
            host=urlsplit(url).hostname,  # a fixed host, so that no redirect leads to another machine
            open_timeout=TIME_TO_JOIN,
            max_queue=1 if self.deaf else 16,
            write_limit=SEND_BUFFER,
            **dial_options(f"load-{client}"),
        )
        connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        return connection

    def position(self, client: int) -> Position | None:
        """How far it has heard what we say: nobody else's words matter."""
        told = self.positions[client]
        return told and replace(told, seq=max(told.seq, self.numbers[client].last or 0))

    def explain(self, error: Exception) -> str:
        url = self.urls[self.places[min(len(self.connections), self.clients - 1)]]
        joined = f"{len(self.connections)} of {self.clients} clients joined {url}"
        if isinstance(error, TimeoutError):
            return f"only {joined} within {TIME_TO_JOIN:g} s: use fewer clients, or check whether the room stalls"
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            return f"only {joined}, then this process had too many open files: use fewer clients"
        if isinstance(error, ConnectionRefusedError) or "Connect call failed" in str(error):
            return f"nobody listens at {url}: start a room with `chatroom serve v1`"
        reason = " ".join(str(error).split()) or type(error).__name__
        return f"cannot join {url}: {reason}; use the address that `chatroom serve` prints, like {EXAMPLE}"

    # ------------------------------------------------------------ talking

    async def keep_schedule(self) -> None:
        """Queue each message for its speaker when it is due, whether or not the earlier ones have been sent."""
        end = self.start + self.seconds
        for number in range(self.due):
            # Yields to the other tasks even if there is nothing to wait for.
            await asyncio.sleep(self.start + number * self.every - clock())
            if clock() > end + OVERRUN:
                return
            with suppress(asyncio.QueueFull):
                self.queues[number % self.clients].put_nowait(number)
                self.queued += 1
        await asyncio.sleep(end - clock())

    # the only task that sends for this client
    async def speak(self, client: int, connection: ClientConnection | None) -> None:
        number = None  # of the message that is next; no connection has taken it yet
        while connection:
            try:
                for frame in [*self.unheard[client].values()]:
                    await connection.send(frame)  # again
                while True:
                    number = await self.queues[client].get() if number is None else number
                    await self.say(client, connection, number)
                    number = None
            except ConnectionClosed:
                connection = await self.next_connection(client, connection)

    async def say(self, client: int, connection: ClientConnection, number: int) -> None:
        listening = self.listening
        content = f"{self.run_id} {client} {number} ".ljust(CONTENT_SIZE, ".")
        id = self.id_of(number) if self.with_ids else None
        frame = encode(Message(f"load-{client}", content, id=id))
        if id and self.positions[client]:
            self.unheard[client][id] = frame
        try:
            await connection.send(frame)
        except ConnectionClosed:
            self.unheard[client].pop(id, None)
            raise
        self.sent += 1
        self.expected += listening

    async def next_connection(self, client: int, lost: ClientConnection) -> ClientConnection | None:
        while self.connections[client] is lost:
            if not self.may_return(client):
                return None
            await asyncio.sleep(0.01)
        return self.connections[client]

    def id_of(self, number: int) -> str:
        return f"{self.run_id}-{number}"

    async def wait_for_stragglers(self) -> None:
        """Wait until everything has been sent and heard, or the room has gone quiet."""
        latest = clock() + TIME_FOR_STRAGGLERS
        self.last_frame = clock()
        while self.sent < self.queued or len(self.latencies) < self.expected:
            if clock() > (latest if self.away else min(latest, self.last_frame + QUIET_PERIOD)):
                return
            await asyncio.sleep(0.01)

    # ------------------------------------------------------------ listening

    async def stay(self, client: int) -> None:
        """Listen; after a loss come back, if the room can tell what we have missed."""
        try:
            await self.listen(client, self.connections[client])
            while self.may_return(client):
                self.away += 1
                self.connections[client] = await self.come_back(client)
                self.away -= 1
                self.returns += 1
                await self.listen(client, self.connections[client])
        finally:
            self.listening -= 1

    def may_return(self, client: int) -> bool:
        return self.positions[client] is not None and self.connections[client].close_code not in FOR_GOOD

    async def come_back(self, client: int) -> ClientConnection:
        backoff = self.backoffs[client]
        backoff.note_loss(self.connections[client])
        while True:
            self.places[client] = (self.places[client] + 1) % len(self.urls)
            await asyncio.sleep(backoff.next_wait())
            try:
                return await self.dial(client)
            except (OSError, WebSocketException) as error:
                backoff.note_failure(error)

    async def listen(self, client: int, connection: ClientConnection) -> None:
        try:
            async for frame in connection:
                self.hear(client, frame)
        except ConnectionClosed as error:
            if error.sent and not error.rcvd_then_sent:  # we closed it because of a frame that breaks the protocol
                self.malformed += 1

    def hear(self, client: int, frame: str | bytes) -> None:
        self.last_frame = clock()
        try:
            message = decode_reply(frame)
            if message.refused is not None:
                self.refused += 1
                self.expected -= self.listening
                self.unheard[client].pop(message.id, None)
            elif message.content == "" and (position := decode_position(frame)):
                self.note_position(client, position)
            elif message.content.startswith(f"{self.run_id} "):
                number = self.number_in(message.content)
                if message.seq is not None and not self.numbers[client].add(message.seq):
                    self.heard_twice += 1
                    return
                self.latencies.append(self.last_frame - (self.start + number * self.every))
                if self.with_ids:
                    self.note_acknowledged(client, number, message)
        except ValueError:  # MessageError included
            self.malformed += 1

    def note_acknowledged(self, client: int, number: int, message: Message) -> None:
        if message.token == f"load-{client}":
            self.with_ids = message.id is not None
            self.acknowledged += message.id == self.id_of(number)
            self.unheard[client].pop(message.id, None)

    def note_position(self, client: int, position: Position) -> None:
        before, self.positions[client] = self.positions[client], position
        self.backoffs[client].note_position(position)
        if before and before.epoch != position.epoch:
            self.numbers[client] = Numbers()

    def number_in(self, content: str) -> int:
        """Which of our messages it is. Raises ValueError if the content was changed on the way."""
        _, _, number, _ = content.split(" ", 3)
        if not 0 <= int(number) < self.due:
            raise ValueError(f"there is no message {number}")
        return int(number)

    # ------------------------------------------------------------ reporting

    async def report_progress(self, show: Callable[[float], None]) -> None:
        while True:
            show(clock() - self.start)
            await asyncio.sleep(0.5)  # drawing blocks the loop for a few milliseconds

    def result(self) -> Result:
        heard, expected = len(self.latencies), max(0, self.expected)
        ordered = sorted(self.latencies)
        p50_ms, p99_ms = (round(1000 * percentile(ordered, p), 3) if ordered else None for p in (50, 99))
        return Result(
            url=" ".join(self.urls),
            clients=self.clients,
            seconds=self.seconds,
            deaf=self.deaf,
            sent=self.sent,
            unsent=self.due - self.sent,
            refused=self.refused,
            heard=heard,
            expected=expected,
            losses=max(0, expected - heard),
            p50_ms=p50_ms,
            p99_ms=p99_ms,
            lost_connections=self.returns + sum(connection.state is not State.OPEN for connection in self.connections),
            malformed=self.malformed,
            acknowledged=self.acknowledged if self.acknowledged or self.with_ids and ordered else None,
            heard_twice=self.heard_twice,
            returns=self.returns,
        )


def run_load(
    url: str | Sequence[str],
    clients: int = 10,
    every: float = 0.001,
    seconds: float = 5.0,
    deaf: bool = False,
    progress: bool = True,
) -> Result:
    """Let `clients` talk in the room at `url` for `seconds`, with one message every `every` seconds from all of them
    together. Several addresses: of servers with one history, to which they come in turn. `deaf`: they never read.
    `progress`: show a bar.

    Blocks until it is over: at most 5 s for joining, `seconds`, and at most 3 s for what is still in flight. In a cell
    the clients run on the background thread, beside the servers there: latencies are longer than from another process.
    Raises LoadError if the numbers or the URL are impossible, or if not all clients can join.
    """
    require_numbers(clients, every, seconds)
    urls = [room_url(each) for each in ([url] if isinstance(url, str) else url)]
    if not urls:
        raise LoadError(f"there is no address: use one like {EXAMPLE}")
    load = LoadRun(urls, clients, every, seconds, deaf)
    with progress_bar(f"{clients} clients talk" if progress else None, seconds, "s") as show:
        return (run if running_loop() else asyncio.run)(load.run(show))


def require_numbers(clients: int, every: float, seconds: float) -> None:
    if clients < 1:
        raise LoadError(f"the number of clients must be 1 or more, not {clients}")
    if not 0 < every < math.inf:
        raise LoadError(f"every must be more than 0 seconds (0 is not allowed), not {every:g}: 0.001, for example")
    if not 0 < seconds < math.inf:
        raise LoadError(f"seconds must be more than 0, not {seconds:g}: 5, for example")


def room_url(url: str) -> str:
    """`url`, with the path /chatroom if it has none. Raises LoadError unless it leads to this machine."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # a port that is not a number raises ValueError
    except ValueError as error:
        raise LoadError(f"{url!r} is not a URL ({error}): use one like {EXAMPLE}") from None
    if parts.scheme not in ("ws", "wss") or not host:
        raise LoadError(f"{url!r} is not the URL of a room: use one that begins with ws:// or wss://, like {EXAMPLE}")
    if not is_loopback(host):
        raise LoadError(f"{host} may be another machine, and a load test may only go to your own: use 127.0.0.1")
    return parts._replace(path=parts.path or "/chatroom").geturl()
