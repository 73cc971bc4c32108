"""In a real kernel: an interrupt stops any cell, and a kernel that ends takes its processes and ports with it."""

import os
import queue
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import nbformat
import psutil
import pytest
from jupyter_client.manager import KernelManager

from chatroom_lib.server.serving import is_free
from tests.helpers import AT_MOST, TIMEOUT_FACTOR, is_alive, wait_until
from tests.test_chapters import FOLDER, execute_notebooks

pytestmark = [pytest.mark.real, pytest.mark.timeout(240 * TIMEOUT_FACTOR)]
in_the_shared_kernel = pytest.mark.xdist_group("shared kernel")
SOON = 5 * TIMEOUT_FACTOR  # seconds; a cell stops within one on a quiet machine, and would go on for a minute
SETUP = """
import asyncio, gc, select, socket, threading, time
from websockets.asyncio.client import connect
from chatroom_lib import (
    ChatPanel, Message, Scenario, bench, chat, check, decode, encode, frozen, listener, live, rooms, run, serve,
    simulate, talker,
)

company = [listener("Cy"), listener("Di")]
endless = Scenario([talker("Ann", says=100_000, every=0.001), *company], duration=1e9)
slow = Scenario([talker("Ann", every=10), frozen("Bob"), *company], duration=60)
server = await serve("v3.1")
panel, = chat(server, "Pat")
await panel.join()

async def answers(url):
    gc.collect()  # so that asyncio tells now of what nobody has awaited
    async with asyncio.timeout(10), connect(url, proxy=None) as ann:
        await ann.send(encode(Message("Ann", "still there?")))
        while decode(await ann.recv()).content != "still there?":
            pass
"""
MORE = """
card = check("v1.1", 1, progress=False)
deaf = socket.create_server(("127.0.0.1", 0))  # who calls here gets no answer
lost = ChatPanel(f"ws://127.0.0.1:{deaf.getsockname()[1]}/chatroom", "Lou")

class Greedy(rooms.resolve("v1")):
    async def handle(self, connection):
        async for _ in connection:
            while True:
                pass

class Sleepy(rooms.resolve("v1")):
    async def handle(self, connection):
        async for _ in connection:
            select.select([], [], [], 2)
"""
CELLS = {  # what is interrupted -> the cell, and the number of processes that it starts
    "sleep": ("await asyncio.sleep(60)", 0),
    "live": ("await live('v3.1', slow)", 0),
    "heard": ("await panel.heard('never', timeout=60)", 0),
    "join": ("while True: await lost.join()", 0),
    "run": ("run(asyncio.sleep(60))", 0),
    "simulate": ("simulate('v3.1', endless)", 0),
    "simulate a greedy room": ("simulate(Greedy, slow)", 0),
    "replay": ("while True: card.replay('delivery')", 1),
    "check": ("check('v1.1', seeds=100_000)", 1),
    "check a greedy room": ("check(Greedy, seeds=100_000)", 1),
    "check an endless run": ("check('v3.1', scenarios={'endless': endless})", 1),
    "shortest": ("while True: card.shortest('delivery')", 1),
    "measure": ("bench.measure('v3.1', clients=50, in_flight=4, seconds=60)", 2),
    "profile": ("bench.profile('v3.1', clients=50, in_flight=4, seconds=60)", 2),
    "bench": ("bench.bench(['v1'], seconds=60)", 2),
    "run after an await": ("await asyncio.sleep(0); run(asyncio.sleep(60))", 0),
    "simulate after an await": ("await asyncio.sleep(0); simulate('v3.1', endless)", 0),
    "check after an await": ("await asyncio.sleep(0); check('v1.1', seeds=100_000)", 1),
    "shortest after an await": ("await asyncio.sleep(0)\nwhile True: card.shortest('delivery')", 1),
    "measure after an await": ("await asyncio.sleep(0); bench.measure('v3.1', 50, in_flight=4, seconds=60)", 2),
}
# One for each mechanism that an interrupt has to get through; the others combine them.
MECHANISMS = "sleep", "live", "run", "simulate", "simulate a greedy room", "check", "measure", "profile"


def interrupted(what: str) -> pytest.param:
    return pytest.param(what, marks=[] if what in MECHANISMS else [pytest.mark.slow])


