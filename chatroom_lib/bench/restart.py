"""A storm with everything that belongs to it: the room in a process of its own, which is ended while clients are in it,
and started again on the same port and with the same history.

    result = storm("v8", clients=500, wait="told", how="kill")
"""

import asyncio
import math
import os
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import psutil

from chatroom_lib.bench.measurement import BenchError
from chatroom_lib.clients.load import LoadError
from chatroom_lib.clients.storm import TOLD, Storm, StormRun
from chatroom_lib.history import History
from chatroom_lib.instrumentation.asyncio_internals import running_loop
from chatroom_lib.message import Message
from chatroom_lib.rooms import resolve
from chatroom_lib.rooms.requirements import takes
from chatroom_lib.runtime.background import run
from chatroom_lib.runtime.console import one_line

SIGNALS = {"kill": getattr(signal, "SIGKILL", signal.SIGTERM), "stop": signal.SIGTERM}
TIME_TO_START = 20.0  # seconds
TIME_TO_STOP = 3.0  # seconds in which a server ends that is asked to


def storm(
    room: str = "v8",
    clients: int = 500,
    wait: str = TOLD,
    patience: float = 1.5,
    down: float = 1.0,
    how: str = "kill",
    history: int = 100,
    seconds: float = 60.0,
) -> Storm:
    """What `clients` do in the room when its server is ended and started again. `wait`, `patience` and `seconds`: as
    for `run_storm`. `room`: the name of a version, or path/to/file.py:NAME.

    `how`: "kill" (SIGKILL), or "stop" (SIGTERM), so that the room can say goodbye. `down`: seconds from its end until a
    new process starts, which takes some time more until it listens. `history`: messages that are in the file of a room
    that keeps one.

    Raises LoadError for numbers that are impossible, RoomError if there is no such room, and BenchError if its server
    does not start.
    """
    if how not in SIGNALS:
        raise LoadError(f"how must be kill or stop, not {how!r}")
    if not 0 <= down < math.inf or history < 0:
        raise LoadError(f"down={down:g} and history={history} must be 0 or more")
    path = takes(resolve(room), "path")
    job = Job(room, clients, wait, patience, seconds, down, SIGNALS[how], history if path else None)
    return (run if running_loop() else asyncio.run)(job.run())


class Job:
    """One storm; see `storm` for the arguments. `history` is None for a room that keeps none."""

    def __init__(
        self,
        room: str,
        clients: int,
        wait: str,
        patience: float,
        seconds: float,
        down: float,
        number: signal.Signals,
        history: int | None,
    ):
        self.room, self.down, self.signal, self.history = room, down, number, history
        self.storm = clients, wait, patience, seconds
        StormRun("ws://127.0.0.1/", *self.storm)  # so that what is wrong is said before anything starts
        self.servers: list[ServerProcess] = []

    async def run(self) -> Storm:
        with tempfile.TemporaryDirectory(prefix="chatroom-storm-", ignore_cleanup_errors=True) as self.folder:
            async with self.all_ended():
                if self.history is not None:
                    await write_history(f"{self.folder}/chat.db", self.history)
                await self.start()
                self.cpu_to_start = self.servers[0].cpu()  # seconds; when it starts again, others may delay us
                result = await StormRun(self.servers[0].url, *self.storm).run(self.end_and_start_again, ignore)
                cpu = self.servers[-1].cpu() - self.cpu_to_start
                return replace(result, room=self.room, server_cpu=round(max(0.0, cpu), 3))

    @asynccontextmanager
    async def all_ended(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            for server in self.servers:
                await server.end(SIGNALS["kill"])

    async def start(self, port: int = 0) -> None:
        self.servers.append(ServerProcess(self.room, self.folder, keeps_history=self.history is not None))
        await self.servers[-1].start(port)

    async def end_and_start_again(self) -> None:
        await self.servers[0].end(self.signal)
        await asyncio.sleep(self.down)
        await self.start(self.servers[0].port)


def ignore(back: float) -> None:
    pass


async def write_history(path: str, size: int) -> None:
    async with History(path) as history:
        if size:
            await history.append([Message("Ann", f"message {number}") for number in range(size)])


class ServerProcess:
    """`chatroom serve ROOM` in a process of its own. What it keeps and says is in `folder`."""

    def __init__(self, room: str, folder: str, keeps_history: bool):
        self.room, self.folder = room, folder
        self.data = ["--data", f"{folder}/chat.db"] if keeps_history else []
        self.process: asyncio.subprocess.Process | None = None
        self.url, self.port = "", 0

    async def start(self, port: int) -> None:
        """Returns when it listens. Raises BenchError if it does not."""
        command = [sys.executable, "-m", "chatroom_lib", "serve", self.room, "--port", str(port), *self.data]
        with open(f"{self.folder}/errors", "wb") as errors:
            self.process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=errors,
                env={**os.environ, "TMPDIR": self.folder}, start_new_session=True,
            )  # fmt: skip
        assert self.process.stdout
        line = b""
        with suppress(TimeoutError):
            line = await asyncio.wait_for(self.process.stdout.readline(), TIME_TO_START)
        found = re.search(rb" at (ws://\S+:(\d+)\S*)", line)
        if not found:
            with open(f"{self.folder}/errors", errors="replace") as said:
                raise BenchError(
                    f"the server of {self.room} did not start: {one_line(said.read()) or 'no reason given'}"
                )
        self.url, self.port = found[1].decode(), int(found[2])

    def cpu(self) -> float:
        """Seconds of CPU time so far; 0 if it runs no more."""
        with suppress(psutil.Error):
            if self.process:
                times = psutil.Process(self.process.pid).cpu_times()
                return times.user + times.system
        return 0.0

    async def end(self, number: signal.Signals) -> None:
        """Send it that signal; returns when it has ended."""
        if not self.process:
            return
        with suppress(ProcessLookupError):
            self.process.send_signal(number)
        try:
            await asyncio.wait_for(self.process.wait(), TIME_TO_STOP)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
