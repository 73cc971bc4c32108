"""What tests on real sockets share: clients, the versions without their delays, and waiting without guessing."""

import asyncio
import inspect
import json
import logging
import os
import re
import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial, wraps
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import psutil
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from chatroom_lib import live, rooms, run, simulate
from chatroom_lib.checker.scenarios import SCENARIOS, needs_many_servers, needs_path
from chatroom_lib.clients.player import reset
from chatroom_lib.history import History
from chatroom_lib.message import Message
from chatroom_lib.rooms import v2, v2_rw
from chatroom_lib.rooms.requirements import takes
from chatroom_lib.runs.live_processes import ProcessesRun
from chatroom_lib.server.server import Server

TIMEOUT_FACTOR = float(os.environ.get("TIMEOUT_FACTOR", 1))  # for a machine that is much slower or busier than usual
A_MOMENT = 0.3  # seconds in which a room answers that answers at all
STORM = "storm of 200"  # the scenario that takes a second; test_presence.py is about it


def code_cells(chapter: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(chapter, as_version=4).cells if cell.cell_type == "code"]


def for_one_server(*but: str) -> list[str]:
    """The scenarios for rooms with a history of their own, without those named."""
    here = [name for name, each in SCENARIOS.items() if needs_path(each) and not needs_many_servers(each)]
    return [name for name in here if name not in but]


AT_MOST = 20 * TIMEOUT_FACTOR  # seconds after which a test gives up; nothing here takes nearly as long
A_STOP = 6 * TIMEOUT_FACTOR  # seconds: three times what it may take on a quiet machine; websockets alone would take 10
WIRE = {"compression": None, "ping_interval": None, "proxy": None, "close_timeout": 1}
PROMPT = {  # without the delay or the limit that would make a test wait
    "v2": partial(v2.Room, delay=0),
    "v2-rw": partial(v2_rw.Room, delay=0),
    **{name: partial(room, limit=None) for name, room in rooms.VERSIONS.items() if takes(room, "limit")},
}
ON_THEIR_OWN = [name for name, room in rooms.VERSIONS.items() if not takes(room, "nats")]  # others: test_nats.py
every_version = pytest.mark.parametrize(
    "room", [pytest.param(PROMPT.get(name, name), id=name) for name in ON_THEIR_OWN]
)


def in_a_loop(test):
    """Run an async test in an event loop of its own on this thread, as a notebook's kernel would."""

    @wraps(test)
    def run_test(**arguments):
        asyncio.run(asyncio.wait_for(test(**arguments), 3 * AT_MOST))

    return pytest.mark.real(run_test)


def assert_nothing_was_printed(capfd, caplog) -> None:
    """No warning was logged, and nothing went to standard error, in a test that is over."""
    records = [*caplog.get_records("call"), *caplog.records]
    assert [record.getMessage() for record in records if record.levelno >= logging.WARNING] == []
    assert capfd.readouterr().err == ""


def without(what: str, remedy: str) -> None:
    """Skip a test that needs `what`, but never where all is to be tested."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(f"there is no {what} here; {remedy} brings it")


def pyodide_folder() -> Path:
    """Where Python for the browser is."""
    folder = Path(__file__).parent.parent / "build/npm/node_modules/pyodide"
    if not (folder / "pyodide.mjs").is_file():
        without("Pyodide", "make extras, with npm,")
    return folder


def said(content: str, token: str = "Ann", **more) -> str:
    return json.dumps({"token": token, "content": content, **more})


def joining(url: str, **options):
    """A healthy client: `async with joining(url) as ann`."""
    return connect(url, **{**WIRE, **options})


async def heard(client, seconds: float = AT_MOST) -> dict:
    """The next message."""
    async with asyncio.timeout(seconds):
        return json.loads(await client.recv())


async def hears(client, content: str) -> bool:
    """Read until that message comes. A test fails with TimeoutError if it never does."""
    async with asyncio.timeout(AT_MOST):
        while json.loads(await client.recv())["content"] != content:
            pass
    return True


async def close_code(client) -> int:
    """Read until the server ends the connection."""
    with suppress(ConnectionClosed):
        async with asyncio.timeout(AT_MOST):
            while True:
                await client.recv()
    return client.close_code


@asynccontextmanager
async def frozen(url: str):
    """A client that joins and never reads, with small buffers; its connection ends with a reset."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect((urlsplit(url).hostname, urlsplit(url).port))
    client = await connect(url, sock=sock, max_queue=1, **WIRE)
    try:
        yield client
    finally:
        reset(client)


