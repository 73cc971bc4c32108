"""Run an untrusted room in a child process: a crash, a hang or a memory blow-up becomes a verdict and never reaches the
parent.

The room may raise, wait for ever, block the event loop, fill the memory, or end the whole process: the parent gets an
Outcome for each run all the same. This is the parent's side; the child's is worker_process.py.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from functools import partial
from multiprocessing.connection import Connection
from typing import NamedTuple

import psutil

from chatroom_lib import rooms
from chatroom_lib.checker.guarantees import Guarantees
from chatroom_lib.checker.outcome import (
    ENDING,
    GUARD,
    WORKER,
    BadReply,
    Inbox,
    Outcome,
    as_outcome,
    as_trace,
    failure,
    not_judged,
)
from chatroom_lib.checker.scenarios import Scenarios
from chatroom_lib.clients.scenario import Scenario
from chatroom_lib.rooms.handler import HandlerRoom, is_handler
from chatroom_lib.rooms.packing import packed
from chatroom_lib.runs.event_loop import Schedule
from chatroom_lib.runs.simulation import require_fresh_globals
from chatroom_lib.runtime.console import one_line
from chatroom_lib.runtime.descendants import descendants, kill_all, marked
from chatroom_lib.runtime.own_time import own_time
from chatroom_lib.trace import Trace

CHECK_INTERVAL = 1.0  # seconds from one check of a run to the next
LOADING_INTERVAL = 1.0  # seconds from one check of a file that is being imported to the next
LONGEST_START = 30.0  # seconds that the process may take to start, and to import the room
LONGEST_JUDGING = 120.0  # seconds that the verdicts on a run may take
BUSY_SHARE = 5 / 6  # of the time limit, after which a run that makes progress is cut short; else it would be killed
START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from chatroom_lib.checker.worker_process import main"
ERRORS = {"TypeError": TypeError, "ValueError": ValueError}


class Package(NamedTuple):
    """A room, scenarios and guarantees, ready for another process."""

    name: str  # what to call the room
    data: bytes
    guarantees: tuple[str, ...]  # their names


def pack(room, scenarios: Scenarios, guarantees: Guarantees) -> Package:
    """`room`: a name, a class, a function that makes one, or a handler. Raises RoomError if they cannot go to another
    process."""
    if is_handler(room):
        require_fresh_globals(HandlerRoom(room))
    data = packed(room, scenarios, guarantees, code_of=[*scenarios.values(), *guarantees.values()])
    return Package(rooms.display_name(room), data, tuple(guarantees))


class Conditions(NamedTuple):
    """How each run takes place."""

    schedule: Schedule = "fifo"  # this and the next as for `simulate`
    keepalive: float | None = None
    time_limit: float = 30.0  # seconds of the process's own time (own_time.py) that a run may take
    memory_limit: int = 1 << 30  # bytes that the room, and what is noted about it, may take


class Worker:
    """The process, started with the first run, and again if a room has ended it.

    To be used by one thread, which must outlive it; `kill` may be called from any.
    """

    def __init__(self, package: Package, conditions: Conditions, check_interval: float | None = None):
        self.package, self.conditions = package, conditions
        self.check_interval = CHECK_INTERVAL if check_interval is None else check_interval
        self.process: subprocess.Popen | None = None
        self.lock = threading.Lock()  # held while its number is used: once reaped, that may be another process's

    def run(self, scenario: str | Scenario, seed: int) -> Outcome:
        """Try the room in this scenario, or in the one of this name, with this seed.

        Raises RoomError if the process cannot have the room, and TypeError or ValueError for a scenario that cannot be
        made.
        """
        return self.answer_to("outcome", scenario, seed)

    def trace(self, scenario: Scenario, seed: int) -> Trace:
        """The same run again, to look at. Raises ValueError if it leaves no trace, and what `run` raises."""
        answer = self.answer_to("trace", scenario, seed)
        if isinstance(answer, Outcome):
            raise ValueError(f"there is nothing to show: {answer.why}")
        return answer

    def answer_to(self, wanted: str, scenario: str | Scenario, seed: int) -> Outcome | Trace:
        try:
            if not self.process:
                self.start()
            answer = self.try_room(wanted, scenario, seed)
        except BaseException:
            self.end()
            raise
        if self.stage == ENDING or (isinstance(answer, Outcome) and answer.failed):
            self.end()  # it may have done anything else there
        if isinstance(answer, Trace):
            return answer
        return answer.on(self.package.guarantees)

    def try_room(self, wanted: str, scenario: str | Scenario, seed: int) -> Outcome | Trace:
        self.stage = "preparing"
        try:
            how = {"schedule": self.conditions.schedule, "keepalive": self.conditions.keepalive}
            kind, *details = self.request((wanted, scenario, seed, how))
            if kind == "trace":
                return as_trace(*details, scenario.clients)
            return as_outcome(details, self.package.guarantees)
        except TimeoutError:
            if self.stage == "running":
                return failure(f"the run did not end in {self.conditions.time_limit:g} s")
            return not_judged(f"{self.stage} the run took longer than {self.patience():.0f} s")
        except (EOFError, OSError):
            return failure(f"the room ended its process ({self.end()})")
        except BadReply as error:
            return failure(f"the room disturbed its process: it sent {error}")

    def start(self) -> None:
        self.mark = uuid.uuid4().hex
        limits = self.conditions.memory_limit, BUSY_SHARE * self.conditions.time_limit
        numbers = map(str, (*limits, self.check_interval, LOADING_INTERVAL))
        command = [sys.executable, "-c", f"{START}; main()", json.dumps(sys.path), *numbers]
        environment = {**os.environ, "PYTHONHASHSEED": "0", WORKER: self.mark}  # the former for sets of texts
        environment.setdefault("MALLOC_ARENA_MAX", "2")  # or each thread would reserve 64 MiB of what the room may take
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=environment, start_new_session=True,
        )  # fmt: skip
        with self.process.stdin as stdin, self.process.stdout as stdout:
            self.requests = Connection(os.dup(stdin.fileno()), readable=False)
            self.replies = Inbox(os.dup(stdout.fileno()))
        self.stage = "starting"
        try:
            self.request(self.package.data)
        except TimeoutError:
            raise rooms.RoomError(self.too_long()) from None
        except (EOFError, OSError):
            raise rooms.RoomError(f"{self.package.name} ended the process that loaded it ({self.end()})") from None
        except BadReply as error:
            raise rooms.RoomError(f"{self.package.name} disturbs the process that loads it: it sent {error}") from None

    def too_long(self) -> str:
        name, limit = self.package.name, f"within {LONGEST_START:.0f} s"
        if self.stage == "starting":
            return f"the process that would try {name} has not started {limit}: the machine has too much to do"
        return f"{name} does not come back from its import {limit}: put what it runs below `{GUARD}`"

    def request(self, request) -> list:
        """Send the process a request, and return its answer: the kind, and details. If it takes too long, it is
        killed: TimeoutError.

        Raises EOFError or OSError if the process has ended, BadReply if it sends what is no answer, and the problem
        that it reports.
        """
        try:
            self.requests.send(request)
            while True:
                clock = partial(own_time, self.process.pid)
                kind, *details = self.replies.next(self.is_alive, self.patience(), clock)
                if kind != "stage":
                    break
                self.stage = details[0]
        except (TimeoutError, KeyboardInterrupt):
            self.kill()  # nobody waits for the end of this run
            raise
        if self.replies.unread:
            raise BadReply("more than one answer")
        if kind == "wrong":
            raise self.problem(*map(str, details))
        return [kind, *details]

    def problem(self, error: str, text: str) -> ValueError | TypeError:
        file = self.package.name.rpartition(":")[0]
        if file:
            text = text.replace(os.path.abspath(file), file)  # as the user calls it
        return ERRORS.get(error, rooms.RoomError)(one_line(text, 300))

    def patience(self) -> float:
        time_limit = self.conditions.time_limit
        limits = {"judging": LONGEST_JUDGING, "running": time_limit, "comparing": time_limit}
        return limits.get(self.stage, LONGEST_START)

    def is_alive(self) -> bool:
        """Asks without reaping it."""
        try:
            return psutil.Process(self.process.pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def kill(self) -> None:
        """End the run in progress, from another thread than the one that waits for its outcome."""
        with self.lock:
            if self.process:
                kill_group(self.process.pid)

    def end(self) -> str:
        """End the process, and all that the room has started in it; returns how it ended."""
        if not self.process:
            return "it never ran"
        kill_all(partial(descendants, self.process.pid))  # while it lives: some may have lost our environment
        self.requests.close()
        self.replies.close()
        latest = time.monotonic() + 1
        while self.is_alive() and time.monotonic() < latest:  # it ends by itself, now that there are no requests
            time.sleep(0.005)
        with self.lock:
            process, self.process = self.process, None
            kill_group(process.pid)
        kill_all(partial(marked, WORKER, self.mark))
        code = process.wait()
        return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def kill_group(number: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(number, signal.SIGKILL)
