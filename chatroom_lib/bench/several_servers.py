"""What a second server brings: the CPU time that each of several takes for a message.

    scale_out("v9.1", servers=3).cpu_us     # microseconds for each message that is said, at each server

The servers are those of `chatroom serve` and `chatroom cluster`, in processes of their own. The clients are bare
sockets in this one, which send at a fixed rate and read without looking. All must have got as many bytes, but for some
pings.
"""

import json
import re
import selectors
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import psutil

from chatroom_lib.bench.measurement import BenchError
from chatroom_lib.bench.websocket_frames import frame, upgrade_request
from chatroom_lib.runtime.descriptors import allow_many_connections
from chatroom_lib.runtime.measurement_lock import measured_window

SPEAKERS = 30  # clients that say something, in turn
LONGEST_START = 30.0  # seconds
LONGEST_END = 5.0
SETTLE = 1.0  # seconds in which what is on its way arrives
PINGS = 64  # bytes, at most, by which clients may differ that heard the same


@dataclass(frozen=True)
class ScaleOut:
    """What one measurement found."""

    room: str
    servers: int
    clients: int
    messages: int  # that were said
    cpu_us: list[float]  # of CPU time, for each of these, at each server
    nats_share: float  # of a core that nats-server used; 0 if there is none

    @property
    def mean_us(self) -> float:
        return sum(self.cpu_us) / len(self.cpu_us)


def scale_out(room: str, servers: int = 1, clients: int = 600, rate: float = 1000, seconds: float = 4.0) -> ScaleOut:
    """Let `clients`, spread over so many servers of `room`, a version, say `rate` messages a second between them.

    Raises BenchError if the servers do not start, or if not everybody hears everything.
    """
    allow_many_connections()
    command = ["cluster", room, "--servers", str(servers)] if servers > 1 or room == "v9.1" else ["serve", room]
    with measured_window():
        process = subprocess.Popen(
            [sys.executable, "-m", "chatroom_lib", *command, "--port", "0", "--unlimited"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        sockets = []
        try:
            urls = addresses(process, servers)
            sockets = [join(urls[number % servers]) for number in range(clients)]
            return measure(process, room, servers, sockets, rate, seconds)
        finally:
            for sock in sockets:
                sock.close()
            process.terminate()
            try:
                process.wait(LONGEST_END)
            except subprocess.TimeoutExpired:
                process.kill()
            process.communicate()


def addresses(process: subprocess.Popen, number: int) -> list[str]:
    """Which the command prints when all its servers are there."""
    found: list[str] = []
    while len(found) < number:
        line = process.stdout.readline()
        if not line:
            raise BenchError(process.stderr.read().strip() or "the servers do not start")
        found += re.findall(r"wss?://[^\s)]+", line)
    return found


def join(url: str) -> socket.socket:
    where = urlsplit(url)
    sock = socket.create_connection((where.hostname, where.port), LONGEST_START)
    sock.sendall(upgrade_request(url))
    if b" 101 " not in sock.recv(4096):
        raise BenchError(f"{url} does not let everybody in")
    sock.setblocking(False)
    return sock


def measure(
    process: subprocess.Popen, room: str, servers: int, sockets: list[socket.socket], rate: float, seconds: float
) -> ScaleOut:
    time.sleep(SETTLE)
    rooms, nats = processes_of(process)
    heard = dict.fromkeys(sockets, 0)  # bytes
    with selectors.DefaultSelector() as selector:
        for sock in sockets:
            selector.register(sock, selectors.EVENT_READ)
        before, start, said = cpu_times(rooms + nats), time.monotonic(), 0
        while (now := time.monotonic()) < start + seconds + SETTLE:
            while said < rate * min(now - start, seconds):
                sockets[said % min(SPEAKERS, len(sockets))].send(frame(message(said)))
                said += 1
            read(selector, heard)
    spent = [after - earlier for after, earlier in zip(cpu_times(rooms + nats), before)]
    if not said or max(heard.values()) - min(heard.values()) > PINGS:
        raise BenchError(f"not everybody heard everything: {min(heard.values())} to {max(heard.values())} bytes")
    cpu_us = [1e6 * each / said for each in spent[: len(rooms)]]
    return ScaleOut(room, servers, len(sockets), said, cpu_us, sum(spent[len(rooms) :]) / (seconds + SETTLE))


def processes_of(process: subprocess.Popen) -> tuple[list[psutil.Process], list[psutil.Process]]:
    """The servers' processes, and that of NATS."""
    children = psutil.Process(process.pid).children()
    rooms = [child for child in children if "serve" in child.cmdline()]
    return rooms or [psutil.Process(process.pid)], [child for child in children if child not in rooms]


def cpu_times(processes: list[psutil.Process]) -> list[float]:
    return [sum(process.cpu_times()[:2]) for process in processes]


def message(number: int) -> bytes:
    return json.dumps({"token": f"T{number % SPEAKERS}", "content": f"{number} ".ljust(60, ".")}).encode()


def read(selector: selectors.BaseSelector, heard: dict[socket.socket, int]) -> None:
    for key, _ in selector.select(0.001):
        heard[key.fileobj] += len(key.fileobj.recv(1 << 18))
