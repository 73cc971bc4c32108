"""The load generator: many clients on bare sockets, in a process of its own.

    echo '{"url": "ws://127.0.0.1:8081/chatroom", "clients": 200, "in_flight": 8}' |
        python -m chatroom_lib.bench.load_generator

It must need much less CPU time than the server, or it would be the bottleneck. So it does not parse messages: it counts
those that have a mark in them, whole runs of frames at once (see websocket_frames.py), whatever else a room adds to
them. After the run each client must have as many as were sent. Up to 20 listeners (spread over the order of joining)
also read the number of every message; so latency is measured there, and a message that comes twice makes up for none
that is lost.

Two kinds of load. Closed: `in_flight` messages are in flight, and a client that hears its own sends the next one.
Open: `rate` messages a second are due whatever the server does, and latency counts from the time at which a message was
due. Under a closed load, a server that stalls or loses a message is asked for less ("coordinated omission"); so only an
open load shows how long people wait, and only a closed one how much a server can carry.
"""

import gc
import json
import re
import select
import socket
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from urllib.parse import urlsplit

import psutil

from chatroom_lib.bench.process import prepare
from chatroom_lib.bench.websocket_frames import PONG, Messages, NotAFrame, frame, lengths, upgrade_request
from chatroom_lib.trace import percentile

clock = time.perf_counter
LISTENERS = 20  # clients, at most, that read every frame
BUFFER_SIZE = 1 << 18  # bytes
MARK = b"load#"  # in the content of each message, before its number
NUMBER = re.compile(re.escape(MARK) + rb"(\d{8})")
LONGEST_HEAD = 1 << 16  # bytes, of the answer to a handshake
PAYLOAD = 90  # bytes, of each message
CLOSED = "the server closed a connection"
ENDED = "the server's process ended"


class GeneratorError(RuntimeError):
    """Nothing can be measured. The text says why."""


@dataclass
class Job:
    """What to do: a closed load (`in_flight`), an open one (`rate`), or neither: idle connections, for their memory."""

    url: str
    clients: int
    in_flight: int = 0
    rate: float = 0.0  # messages a second, of all clients together
    warm_up: float = 0.5  # seconds of load before the measured window
    seconds: float = 2.0  # of the window
    timeout: float = 5.0  # seconds for one answer, and for the last messages to arrive
    protocol: str = "plain"
    pid: int = 0  # the server's process; 0: its CPU time and memory are not measured
    core: int = -1  # that this process is kept on; -1: any

    def __post_init__(self):
        if self.clients < 1:
            raise ValueError(f"clients must be 1 or more, not {self.clients!r}")
        if self.in_flight < 0 or self.rate < 0 or (self.in_flight and self.rate):
            raise ValueError(f"give in_flight={self.in_flight!r} or rate={self.rate!r}: one of them, none below 0")
        if not (self.seconds > 0 and self.warm_up >= 0):
            raise ValueError(f"seconds={self.seconds!r} must be more than 0, and warm_up={self.warm_up!r} at least 0")


@dataclass
class Measurement:
    """The result of a job."""

    clients: int
    seconds: float  # of the window
    messages: int  # sent in the window
    deliveries: int  # frames that arrived in the window, at all clients
    lost: int  # frames that had not arrived `Job.timeout` seconds after the end
    p50_ms: float | None
    p99_ms: float | None
    server_cpu: float  # share of a core that the server's process used in the window
    generator_cpu: float  # the same for this process
    bytes_per_connection: float | None = None  # of an idle one, in the server
    doubled: int = 0  # messages that came to a client once more, as far as the clients can tell

    @property
    def deliveries_per_second(self) -> float | None:
        """None of idle connections."""
        return self.deliveries / self.seconds if self.seconds else None

    @property
    def cpu_us(self) -> float | None:
        """The server's CPU time for one delivery, in microseconds. None if there was no delivery."""
        return 1e6 * self.server_cpu * self.seconds / self.deliveries if self.deliveries else None


# ---------------------------------------------------------------- the protocol


def numbered(number: int) -> bytes:
    return MARK + b"%08d" % number


def plain_message(number: int) -> bytes:
    start = b'{"token":"load","content":"' + numbered(number)
    return start.ljust(PAYLOAD - 2, b".") + b'"}'


def socketio_message(number: int) -> bytes:
    return b'42["message",' + plain_message(number) + b"]"


def no_greeting(connection: "Connection") -> None:
    pass


def socketio_greeting(connection: "Connection") -> None:
    """Engine.IO opens with a packet of type 0; then 40 requests a session of Socket.IO."""
    connection.read_text(b"0{")
    connection.socket.sendall(frame(b"40"))
    connection.read_text(b"40")


