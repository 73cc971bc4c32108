"""The load generator: a crowd of clients on bare sockets, in a process of its own.

    echo '{"url": "ws://127.0.0.1:8081/chatroom", "clients": 200, "in_flight": 8}' |
        python -m chatroom_lib.bench.load_generator

It must cost much less than the server, or it would be what is measured. So it reads bytes and does not take frames
apart: all messages are equally long, and what has arrived is the number of bytes over the length of a frame. That
this holds is checked, before the run with one message that must reach everybody, in the run at up to 20 listeners
(spread over the order of joining), who read the number in every frame, and after it, when the bytes must be those
of whole frames. Latency is taken at these listeners.

Two kinds of load. Closed: `in_flight` messages are under way, and whoever hears its own says the next one. Open:
`rate` messages a second are due whatever the server does, and latency counts from the moment a message was due. In
a closed loop a server that stalls, or loses a message, is asked less ("coordinated omission"); so only an open one
can tell how long people wait, and only a closed one how much a server can carry.
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
LISTENERS = 20  # who read every frame
BUFFER = 1 << 18  # bytes
PATIENCE = 5.0  # seconds for one answer, and for the last messages to arrive
MARK = b"#%08d"  # the number of a message, in its content
PAYLOAD = 90  # bytes


class GeneratorError(RuntimeError):
    """There can be no measurement. The text says why."""


@dataclass
class Job:
    """What to do: `in_flight`, or `rate`, or neither: then only the memory of idle connections is measured."""

    url: str
    clients: int
    in_flight: int = 0
    rate: float = 0.0  # messages a second, of all clients together
    warm_up: float = 0.5  # seconds
    seconds: float = 2.0
    protocol: str = "plain"
    pid: int = 0  # the server's process; 0: its CPU time and memory are not measured
    core: int = -1  # where this process is kept; -1: anywhere

    def __post_init__(self):
        if self.clients < 1:
            raise ValueError(f"clients must be 1 or more, not {self.clients!r}")
        if self.in_flight < 0 or self.rate < 0 or (self.in_flight and self.rate):
            raise ValueError(f"take in_flight={self.in_flight!r}, or rate={self.rate!r}, above 0, or leave both out")
        if not (self.seconds > 0 and self.warm_up >= 0):
            raise ValueError(f"seconds={self.seconds!r} must be more than 0, and warm_up={self.warm_up!r} not below")


@dataclass
class Measurement:
    """What came of a job."""

    clients: int
    seconds: float
    messages: int  # said in the window
    deliveries: int  # frames that arrived in the window, at all clients
    lost: int  # frames that had not arrived `PATIENCE` seconds after the end
    p50_ms: float | None
    p99_ms: float | None
    server_cpu: float  # the share of a core that the server's process took in the window
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
    start = b'{"token":"crowd","content":"' + MARK % number
    return start.ljust(PAYLOAD - 2, b".") + b'"}'


def socketio_message(number: int) -> bytes:
    return b'42["message",' + plain_message(number) + b"]"


def no_greeting(client: "Client") -> None:
    pass


def socketio_greeting(client: "Client") -> None:
    """Engine.IO opens with a packet of type 0; then 40 asks for a session of Socket.IO."""
    client.read_text(b"0{")
    client.socket.sendall(frame(b"40"))
    client.read_text(b"40")


PROTOCOLS: dict[str, tuple[Callable, Callable]] = {
    "plain": (no_greeting, plain_message),
    "socketio": (socketio_greeting, socketio_message),
}


@dataclass(slots=True, eq=False)
class Client:
    socket: socket.socket
    carry: bytes = b""  # what has arrived and was not looked at
    listens: bool = False  # reads the number in every frame
    lanes: list = field(default_factory=list)  # in a closed loop: the marks of its messages under way

    def wait_for_frame(self) -> tuple[int, int]:
        """Read, in the time before the run, until `carry` begins with a whole frame. Returns what `lengths` does."""
        while len(self.carry) < 2 or len(self.carry) < sum(lengths(self.carry)):
            self.read_more()
        return lengths(self.carry)

    def read_text(self, start: bytes) -> None:
        """Read one text frame, in the time before the run."""
        header, length = self.wait_for_frame()
        text, self.carry = self.carry[header : header + length], self.carry[header + length :]
        if not text.startswith(start):
            raise GeneratorError(f"expected a text that starts with {start!r}, and got {text[:60]!r}")

    def read_more(self) -> None:
        try:
            data = self.socket.recv(BUFFER)
        except TimeoutError:
            raise GeneratorError(f"no answer, or no message, within {PATIENCE:g} s") from None
        if not data:
            raise GeneratorError("the server closed a connection before the run")
        self.carry += data


def dial(url: str, greet: Callable) -> Client:
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client = Client(connection)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    key = b64encode(os.urandom(16)).decode()
    connection.sendall(
        f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    while b"\r\n\r\n" not in client.carry:
        client.read_more()
    answer, _, client.carry = client.carry.partition(b"\r\n\r\n")
    if not answer.startswith(b"HTTP/1.1 101 "):
        raise GeneratorError(f"no WebSocket at {url}: {answer.splitlines()[0].decode(errors='replace')}")
    greet(client)
    return client


# ---------------------------------------------------------------- the crowd


class Poller:
    """Tells which clients have something to read. (`selectors` does the same for twice the time.)"""

    def __init__(self):
        self.clients: dict[int, Client] = {}
        self.poll = select.epoll() if hasattr(select, "epoll") else select.poll()
        self.unit = 0.001 if hasattr(select, "epoll") else 1  # what `poll` calls a millisecond

    def add(self, client: Client) -> None:
        self.clients[client.socket.fileno()] = client
        self.poll.register(client.socket, select.POLLIN)

    def ready(self, seconds: float) -> list[Client]:
        """Whole milliseconds are waited, and the rest is not: what is due is not to be late."""
        clients = self.clients
        return [clients[descriptor] for descriptor, _ in self.poll.poll(max(0, int(1000 * seconds)) * self.unit)]


class Crowd:
    def __init__(self, job: Job):
        self.job = job
        self.greet, self.message = PROTOCOLS[job.protocol]
        self.clients: list[Client] = []
        self.poller = Poller()
        self.buffer = bytearray(BUFFER)
        self.view = memoryview(self.buffer)
        self.said_at = array("d")  # when message k was said, or was due
        self.received = 0  # bytes, in all
        self.latencies = array("d")  # seconds
        self.begin = self.end = float("inf")  # of the window
        self.server = psutil.Process(job.pid) if job.pid else None

    def run(self) -> Measurement:
        try:
            if not (self.job.in_flight or self.job.rate):
                return self.weigh()
            self.join(self.job.clients)
            self.rehearse()
            gc.collect()
            gc.freeze()
            return self.measure()
        finally:
            for client in self.clients:
                client.socket.close()

    def join(self, number: int) -> None:
        for _ in range(number):
            self.clients.append(dial(self.job.url, self.greet))

    def weigh(self) -> Measurement:
        """The memory that the server takes for idle connections."""
        self.join(100)  # for what it takes once
        time.sleep(0.2)
        before = self.server.memory_info().rss
        self.join(self.job.clients)
        time.sleep(0.3)
        size = (self.server.memory_info().rss - before) / self.job.clients
        return Measurement(self.job.clients, 0, 0, 0, 0, None, None, 0, 0, size)

    def rehearse(self) -> None:
        """Say one message, wait until all have heard it, and note the length of its frame."""
        self.clients[0].socket.sendall(frame(self.message(0)))
        for client in self.clients:
            client.wait_for_frame()
            if MARK % 0 not in client.carry:
                raise GeneratorError(f"a message came back as {client.carry[:120]!r}")
            client.carry, first = b"", client.carry
            client.socket.setblocking(False)
            self.poller.add(client)
        self.frame_size = len(first)
        self.number_at = first.index(MARK % 0) + 1
        step = max(1, (len(self.clients) - 1) // (LISTENERS - 1))
        for client in self.clients[::step]:
            client.listens = True

    # ------------------------------------------------------------ talking

    def say(self, client: Client, due: float | None = None) -> bytes:
        """Returns the message's mark."""
        number = len(self.said_at)
        self.said_at.append(clock() if due is None else due)
        try:
            client.socket.send(frame(self.message(number)))
        except (BlockingIOError, ConnectionError) as error:
            raise GeneratorError(f"the server takes no more messages ({error})") from None
        return MARK % number

    def say_next(self, client: Client) -> None:
        client.lanes.append(self.say(client))

    def measure(self) -> Measurement:
        start = clock()
        begin = start + self.job.warm_up
        self.begin, self.end = begin, begin + self.job.seconds
        turn = self.talk_openly(start) if self.job.rate else self.talk_closed()
        self.serve_until(begin, turn)
        counted = len(self.said_at), self.received, *self.cpu_times(), clock()
        self.serve_until(self.end, turn)
        messages, received, server, generator, moment = (
            after - before
            for after, before in zip((len(self.said_at), self.received, *self.cpu_times(), clock()), counted)
        )
        lost = self.drain()
        listening = sum(client.listens for client in self.clients)
        self.latencies.extend([PATIENCE] * (lost * listening // len(self.clients)))  # at least
        if not self.latencies:
            raise GeneratorError("of what was said in the window, nobody heard anything")
        ordered = sorted(self.latencies)
        p50, p99 = (1000 * percentile(ordered, percent) for percent in (50, 99))
        return Measurement(
            clients=len(self.clients),
            seconds=moment,
            messages=messages,
            deliveries=received // self.frame_size,
            lost=lost,
            p50_ms=p50,
            p99_ms=p99,
            server_cpu=server / moment,
            generator_cpu=generator / moment,
        )

    def cpu_times(self) -> tuple[float, float]:
        """Of the server and of this process, in seconds."""
        own = time.process_time()
        if not self.server:
            return 0.0, own
        times = self.server.cpu_times()
        return times.user + times.system, own

    def talk_openly(self, start: float):
        """Says what is due, and returns when the next message is."""
        speakers, every = self.clients, 1 / self.job.rate

        def turn(now: float) -> float:
            while (due := start + len(self.said_at) * every) <= now:
                self.say(speakers[len(self.said_at) % len(speakers)], due)
            return due

        return turn

    def talk_closed(self):
        """Says the first messages. The others are said in `hear`."""
        step = max(1, len(self.clients) // self.job.in_flight)
        for lane in range(self.job.in_flight):
            self.say_next(self.clients[(lane * step + step // 2) % len(self.clients)])
        return lambda now: now + PATIENCE

    # ------------------------------------------------------------ hearing

    def serve_until(self, moment: float, turn: Callable[[float], float]) -> None:
        """Hear and answer until `moment`."""
        while (now := clock()) < moment:
            due = turn(now)
            for client in self.poller.ready(min(due, moment) - clock()):
                self.hear(client)
                if clock() >= due:
                    due = turn(clock())

    def drain(self) -> int:
        """Hear what is still under way. Returns the number of frames that did not come."""
        for client in self.clients:
            client.lanes.clear()
        expected = len(self.said_at) * len(self.clients) * self.frame_size
        latest = clock() + PATIENCE
        while self.received < expected and clock() < latest:
            for client in self.poller.ready(0.1):
                self.hear(client)
        if self.received % self.frame_size and self.received > expected:
            raise GeneratorError("not all frames are alike: their lengths do not add up")
        return (expected - self.received) // self.frame_size

    def hear(self, client: Client) -> None:
        try:
            size = client.socket.recv_into(self.buffer)
        except (BlockingIOError, ConnectionError):
            size = 0
        if not size:
            raise GeneratorError("the server closed a connection during the run")
        self.received += size
        if not (client.listens or client.lanes):
            return
        now = clock()
        data = client.carry + self.view[:size]
        frames, rest = divmod(len(data), self.frame_size)
        client.carry = data[len(data) - rest :]
        if client.listens:
            self.listen(data, frames, now)
        for mark in [mark for mark in client.lanes if mark in data]:
            client.lanes.remove(mark)
            self.say_next(client)

    def listen(self, data: bytes, frames: int, now: float) -> None:
        """Note the latency of what was said before the end and is heard since the beginning of the window."""
        if now < self.begin:
            return
        at, size, said_at = self.number_at, self.frame_size, self.said_at
        for start in range(at, at + frames * size, size):
            try:
                said = said_at[int(data[start : start + 8])]
            except (ValueError, IndexError):
                raise GeneratorError("not all frames are alike: one is longer, or says something else") from None
            if said < self.end:
                self.latencies.append(now - said)


def main() -> None:
    job = Job(**json.load(sys.stdin))
    prepare(job.core)
    try:
        print(json.dumps(asdict(Crowd(job).run())))
    except (GeneratorError, OSError, ValueError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
