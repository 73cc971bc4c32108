"""What happens when many clients lose their server in the same moment, and all want to come back.

    result = run_storm("ws://127.0.0.1:8081/chatroom", clients=500, wait="jitter")

The clients join; then somebody ends the server and starts it again at the same address. Each client waits before an
attempt as `wait` says, and gives up one that takes too long. A server that serves attempts more slowly than they come
spends its time on clients that have hung up meanwhile: then nobody gets in ("retry storm", "thundering herd").
"""

import asyncio
import math
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from http import HTTPStatus
from time import monotonic as clock
from urllib.parse import urlsplit

from rich.table import Column, Table
from rich.text import Text
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.http11 import Response

from chatroom_lib.clients.backoff import Backoff, retry_after
from chatroom_lib.clients.connect import asking_for_the_rest
from chatroom_lib.clients.load import LoadError, room_url
from chatroom_lib.instrumentation.asyncio_internals import running_loop
from chatroom_lib.message import MessageError, Position, decode_position
from chatroom_lib.runtime.background import run
from chatroom_lib.runtime.descriptors import allow_many_connections
from chatroom_lib.runtime.progress import progress_bar

LONGEST_WAIT = 30.0  # seconds
MOST_CLIENTS = 5000  # this process and a server on the same machine have ports and descriptors for so many
TIME_TO_JOIN = 5.0  # seconds, for each attempt
JOINS_A_SECOND = 50  # clients, at least, that a room lets in when nothing is wrong
AT_ONCE = 20  # clients that join at the same time
SETTLE = 0.5  # seconds in which a room tells the first client where it is, if it tells that at all
WAITS: dict[str, Callable[[int], float]] = {  # seconds until the next attempt, after so many that have failed
    "at once": lambda failed: 0.01,
    "fixed": lambda failed: 1.0,
    "exponential": lambda failed: 0.5 * 2 ** min(failed, 20),
    "jitter": lambda failed: random.uniform(0, min(LONGEST_WAIT, 0.5 * 2 ** min(failed, 20))),
}
TOLD = "told"  # wait as the room has told: see Backoff
CHOICES = (*WAITS, TOLD)
HANDSHAKE = (
    b"GET /%b HTTP/1.1\r\nHost: %b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@dataclass(frozen=True)
class Storm:
    """What came of it. All times are seconds since the first client lost its server."""

    url: str
    clients: int
    wait: str  # how each client waits before an attempt: one of CHOICES
    patience: float  # seconds after which a client gives an attempt up
    attempts: tuple[float, ...]  # when each attempt began
    served: tuple[float | None, ...]  # when the same attempt succeeded; None: it did not
    turned_away: int  # attempts that were answered with 503
    back: tuple[float, ...]  # when each client was back, the first one first
    not_back: int  # clients that had not come back at the end
    client_cpu: float = 0.0  # seconds of CPU time that the clients' process took; as much as the storm: it was too slow
    room: str = ""  # the version, if it is known
    server_cpu: float | None = None  # seconds of CPU time that the new server took since it started, if that is known

    @property
    def lost(self) -> int:
        """Clients that lost their server."""
        return len(self.back) + self.not_back

    @property
    def attempts_per_client(self) -> float:
        return len(self.attempts) / max(1, self.lost)

    def back_within(self, percent: float) -> float | None:
        """Seconds until so many of the clients were back; None if they were not."""
        wanted = max(1, math.ceil(self.lost * percent / 100))
        return self.back[wanted - 1] if wanted <= len(self.back) else None

    def bins(self, width: float = 0.1) -> list[tuple[int, int]]:
        """For each `width` seconds since the loss: how many attempts began, and how many of these succeeded."""
        began = Counter(int(when / width) for when in self.attempts)
        succeeded = Counter(int(when / width) for when, end in zip(self.attempts, self.served) if end is not None)
        return [(began[bin], succeeded[bin]) for bin in range(max(began, default=-1) + 1)]

    def as_dict(self) -> dict:
        return {**asdict(self), "attempts_per_client": round(self.attempts_per_client, 3)}

    def table(self) -> Table:
        title = Text(f"{self.lost} of {self.clients} clients lose {self.url} and come back, wait: {self.wait}")
        table = Table("", Column("number", justify="right"), "what it counts", title=title)
        most = max((began for began, _ in self.bins()), default=0)
        half, nearly_all = (seconds_or_never(self.back_within(percent)) for percent in (50, 99))
        table.add_row("attempts", f"{len(self.attempts):,}", "to connect again")
        table.add_row("attempts per client", f"{self.attempts_per_client:.2f}", "of those that lost the server")
        table.add_row("most at a time", f"{most:,}", "attempts that began in the same 100 ms")
        table.add_row("turned away", f"{self.turned_away:,}", "attempts answered with 503")
        table.add_row("not back", f"{self.not_back:,}", "clients that were not served to the end")
        table.add_row("half back", half, "after the loss")
        table.add_row("99% back", nearly_all, "after the loss")
        table.add_row("client CPU", f"{self.client_cpu:.2f} s", "that the clients themselves took")
        if self.server_cpu is not None:
            table.add_row("server CPU", f"{self.server_cpu:.2f} s", "that the new server took")
        return table


def seconds_or_never(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.2f} s"


class Visit(asyncio.Protocol):
    """One connection of a client, from its handshake on. (A client of `websockets.connect` takes several times the CPU
    time; then we would be slower than the server.)

    `served` has None as its result when the room has told the position, or has let us in if it `tells` none; else the
    error. `lost` is done when the connection has ended.
    """

    def __init__(self, url: str, tells: bool, hear: Callable[[Position], None]):
        loop = asyncio.get_running_loop()
        self.url, self.tells, self.hear = url, tells, hear
        self.transport: asyncio.Transport | None = None
        self.unread = b""
        self.let_in = False
        self.close_reason: str | None = None
        self.served: asyncio.Future[Exception | None] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        address, _, path = self.url.partition("://")[2].partition("/")
        transport.write(HANDSHAKE % (path.encode(), address.encode()))

    def data_received(self, data: bytes) -> None:
        self.unread += data
        if not self.let_in:
            self.read_answer()
        at = 0
        while self.let_in and (size := self.read_frame(at)):
            at += size
        self.unread = self.unread[at:]

    def connection_lost(self, error: Exception | None) -> None:
        self.end(ConnectionError("the connection was lost"))
        if not self.lost.done():
            self.lost.set_result(None)

    def read_answer(self) -> None:
        """To our handshake."""
        head, whole, rest = self.unread.partition(b"\r\n\r\n")
        if not whole:
            return
        self.let_in = head.startswith(b"HTTP/1.1 101 ")
        self.unread = rest
        if not self.let_in or not self.tells:
            self.end(None if self.let_in else refusal(head))

    def read_frame(self, at: int) -> int:
        """The bytes of the frame that begins there (RFC 6455, section 5.2); 0 if it is not yet whole."""
        data = self.unread
        if len(data) < at + 2:
            return 0
        longer = {126: 2, 127: 8}.get(data[at + 1], 0)  # bytes in which a length is that does not fit into seven bits
        header = 2 + longer
        size = header + (int.from_bytes(data[at + 2 : at + header], "big") if longer else data[at + 1])
        if len(data) < at + max(header, size):
            return 0
        self.take_frame(data[at] & 0x0F, data[at + header : at + size])
        return size

    def take_frame(self, opcode: int, payload: bytes) -> None:
        if opcode == Opcode.TEXT:
            self.take(payload)
        elif opcode == Opcode.PING:
            self.send(Frame(Opcode.PONG, payload))
        elif opcode == Opcode.CLOSE:
            self.close_reason = payload[2:].decode(errors="replace")
            self.send(Frame(Opcode.CLOSE, payload))

    def send(self, frame: Frame) -> None:
        if self.transport:
            self.transport.write(frame.serialize(mask=True))

    def take(self, payload: bytes) -> None:
        if b'"epoch"' not in payload:
            return
        with suppress(MessageError, UnicodeDecodeError):
            if position := decode_position(payload.decode()):
                self.hear(position)
                self.end(None)

    def end(self, error: Exception | None) -> None:
        if not self.served.done():
            self.served.set_result(error)

    @property
    def is_served(self) -> bool:
        return self.served.done() and not self.served.cancelled() and self.served.result() is None

    def close(self) -> None:
        if self.transport:
            self.transport.abort()


def refusal(head: bytes) -> Exception:
    """The error that an answer means which does not let us in."""
    status, *fields = head.decode(errors="replace").split("\r\n")
    if not (found := re.match(r"HTTP/1\.1 (\d{3}) ?(.*)", status)):
        return InvalidHandshake("no HTTP response")
    pairs = (field.partition(":") for field in fields)
    headers = Headers((name, value.strip()) for name, _, value in pairs)
    return InvalidStatus(Response(int(found[1]), found[2], headers))


class Client:
    """One that wants to stay."""

    def __init__(self, wait: str):
        self.wait = WAITS.get(wait)  # None: as the room tells
        self.backoff = Backoff(first=1.0, longest=LONGEST_WAIT)
        self.position: Position | None = None
        self.visit: Visit | None = None  # None: it is away

    def hear(self, position: Position) -> None:
        self.position = position
        self.backoff.note_position(position)

    def next_wait(self) -> float:
        """Seconds."""
        return min(LONGEST_WAIT, self.wait(self.backoff.failed) if self.wait else self.backoff.next_wait())


class StormRun:
    """One storm; see `run_storm` for the arguments."""

    def __init__(self, url: str, clients: int, wait: str, patience: float, seconds: float):
        require_numbers(clients, wait, patience, seconds)
        self.url, self.wait, self.patience, self.seconds = room_url(url), wait, patience, seconds
        self.address = urlsplit(self.url).hostname, urlsplit(self.url).port or 80
        self.tells = True  # does the room tell the position?
        self.clients = [Client(wait) for _ in range(clients)]
        self.forget()
        self.most_are_lost, self.all_are_back = asyncio.Event(), asyncio.Event()

    def forget(self) -> None:
        """It was no storm so far, only a few clients that lost their connections and are back."""
        self.loss = 0.0  # on the clock: when the first one lost its server
        self.cpu_before = time.process_time()
        self.attempts: list[tuple[float, float | None]] = []  # when each began, and when it succeeded
        self.turned_away = 0
        self.away: set[Client] = set()
        self.back: dict[Client, float] = {}

    async def run(self, when_joined: Callable[[], Awaitable[None]], show: Callable[[float], None]) -> Storm:
        """`when_joined` is awaited beside the clients, and may end the server and start it again. `show` is told how
        many clients are back. Raises LoadError if not all clients can join."""
        try:
            await self.join()
            await self.weather(when_joined, show)
            return self.result()
        except ExceptionGroup as group:
            raise first_of(group) from None
        finally:
            for client in self.clients:
                if client.visit:
                    client.visit.close()
            await asyncio.sleep(0)  # now they are closed

    # ------------------------------------------------------------ joining

    async def join(self) -> None:
        allow_many_connections()
        latest = clock() + TIME_TO_JOIN + len(self.clients) / JOINS_A_SECOND
        try:
            await self.join_first(self.clients[0])
            for start in range(1, len(self.clients), AT_ONCE):
                some = self.clients[start : start + AT_ONCE]
                async with asyncio.TaskGroup() as group:
                    for client in some:
                        group.create_task(self.join_one(client, latest))
        except* (OSError, InvalidHandshake, ValueError) as errors:
            joined = sum(client.visit is not None for client in self.clients)
            reason = " ".join(str(first_of(errors)).split()) or "no answer in time"
            what = f"{joined} of {len(self.clients)} clients joined {self.url}: {reason}"
            raise LoadError(f"only {what}; start a room there (chatroom serve v8), or use fewer clients") from None

    async def join_first(self, client: Client) -> None:
        """And find out whether the room tells the position."""
        self.tells = False
        visit = await self.dial(client, TIME_TO_JOIN)
        assert visit.transport
        self.address = visit.transport.get_extra_info("peername")[:2]  # so that no name is looked up in the storm
        latest = clock() + SETTLE
        while not client.position and clock() < latest:
            await asyncio.sleep(0.01)
        self.tells = client.position is not None

    async def join_one(self, client: Client, latest: float) -> None:
        """As often as the room says that it may try again, but not after `latest`, on the clock."""
        while not client.visit:
            try:
                await self.dial(client, TIME_TO_JOIN)
            except InvalidStatus as error:
                if not turned_away(error) or clock() > latest:
                    raise
                await asyncio.sleep(retry_after(error) or 1.0)

    async def dial(self, client: Client, patience: float) -> Visit:
        """Raises OSError (a TimeoutError after `patience` seconds) or InvalidHandshake."""
        visit = Visit(asking_for_the_rest(self.url, client.position, last=0), self.tells, client.hear)
        try:
            async with asyncio.timeout(patience):
                host, port = self.address
                tls = True if self.url.startswith("wss:") else None
                await asyncio.get_running_loop().create_connection(lambda: visit, host, port, ssl=tls)
                if error := await visit.served:
                    raise error
        except BaseException as error:
            if not (isinstance(error, TimeoutError) and visit.is_served):  # then only we were late
                visit.close()
                raise
        client.visit = visit
        return visit

    # ------------------------------------------------------------ the storm

    async def weather(self, when_joined: Callable[[], Awaitable[None]], show: Callable[[float], None]) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.keep_coming_back(client)) for client in self.clients]
            tasks += [group.create_task(self.report_progress(show)), group.create_task(awaited(when_joined))]
            await self.most_are_lost.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(self.loss + self.seconds - clock()):
                    await self.all_are_back.wait()
            for task in tasks:
                task.cancel()

    async def keep_coming_back(self, client: Client) -> None:
        while visit := client.visit:
            await visit.lost
            self.note_loss(client, visit)
            while not client.visit:
                await asyncio.sleep(client.next_wait())
                await self.attempt(client)
            self.note_return(client)

    def note_loss(self, client: Client, visit: Visit) -> None:
        if not self.away and not self.most_are_lost.is_set():
            self.forget()
            self.loss = clock()
        client.visit = None
        client.backoff.note_loss(visit)
        self.away.add(client)
        self.back.pop(client, None)
        self.all_are_back.clear()
        if len(self.away) + len(self.back) > len(self.clients) / 2:
            self.most_are_lost.set()

    async def attempt(self, client: Client) -> None:
        number = len(self.attempts)
        began = clock()
        self.attempts.append((began, None))
        try:
            await self.dial(client, self.patience)
        except (OSError, InvalidHandshake) as error:
            client.backoff.note_failure(error)
            self.turned_away += turned_away(error)
        else:
            self.attempts[number] = began, clock()

    def note_return(self, client: Client) -> None:
        self.away.discard(client)
        self.back[client] = clock()
        if not self.away:
            self.all_are_back.set()

    async def report_progress(self, show: Callable[[float], None]) -> None:
        while True:
            show(len(self.back))
            await asyncio.sleep(0.5)  # drawing blocks the loop for a few milliseconds

    def result(self) -> Storm:
        attempts = [(since(began, self.loss), end and since(end, self.loss)) for began, end in self.attempts]
        return Storm(
            url=self.url,
            clients=len(self.clients),
            wait=self.wait,
            patience=self.patience,
            attempts=tuple(began for began, _ in attempts),
            served=tuple(end for _, end in attempts),
            turned_away=self.turned_away,
            back=tuple(sorted(since(when, self.loss) for when in self.back.values())),
            not_back=len(self.away),
            client_cpu=round(time.process_time() - self.cpu_before, 3),
        )