PROTOCOLS: dict[str, tuple[Callable, Callable]] = {
    "plain": (no_greeting, plain_message),
    "socketio": (socketio_greeting, socketio_message),
}


@dataclass(slots=True, eq=False)
class Connection:
    """One client's."""

    socket: socket.socket
    unread: bytes = b""  # received before the run, and not yet looked at
    messages: Messages = field(default_factory=lambda: Messages(MARK))
    heard: int = 0  # messages of the load
    listens: bool = False
    arrivals: list[tuple[float, bytes]] = field(default_factory=list)  # at a listener: when, and which numbers
    outstanding: list = field(default_factory=list)  # under a closed load: the marks of its messages in flight

    def read_text(self, start: bytes) -> None:
        """Read one text frame that begins so, before the run."""
        while True:
            header, size = lengths(self.unread, 0, len(self.unread))
            if size and size <= len(self.unread):
                break
            self.read_more()
        text, self.unread = self.unread[header:size], self.unread[size:]
        if not text.startswith(start):
            raise GeneratorError(f"expected a text that starts with {start!r}, and got {text[:60]!r}")

    def read_more(self) -> None:
        try:
            data = self.socket.recv(BUFFER_SIZE)
        except TimeoutError:
            raise GeneratorError(f"no answer within {self.socket.gettimeout():g} s") from None
        except ConnectionError as error:
            raise GeneratorError(f"{CLOSED} before the run ({error.strerror})") from None
        if not data:
            raise GeneratorError(f"{CLOSED} before the run")
        self.unread += data

    def distinct(self, sent: int) -> int:
        """How many of the `sent` messages have come: at a listener, else as far as their number says."""
        if not self.listens:
            return min(sent, self.heard)
        return len({number for _, numbers in self.arrivals for number in split(numbers)})


def split(numbers: bytes) -> Iterator[bytes]:
    """Of eight digits each."""
    return (numbers[at : at + 8] for at in range(0, len(numbers), 8))


def dial(url: str, greet: Callable[[Connection], None], timeout: float) -> Connection:
    parts = urlsplit(url)
    try:
        connection = Connection(socket.create_connection((parts.hostname, parts.port), timeout=timeout))
    except OSError as error:
        raise GeneratorError(f"no connection to {url}: {error.strerror or error}") from None
    try:
        shake_hands(connection, url)
        greet(connection)
    except BaseException:
        connection.socket.close()
        raise
    connection.messages.unread, connection.unread = connection.unread, b""
    return connection


def shake_hands(connection: Connection, url: str) -> None:
    connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.socket.sendall(upgrade_request(url))
    while b"\r\n\r\n" not in connection.unread and len(connection.unread) < LONGEST_HEAD:
        connection.read_more()
    answer, _, connection.unread = connection.unread.partition(b"\r\n\r\n")
    if not answer.startswith(b"HTTP/1.1 101 "):
        raise GeneratorError(f"no WebSocket at {url}: {answer.partition(bytes([13]))[0][:60]!r}")


# ---------------------------------------------------------------- the load


class Poller:
    """Tells which connections have something to read. (`selectors` does the same and takes twice the time.)"""

    def __init__(self):
        self.connections: dict[int, Connection] = {}
        self.poll = select.epoll() if hasattr(select, "epoll") else select.poll()
        self.millisecond = 0.001 if hasattr(select, "epoll") else 1  # in the unit that `poll` takes

    def add(self, connection: Connection) -> None:
        self.connections[connection.socket.fileno()] = connection
        self.poll.register(connection.socket, select.POLLIN)

    def ready(self, seconds: float) -> list[Connection]:
        """Waits for whole milliseconds, rounded down, so that what is due is not sent late."""
        connections = self.connections
        milliseconds = max(0, int(1000 * seconds))
        return [connections[descriptor] for descriptor, _ in self.poll.poll(milliseconds * self.millisecond)]


