"""A server of somebody else's: the process that a command starts, or that runs already, and what it has.

A command is ended with all that it has started. The last lines that it prints are kept, as evidence.
"""

import asyncio
import contextlib
import os
import signal
import time
import uuid
from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import psutil

from chatroom_lib.runtime.console import one_line
from chatroom_lib.runtime.descendants import descendants, is_alive, kill_all, marked
from chatroom_lib.server.server import ServerError

LONGEST_START = 60.0  # seconds until it must listen: `go run` compiles first
TIME_TO_END = 5.0  # seconds that it may take to end when it is told to
KEPT_OUTPUT = 8192  # bytes
LOOK = 0.05  # seconds from one look to the next
PROGRAM = "CHATROOM_CHECK_SERVER"  # in the environment of a command, and of whatever it starts


class Usage(NamedTuple):
    """What a server and its children have at one moment."""

    time: float  # seconds, of the clock that was given
    memory: int  # bytes that are resident
    descriptors: int  # open files and sockets


class Program:
    """`command` is what a shell takes; the server must listen at `host` and `port` then."""

    def __init__(self, command: str, host: str, port: int):
        self.command, self.host, self.port = command, host, port
        self.process: asyncio.subprocess.Process | None = None
        self.reading: asyncio.Task | None = None
        self.shell: psutil.Process | None = None
        self.output = b""
        self.mark = uuid.uuid4().hex  # in the environment of all that it starts

    async def start(self) -> None:
        """Returns when it listens. Raises ServerError, with what it has printed, if it does not."""
        where = f"{self.host}:{self.port}"
        if await answers(self.host, self.port):
            raise ServerError(f"something listens at {where} already, and would be taken for this server")
        self.output = b""
        self.process = await asyncio.create_subprocess_shell(
            self.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, PROGRAM: self.mark},
        )
        self.shell = None
        with contextlib.suppress(psutil.NoSuchProcess):  # it may have ended
            self.shell = psutil.Process(self.process.pid)  # which knows if somebody else has that number later
        self.reading = asyncio.create_task(self.read())
        latest = time.monotonic() + LONGEST_START
        try:
            while not await answers(self.host, self.port):
                if self.ended:
                    raise ServerError(f"the server does not come up: {self.how_it_ended}")
                if time.monotonic() > latest:
                    why = f"nothing listens at {where} after {LONGEST_START:.0f} s{self.last_words}"
                    raise ServerError(f"the server does not come up: {why}")
                await asyncio.sleep(LOOK)
        except BaseException:
            await self.kill()
            raise

    async def read(self) -> None:
        while chunk := await self.process.stdout.read(1 << 16):
            self.output = (self.output + chunk)[-KEPT_OUTPUT:]

    def processes(self) -> list[psutil.Process]:
        """Those of the command that are alive, its own children and theirs."""
        return [process for process in family(self.process.pid) if is_alive(process)] if self.process else []

    @property
    def ended(self) -> bool:
        """Has it ended, with all its children? A shell may end before them."""
        return self.process is not None and self.process.returncode is not None and not marked(PROGRAM, self.mark)

    @property
    def how_it_ended(self) -> str:
        """ "it ended with exit code 1: address in use"."""
        code = self.process.returncode
        if code < 0:
            return f"it was ended by {signal.Signals(-code).name}{self.last_words}"
        return f"it ended with exit code {code}{self.last_words}"

    @property
    def last_words(self) -> str:
        """ ": the last line that it printed", if there is one."""
        lines = [line for line in self.output.decode(errors="replace").splitlines() if line.strip()]
        return f": {one_line(lines[-1], 150)}" if lines else ""

    async def stop(self) -> bool:
        """Tell it to end, as SIGTERM does; kill what is left. Returns whether it has ended by itself."""
        for process in marked(PROGRAM, self.mark):
            with contextlib.suppress(psutil.Error):
                process.terminate()
        latest = time.monotonic() + TIME_TO_END
        while (polite := not marked(PROGRAM, self.mark)) is False and time.monotonic() < latest:
            await asyncio.sleep(LOOK)
        await self.kill()
        return polite

    async def kill(self) -> None:
        """At once, with all its children."""
        kill_all(partial(marked, PROGRAM, self.mark))
        if self.process:
            if self.shell:
                with contextlib.suppress(psutil.Error):
                    self.shell.kill()  # self.process.kill() would reap it behind asyncio's back
            await self.process.wait()
            self.reading.cancel()  # somebody else may still hold the other end of the pipe
            await asyncio.wait([self.reading])


class RunningProgram:
    """A server that somebody else has started: we only look at its process. Raises ServerError if there is none with
    this id, or if it cannot be looked into."""

    def __init__(self, pid: int):
        self.pid = pid
        try:
            self.process = psutil.Process(pid)
            self.process.memory_info(), self.process.num_fds()
        except psutil.NoSuchProcess:
            raise ServerError(f"there is no process {pid}") from None
        except (psutil.AccessDenied, AttributeError):
            raise ServerError(f"process {pid} cannot be looked into: it is somebody else's") from None

    def processes(self) -> list[psutil.Process]:
        return [process for process in family(self.pid) if is_alive(process)] if not self.ended else []

    @property
    def ended(self) -> bool:
        return not is_alive(self.process)

    @property
    def how_it_ended(self) -> str:
        return f"process {self.pid} has ended"


def family(pid: int) -> list[psutil.Process]:
    """This process, and those that it has started."""
    with contextlib.suppress(psutil.Error):
        return [psutil.Process(pid), *descendants(pid)]
    return []


def usage(processes: Iterable[psutil.Process], time: float) -> Usage:
    """What they have together at that time. One that ends meanwhile has nothing."""
    memory = descriptors = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            memory += process.memory_info().rss
            descriptors += process.num_fds()
    return Usage(time, memory, descriptors)


async def answers(host: str, port: int) -> bool:
    """Does anything listen there?"""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(1):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
            return True
    return False
