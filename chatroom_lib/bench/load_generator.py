"""The load generator: many clients on bare sockets, in a process of its own.

    echo '{"url": "ws://127.0.0.1:8081/chatroom", "clients": 200, "in_flight": 8}' |
        python -m chatroom_lib.bench.load_generator

It must need much less CPU time than the server, or it would be the bottleneck. So it counts bytes and does not parse
frames: all messages have the same length, and the number of deliveries is the number of bytes over the length of a
frame. This is checked before the run, with one message that must reach every client; in the run, at up to 20 listeners
(spread over the order of joining) that read the number in every frame; and after it, when the bytes must add up to
whole frames. Latency is measured at the listeners.

Two kinds of load. Closed: `in_flight` messages are in flight, and a client that hears its own sends the next one.
Open: `rate` messages a second are due whatever the server does, and latency counts from the time at which a message was
due. Under a closed load, a server that stalls or loses a message is asked for less ("coordinated omission"); so only an
open load shows how long people wait, and only a closed one how much a server can carry.
"""

import gc
import json
import os
import select
import socket
import sys
import time
from array import array
from base64 import b64encode
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from urllib.parse import urlsplit

import psutil

from chatroom_lib.bench.process import prepare
from chatroom_lib.bench.websocket_frames import frame, lengths
from chatroom_lib.trace import percentile

clock = time.perf_counter
LISTENERS = 20  # clients, at most, that read every frame
BUFFER_SIZE = 1 << 18  # bytes
MARK = b"#%08d"  # the number of a message, in its content
PAYLOAD = 90  # bytes, of each message


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
            raise ValueError(f"take in_flight={self.in_flight!r}, or rate={self.rate!r}: one of them, and none below 0")
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

    @property
    def deliveries_per_second(self) -> float:
        return self.deliveries / self.seconds

    @property
    def cpu_us(self) -> float:
        """The server's CPU time for one delivery, in microseconds."""
        return 1e6 * self.server_cpu * self.seconds / self.deliveries


# ---------------------------------------------------------------- the protocol


def plain_message(number: int) -> bytes:
    start = b'{"token":"load","content":"' + MARK % number
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
    unread: bytes = b""  # received and not yet looked at
    listens: bool = False  # reads the number in every frame
    outstanding: list = field(default_factory=list)  # under a closed load: the marks of its messages in flight

    def wait_for_frame(self) -> tuple[int, int]:
        """Read, before the run, until `unread` begins with a whole frame. Returns what `lengths` does."""
        while len(self.unread) < 2 or len(self.unread) < sum(lengths(self.unread)):
            self.read_more()
        return lengths(self.unread)

    def read_text(self, start: bytes) -> None:
        """Read one text frame that begins so, before the run."""
        header, length = self.wait_for_frame()
        text, self.unread = self.unread[header : header + length], self.unread[header + length :]
        if not text.startswith(start):
            raise GeneratorError(f"expected a text that starts with {start!r}, and got {text[:60]!r}")

    def read_more(self) -> None:
        try:
            data = self.socket.recv(BUFFER_SIZE)
        except TimeoutError:
            raise GeneratorError(f"no answer, or no message, within {self.socket.gettimeout():g} s") from None
        if not data:
            raise GeneratorError("the server closed a connection before the run")
        self.unread += data


