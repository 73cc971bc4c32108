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
from typing import Literal

import psutil

from chatroom_lib import rooms
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
from chatroom_lib.checker.package import Conditions, Package
from chatroom_lib.checker.workers import BaseWorker
from chatroom_lib.clients.scenario import Scenario
from chatroom_lib.runtime.descendants import descendants, kill_all, marked
from chatroom_lib.runtime.own_time import own_time
from chatroom_lib.trace import Trace

CHECK_INTERVAL = 1.0  # seconds from one check of a run to the next
LOADING_INTERVAL = 1.0  # seconds from one check of a file that is being imported to the next
LONGEST_START = 30.0  # seconds that the process may take to start, and to import the room
LONGEST_JUDGING = 120.0  # seconds that the verdicts on a run may take
BUSY_SHARE = 5 / 6  # of the time limit, after which a run that makes progress is cut short; else it would be killed
START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from chatroom_lib.checker.worker_process import main"


class Worker(BaseWorker):
    """The process, started with the first run, and again if a room has ended it.

    To be used by one thread, which must outlive it; `kill` may be called from any.
    """

    def __init__(self, package: Package, conditions: Conditions, check_interval: float | None = None):
        super().__init__(package, conditions)
        self.check_interval = CHECK_INTERVAL if check_interval is None else check_interval
        self.process: subprocess.Popen | None = None
        self.lock = threading.Lock()  # held while its number is used: once reaped, that may be another process's

    def answer_to(self, wanted: Literal["outcome", "trace"], scenario: str | Scenario, seed: int) -> Outcome | Trace:
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
            kind, *details = self.request((wanted, scenario, seed, self.conditions.of_a_run))
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
            raise self.package.problem(*map(str, details))
        return [kind, *details]

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
        with self.lock:
            if self.process:
                kill_group(self.process.pid)

    def end(self) -> str:
        """End the process, and all that the room has started in it."""
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