def turned_away(error: Exception) -> bool:
    return isinstance(error, InvalidStatus) and error.response.status_code == HTTPStatus.SERVICE_UNAVAILABLE


def since(when: float, start: float) -> float:
    return round(when - start, 4)


async def awaited(what: Callable[[], Awaitable[None]]) -> None:
    await what()


def first_of(errors: BaseExceptionGroup) -> BaseException:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def run_storm(
    url: str,
    clients: int = 500,
    wait: str = TOLD,
    patience: float = 1.5,
    seconds: float = 60.0,
    progress: bool = True,
) -> Storm:
    """Let `clients` join the room at `url`, and wait until most of them have lost it: end its server then, and start it
    again at the same address. Returns when all are back, or `seconds` after the loss.

    `wait`: what each does before an attempt. "at once": 10 ms; "fixed": 1 s; "exponential": 0.5 s, doubled with each
    that fails; "jitter": a random time up to that; "told": what the room has told, else a random time up to 1 s,
    doubled. 30 s at most. `patience`: seconds after which an attempt is given up that has not been served: with the
    position, or if the room tells none, with the answer to the handshake.

    Raises LoadError if the numbers or the URL are impossible, or if not all clients can join.
    """
    require_numbers(clients, wait, patience, seconds)
    url = room_url(url)

    async def storm(show: Callable[[float], None]) -> Storm:
        return await StormRun(url, clients, wait, patience, seconds).run(say_what_to_do, show)

    async def say_what_to_do() -> None:
        if progress and sys.stderr and sys.stderr.isatty():
            print(f"{clients:,} clients have joined: end the server now, and start it again at {url}", file=sys.stderr)

    with progress_bar("back again" if progress else None, clients, "clients") as show:
        return (run if running_loop() else asyncio.run)(storm(show))


def require_numbers(clients: int, wait: str, patience: float, seconds: float) -> None:
    if not 1 <= clients <= MOST_CLIENTS:
        raise LoadError(f"the number of clients must be 1 to {MOST_CLIENTS:,}, not {clients}")
    if wait not in CHOICES:
        raise LoadError(f"wait must be one of {', '.join(CHOICES)}, not {wait!r}")
    if not 0 < patience < math.inf:
        raise LoadError(f"patience must be more than 0 seconds, not {patience:g}: 1.5, for example")
    if not 0 < seconds < math.inf:
        raise LoadError(f"seconds must be more than 0, not {seconds:g}: 60, for example")