class LoadGenerator:
    """Does one job."""

    def __init__(self, job: Job):
        self.job = job
        self.greet, self.message = PROTOCOLS[job.protocol]
        self.connections: list[Connection] = []
        self.poller = Poller()
        self.buffer = bytearray(BUFFER_SIZE)
        self.view = memoryview(self.buffer)
        self.sent_at = array("d")  # when message k was sent, or was due; on `clock`, in seconds
        self.heard = 0  # messages of the load, at all clients
        self.begin = self.end = float("inf")  # of the window
        self.server = psutil.Process(job.pid) if job.pid else None

    def run(self) -> Measurement:
        try:
            if not (self.job.in_flight or self.job.rate):
                return self.measure_memory()
            self.connect(self.job.clients)
            self.calibrate()
            gc.collect()
            gc.freeze()
            return self.measure()
        finally:
            for connection in self.connections:
                connection.socket.close()

    def connect(self, number: int) -> None:
        for _ in range(number):
            self.connections.append(dial(self.job.url, self.greet, self.job.timeout))

    def measure_memory(self) -> Measurement:
        """How much memory the server takes for each idle connection."""
        self.connect(100)  # for what it allocates only once
        time.sleep(0.2)
        before = self.server_memory()
        self.connect(self.job.clients)
        time.sleep(0.3)
        size = (self.server_memory() - before) / self.job.clients
        for connection in self.connections:
            connection.socket.setblocking(False)
            self.poller.add(connection)
        for connection in self.poller.ready(0):
            self.receive(connection)  # it may be the end
        return Measurement(self.job.clients, 0, 0, 0, 0, None, None, 0, 0, size)

    def server_memory(self) -> int:
        """Of the server's process, in bytes."""
        if memory := self.server.memory_info().rss:
            return memory
        raise GeneratorError(ENDED)  # and nobody has asked for its exit code so far

    def calibrate(self) -> None:
        """Send one message, and wait until every client has it."""
        self.sent_at.append(clock())
        self.connections[0].socket.sendall(frame(self.message(0)))
        for connection in self.connections:
            while True:
                data = connection.messages.unread + connection.unread
                connection.unread = b""
                self.count(connection, bytearray(data), len(data), "before the run")
                if connection.heard:
                    break
                self.wait_for_message(connection, data)
            connection.socket.setblocking(False)
            self.poller.add(connection)
        step = max(1, (len(self.connections) - 1) // (LISTENERS - 1))
        for connection in self.connections[::step]:
            connection.listens = True
            connection.arrivals.append((clock(), numbered(0)[len(MARK) :]))

    def wait_for_message(self, connection: Connection, so_far: bytes) -> None:
        try:
            connection.read_more()
        except GeneratorError as error:
            raise GeneratorError(f"{error}; what came last is {so_far[-120:]!r}" if so_far else str(error)) from None

    def measure(self) -> Measurement:
        start = clock()
        begin = start + self.job.warm_up
        self.begin, self.end = begin, begin + self.job.seconds
        send_due = self.open_load(start) if self.job.rate else self.closed_load()
        self.run_until(begin, send_due)
        before = self.counts()
        self.run_until(self.end, send_due)
        counted = (now - then for now, then in zip(self.counts(), before, strict=True))
        messages, deliveries, server, generator, seconds = counted
        if not deliveries:
            raise GeneratorError(f"nothing was delivered in the {self.job.seconds:g} s that were measured")
        self.drain()
        sent = len(self.sent_at)
        distinct = [connection.distinct(sent) for connection in self.connections]
        lost = len(distinct) * sent - sum(distinct)
        p50, p99 = (1000 * percentile(self.latencies(), percent) for percent in (50, 99))
        return Measurement(
            clients=len(self.connections),
            seconds=seconds,
            messages=messages,
            deliveries=deliveries,
            lost=lost,
            p50_ms=p50,
            p99_ms=p99,
            server_cpu=server / seconds,
            generator_cpu=generator / seconds,
            doubled=self.heard - sum(distinct),
        )

    def counts(self) -> tuple[float, ...]:
        """So far: messages sent, and heard by all; CPU time of the server and of this process; and the time."""
        return len(self.sent_at), self.heard, *self.cpu_times(), clock()

    def cpu_times(self) -> tuple[float, float]:
        """Of the server and of this process, in seconds."""
        own = time.process_time()
        if not self.server:
            return 0.0, own
        times = self.server.cpu_times()
        return times.user + times.system, own

    # ------------------------------------------------------------ sending

    def send(self, connection: Connection, due: float | None = None) -> bytes:
        """Send the next message, due now if nothing else is said. Returns its mark."""
        number = len(self.sent_at)
        self.sent_at.append(clock() if due is None else due)
        data = frame(self.message(number))
        try:
            taken = connection.socket.send(data)
        except BlockingIOError:
            taken = 0
        except ConnectionError as error:
            raise GeneratorError(f"{CLOSED} during the run ({error.strerror})") from None
        if taken < len(data):
            raise GeneratorError("the server has stopped reading: it takes no more messages")
        return numbered(number)

    def open_load(self, start: float) -> Callable[[float], float]:
        """A function that sends all that is due by now, and returns when the next message is."""
        connections, interval = self.connections, 1 / self.job.rate

        def send_due(now: float) -> float:
            while (due := start + len(self.sent_at) * interval) <= now:
                self.send(connections[len(self.sent_at) % len(connections)], due)
            return due

        return send_due

    def closed_load(self) -> Callable[[float], float]:
        """Sends the first messages; `receive` sends the others. Returns a function that has nothing to send."""
        step = max(1, len(self.connections) // self.job.in_flight)
        for number in range(self.job.in_flight):
            self.send_outstanding(self.connections[(number * step + step // 2) % len(self.connections)])
        return lambda now: now + self.job.timeout

    def send_outstanding(self, connection: Connection) -> None:
        connection.outstanding.append(self.send(connection))

    # ------------------------------------------------------------ receiving

    def run_until(self, end: float, send_due: Callable[[float], float]) -> None:
        """Receive and send until `end`."""
        while (now := clock()) < end:
            due = send_due(now)
            for connection in self.poller.ready(min(due, end) - clock()):
                self.receive(connection)
                if clock() >= due:
                    due = send_due(clock())

    def drain(self) -> None:
        """Receive what is still in flight, for as long as something is missing."""
        for connection in self.connections:
            connection.outstanding.clear()
        latest = clock() + self.job.timeout
        while self.is_missing_some() and clock() < latest:
            for connection in self.poller.ready(0.1):
                self.receive(connection)

    def is_missing_some(self) -> bool:
        sent = len(self.sent_at)
        if self.heard < sent * len(self.connections):
            return True
        return any(connection.distinct(sent) < sent for connection in self.connections)

    def receive(self, connection: Connection) -> None:
        start, view = len(connection.messages.unread), self.view
        if start:
            self.buffer[:start] = connection.messages.unread
            view = view[start:]
        if not view:
            raise GeneratorError(f"the server sent a frame of more than {BUFFER_SIZE:,} bytes")
        try:
            size = connection.socket.recv_into(view)
        except BlockingIOError:
            return
        except ConnectionError:
            size = 0
        if not size:
            raise GeneratorError(f"{CLOSED} during the run")
        self.count(connection, self.buffer, start + size, "during the run")

    def count(self, connection: Connection, buffer: bytearray, end: int, when: str) -> None:
        """Count what a client has received, and answer it."""
        messages = connection.messages
        count, text, length = messages.take(buffer, end)
        connection.heard += count
        self.heard += count
        if messages.closed:
            raise GeneratorError(f"{CLOSED} {when}")
        if messages.pings:
            self.answer_pings(connection)
        if connection.listens and count:
            connection.arrivals.append((clock(), b"".join(NUMBER.findall(text, 0, length))))
        if connection.outstanding:
            for mark in [mark for mark in connection.outstanding if text.find(mark, 0, length) >= 0]:
                connection.outstanding.remove(mark)
                self.send_outstanding(connection)

    def answer_pings(self, connection: Connection) -> None:
        pings, connection.messages.pings = connection.messages.pings, []
        with suppress(OSError):
            connection.socket.send(b"".join(frame(payload, PONG) for payload in pings))

    # ------------------------------------------------------------ after the run

    def latencies(self) -> list[float]:
        """At the listeners, in seconds, in order: of messages that were sent before the end of the window and arrived
        after its beginning. Of those that did not arrive, the time for which they were waited for."""
        latencies, listeners = [], [connection for connection in self.connections if connection.listens]
        sent = len(self.sent_at)
        for connection in listeners:
            if sum(len(numbers) for _, numbers in connection.arrivals) < 8 * connection.heard:
                raise GeneratorError("a message came back with another content")
            for arrived, numbers in connection.arrivals:
                times = list(map(self.sent_time, split(numbers)))
                if arrived >= self.begin:
                    latencies += [arrived - time for time in times if time < self.end]
            latencies += [self.job.timeout] * (sent - connection.distinct(sent))  # at least
        if not latencies:
            raise GeneratorError("of what was sent in the window, nothing arrived")
        return sorted(latencies)

    def sent_time(self, number: bytes) -> float:
        try:
            return self.sent_at[int(number)]
        except IndexError:
            raise GeneratorError(f"a message came with the number {number.decode()}, which was never sent") from None


def main() -> None:
    job = Job(**json.load(sys.stdin))
    prepare(job.core)
    try:
        print(json.dumps(asdict(LoadGenerator(job).run())))
    except psutil.NoSuchProcess:
        sys.exit(ENDED)
    except (GeneratorError, NotAFrame) as error:
        sys.exit(str(error))
    except (OSError, ValueError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