def dial(url: str, greet: Callable[[Connection], None], timeout: float) -> Connection:
    parts = urlsplit(url)
    connection = Connection(socket.create_connection((parts.hostname, parts.port), timeout=timeout))
    connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    key = b64encode(os.urandom(16)).decode()
    connection.socket.sendall(
        f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    while b"\r\n\r\n" not in connection.unread:
        connection.read_more()
    answer, _, connection.unread = connection.unread.partition(b"\r\n\r\n")
    if not answer.startswith(b"HTTP/1.1 101 "):
        raise GeneratorError(f"no WebSocket at {url}: {answer.splitlines()[0].decode(errors='replace')}")
    greet(connection)
    return connection


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
        self.received = 0  # bytes, in all
        self.latencies = array("d")  # seconds
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
        before = self.server.memory_info().rss
        self.connect(self.job.clients)
        time.sleep(0.3)
        size = (self.server.memory_info().rss - before) / self.job.clients
        return Measurement(self.job.clients, 0, 0, 0, 0, None, None, 0, 0, size)

    def calibrate(self) -> None:
        """Send one message, wait until every client has it, and note the length of its frame."""
        self.connections[0].socket.sendall(frame(self.message(0)))
        for connection in self.connections:
            connection.wait_for_frame()
            if MARK % 0 not in connection.unread:
                raise GeneratorError(f"a message came back as {connection.unread[:120]!r}")
            connection.unread, first = b"", connection.unread
            connection.socket.setblocking(False)
            self.poller.add(connection)
        self.frame_size = len(first)
        self.number_at = first.index(MARK % 0) + 1
        step = max(1, (len(self.connections) - 1) // (LISTENERS - 1))
        for connection in self.connections[::step]:
            connection.listens = True

    def measure(self) -> Measurement:
        start = clock()
        begin = start + self.job.warm_up
        self.begin, self.end = begin, begin + self.job.seconds
        send_due = self.open_load(start) if self.job.rate else self.closed_load()
        self.run_until(begin, send_due)
        before = self.counts()
        self.run_until(self.end, send_due)
        counted = (now - then for now, then in zip(self.counts(), before, strict=True))
        messages, received, server, generator, seconds = counted
        lost = self.drain()
        listening = sum(connection.listens for connection in self.connections)
        self.latencies.extend([self.job.timeout] * (lost * listening // len(self.connections)))  # at least so long
        if not self.latencies:
            raise GeneratorError("of what was sent in the window, nothing arrived")
        ordered = sorted(self.latencies)
        p50, p99 = (1000 * percentile(ordered, percent) for percent in (50, 99))
        return Measurement(
            clients=len(self.connections),
            seconds=seconds,
            messages=messages,
            deliveries=received // self.frame_size,
            lost=lost,
            p50_ms=p50,
            p99_ms=p99,
            server_cpu=server / seconds,
            generator_cpu=generator / seconds,
        )

    def counts(self) -> tuple[float, ...]:
        """So far: messages sent, bytes received, CPU time of the server and of this process; and the time."""
        return len(self.sent_at), self.received, *self.cpu_times(), clock()

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
        try:
            connection.socket.send(frame(self.message(number)))
        except (BlockingIOError, ConnectionError) as error:
            raise GeneratorError(f"the server takes no more messages ({error})") from None
        return MARK % number

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

    def drain(self) -> int:
        """Receive what is still in flight. Returns the number of frames that did not arrive."""
        for connection in self.connections:
            connection.outstanding.clear()
        expected = len(self.sent_at) * len(self.connections) * self.frame_size
        latest = clock() + self.job.timeout
        while self.received < expected and clock() < latest:
            for connection in self.poller.ready(0.1):
                self.receive(connection)
        if self.received % self.frame_size and self.received > expected:
            raise GeneratorError("not all frames are alike: their lengths do not add up")
        return (expected - self.received) // self.frame_size

    def receive(self, connection: Connection) -> None:
        try:
            size = connection.socket.recv_into(self.buffer)
        except (BlockingIOError, ConnectionError):
            size = 0
        if not size:
            raise GeneratorError("the server closed a connection during the run")
        self.received += size
        if not (connection.listens or connection.outstanding):
            return
        now = clock()
        data = connection.unread + self.view[:size]
        frames, rest = divmod(len(data), self.frame_size)
        connection.unread = data[len(data) - rest :]
        if connection.listens:
            self.note_latencies(data, frames, now)
        for mark in [mark for mark in connection.outstanding if mark in data]:
            connection.outstanding.remove(mark)
            self.send_outstanding(connection)

    def note_latencies(self, data: bytes, frames: int, now: float) -> None:
        """Of messages that were sent before the end of the window and arrive after its beginning."""
        if now < self.begin:
            return
        at, size, sent_at = self.number_at, self.frame_size, self.sent_at
        for start in range(at, at + frames * size, size):
            try:
                sent = sent_at[int(data[start : start + 8])]
            except (ValueError, IndexError):
                raise GeneratorError("not all frames are alike: one is longer, or has another content") from None
            if sent < self.end:
                self.latencies.append(now - sent)


def main() -> None:
    job = Job(**json.load(sys.stdin))
    prepare(job.core)
    try:
        print(json.dumps(asdict(LoadGenerator(job).run())))
    except (GeneratorError, OSError, ValueError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