class Kernel:
    """A kernel of this Python: `with Kernel() as kernel`."""

    def __enter__(self):
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(cwd=str(FOLDER), stderr=subprocess.DEVNULL)
        try:
            self.connect()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def connect(self) -> None:
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)
        self.run(SETUP)

    def restart(self, **options) -> None:
        self.manager.restart_kernel(**options)
        self.client.stop_channels()
        self.connect()

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(self.manager.provisioner.pid)

    def descendants(self) -> list[int]:
        return [child.pid for child in self.process.children(recursive=True) if is_alive(child.pid)]

    def start(self, code: str) -> str:
        """Begin a cell; returns once it runs."""
        self.idle = False
        request = self.client.execute(f"print('begun', end='', flush=True)\n{code}")
        assert self.read(request, until="stream", seconds=AT_MOST)[-1]["content"]["text"] == "begun"
        return request

    def end(self, request: str, seconds: float) -> tuple[str | None, str]:
        """Wait for the end of a cell; returns the name of its error, and all that was printed."""
        messages = self.read(request, until="idle", seconds=seconds)
        self.idle = True
        errors = [message["content"]["ename"] for message in messages if message["msg_type"] == "error"]
        printed = [message["content"]["text"] for message in messages if message["msg_type"] == "stream"]
        return errors[0] if errors else None, "".join(printed)

    def run(self, code: str) -> str:
        """Run a cell in which nothing fails; returns what was printed."""
        error, printed = self.end(self.start(code), 60)
        assert not error, printed
        return printed

    def read(self, request: str, until: str, seconds: float) -> list[dict]:
        """What the kernel tells, up to a message of this type from that cell or to its end ("idle")."""
        messages, latest = [], time.monotonic() + seconds
        while True:
            try:
                message = self.client.get_iopub_msg(timeout=max(0, latest - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(f"the cell has not come to {until!r} within {seconds} s") from None
            messages.append(message)
            if message["parent_header"].get("msg_id") == request:
                if until in (message["msg_type"], message["content"].get("execution_state")):
                    return messages


@pytest.fixture(scope="module")
def shared():
    """A kernel for all interrupts."""
    with Kernel() as kernel:
        kernel.run(MORE)
        yield kernel


@pytest.fixture
def kernel(shared):
    """The shared one, with a fresh start if the test before could not stop its cell."""
    if not shared.idle:
        shared.restart(now=True)
        shared.run(MORE)
    return shared


# ---------------------------------------------------------------- interrupt


@in_the_shared_kernel
@pytest.mark.parametrize("what", [interrupted(what) for what in CELLS])
def test_an_interrupt_stops_a_cell_and_leaves_the_server_usable(what, kernel):
    cell, processes = CELLS[what]
    threads = kernel.process.num_threads()
    request = kernel.start(cell)
    wait_until(lambda: len(kernel.descendants()) >= processes)
    time.sleep(0.2)  # any moment will do
    kernel.manager.interrupt_kernel()
    error, printed = kernel.end(request, SOON)
    assert error in ("KeyboardInterrupt", "CancelledError") and printed == ""
    wait_until(lambda: not kernel.descendants())
    assert kernel.run("await answers(server.url)") == ""
    wait_until(lambda: kernel.process.num_threads() <= threads)


@in_the_shared_kernel
def test_a_room_that_blocks_outside_python_is_left_to_itself(kernel):
    threads = kernel.process.num_threads()
    request = kernel.start("simulate(Sleepy, Scenario([talker('Ann', says=30), *company], duration=60))")
    time.sleep(0.2)
    kernel.manager.interrupt_kernel()
    assert kernel.end(request, SOON) == ("KeyboardInterrupt", "")
    wait_until(lambda: kernel.process.num_threads() <= threads)  # it ends with the first sleep, not with the thirtieth
    assert kernel.run("await answers(server.url)") == ""


# ---------------------------------------------------------------- restart, shut down, kill

BUSY = """
threading.Thread(target=bench.measure, args=["v3.1", 20], kwargs=dict(in_flight=2, seconds=60), daemon=True).start()
check("v3.1", scenarios={"endless": endless})
"""
ENDS = {
    "restart at once": lambda kernel: kernel.restart(now=True),
    "restart": Kernel.restart,
    "shut down": lambda kernel: kernel.manager.shutdown_kernel(),
    "kill": lambda kernel: os.kill(kernel.process.pid, signal.SIGKILL),
}


@pytest.mark.slow
@pytest.mark.parametrize("end", ENDS)
def test_nothing_outlives_a_busy_kernel(end):
    with Kernel() as kernel:
        port = int(kernel.run("print(server.port)"))
        kernel.start(BUSY)
        wait_until(lambda: len(kernel.descendants()) >= 3)  # a server, its load, and a worker or more
        processes = [kernel.process.pid, *kernel.descendants()]
        ENDS[end](kernel)
        wait_until(lambda: not any(map(is_alive, processes)))
        wait_until(lambda: is_free("127.0.0.1", port))
        if "restart" in end:
            assert kernel.run(f"server = await serve('v3.1', port={port}); await answers(server.url)") == ""


def test_an_idle_kernel_restarts_and_its_port_is_free():
    with Kernel() as kernel:
        port = int(kernel.run("print(server.port)"))
        kernel.restart()
        assert kernel.run(f"server = await serve('v3.1', port={port}); await answers(server.url)") == ""


# ---------------------------------------------------------------- two kernels


TALK = """
import asyncio
from chatroom_lib import chat, serve
server = await serve("v3.1")
"""
GREET = """
ann, bob = chat(server, "Ann", "Bob")
await bob.join()
await ann.say("hello")
await bob.heard("hello")
"""
LEAVE = """
await ann.leave()
await bob.leave()
await server.stop()
assert server.errors == []
"""


@pytest.mark.slow
def test_a_notebook_runs_in_two_kernels_at_once(tmp_path):
    path = tmp_path / "talk.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, (TALK, GREET, LEAVE)))), path)
    with ThreadPoolExecutor(2) as threads:
        one, other = threads.map(execute_notebooks.execute, [path, path])
    assert [cell.execution_count for cell in one.cells] == [cell.execution_count for cell in other.cells] == [1, 2, 3]