def client_frame(opcode: int, payload: bytes, first_byte: int | None = None) -> bytes:
    """A frame as a client sends it, masked with zeros; `first_byte` replaces the one made of FIN and the opcode."""
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    else:
        length = b"\xfe" + size.to_bytes(2) if size < 65536 else b"\xff" + size.to_bytes(8)
    return bytes([0x80 | opcode if first_byte is None else first_byte]) + length + bytes(4) + payload


HANDSHAKE = (
    b"GET /chatroom HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def joined_socket(port: int) -> socket.socket:
    """A client that has joined, as a socket that blocks for at most AT_MOST seconds."""
    client = socket.create_connection(("127.0.0.1", port), timeout=AT_MOST)
    client.sendall(HANDSHAKE)
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += client.recv(1)
    assert answer.startswith(b"HTTP/1.1 101 "), answer
    return client


@asynccontextmanager
async def flooding(url: str, size: int = 50_000):
    """A client that joins and says long things as fast as it can, and reads what comes."""

    async def speak():
        with suppress(ConnectionClosed):
            while True:
                await client.send(said("." * size))
                await asyncio.sleep(0)  # sending does not wait while there is room, and nobody else would get a turn

    async def read():
        with suppress(ConnectionClosed):
            while True:
                await client.recv()
                client.count += 1

    client = await joining(url)
    client.count = 0  # messages heard
    tasks = [asyncio.create_task(speak()), asyncio.create_task(read())]
    try:
        yield client
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        reset(client)


async def hears_nothing(client) -> bool:
    try:
        await heard(client, A_MOMENT)
    except TimeoutError:
        return True
    return False


async def silence(flooder) -> None:
    """Wait until a flooding client hears nothing any more."""
    async with asyncio.timeout(AT_MOST):
        before = -1
        while flooder.count != before:
            before = flooder.count
            await asyncio.sleep(A_MOMENT)


def is_alive(pid: int) -> bool:
    """Is there such a process, and is it no corpse that waits for its parent?"""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(condition, seconds: float = AT_MOST, sleep=time.sleep) -> None:
    """`until` for tests that have no event loop. `sleep`: how to pass 20 ms."""
    latest = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < latest, f"not in {seconds:g} s: {inspect.getsource(condition).strip()}"
        sleep(0.02)


def stand_still(process) -> psutil.Process:
    """Stop a process, which has a `pid`, until `resume()` of what this returns. On a busy machine its threads go on for
    a while after the signal."""
    stopped = psutil.Process(process.pid)
    stopped.suspend()
    wait_until(lambda: stopped.status() == psutil.STATUS_STOPPED)
    return stopped


@asynccontextmanager
async def two_of(room):
    """Two servers, each with a room of its own."""
    one = await Server(room).start()
    try:
        other = await Server(room).start()
        try:
            yield one, other
        finally:
            await other.stop()
    finally:
        await one.stop()


async def until(condition) -> None:
    async with asyncio.timeout(AT_MOST):
        while not condition():
            await asyncio.sleep(0.01)


def played_live(room, scenario, **options):
    return run(live(room, scenario, **options))


def ends_when(monkeypatch, condition) -> None:
    """Let a live run with kills end as soon as `condition(run)` holds: how long a process takes to start depends on the
    machine. A simulated run lasts as long as its scenario, which costs nothing."""

    async def time_is_up(run):
        await until(lambda: condition(run))

    monkeypatch.setattr(ProcessesRun, "time_is_up", time_is_up)


in_both_worlds = pytest.mark.parametrize(
    "play", [simulate, pytest.param(played_live, marks=[pytest.mark.real, pytest.mark.slow])]
)


def held(room_class):
    """Rooms of that class, made with `limit=None`, that read nothing until they are released."""

    class Held(room_class):
        def __init__(self, **options):
            super().__init__(**{"limit": None, **options})
            self.released = asyncio.Event()

        async def read(self, connection):
            await self.released.wait()
            await super().read(connection)

        def release(self):
            async def act():
                self.released.set()

            run(act())

    return Held


def fill(path, first: int, last: int, text: str = "message", **options) -> str:
    """Write messages of Cy's into the history in the file `path`; returns that."""

    async def write():
        async with History(str(path), **options) as history:
            await history.append([Message("Cy", f"{text} {number}") for number in range(first, last + 1)])

    run(write())
    return str(path)


@contextmanager
def process(room: str, *options: str):
    """A server in a process of its own: (its port, the process). It may be killed meanwhile."""
    command = [sys.executable, "-m", "chatroom_lib", "serve", room, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield int(re.search(r":(\d+)/", server.stdout.readline())[1]), server
        finally:
            server.kill()
