"""The process in which a room is tried, on POSIX systems: what worker.py starts."""

import contextlib
import fcntl
import gc
import os
import resource
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import FrameType

import psutil

from chatroom_lib.checker.outcome import ENDING, Outcome, Replies, failure
from chatroom_lib.checker.trials import CUT_SHORT, BlocksTheEventLoop, Problem, Trials
from chatroom_lib.instrumentation.asyncio_internals import running_loop
from chatroom_lib.instrumentation.room_code import place_in_room
from chatroom_lib.runs.event_loop import endless_tasks
from chatroom_lib.runtime.own_time import own_time
from chatroom_lib.runtime.parent import end_with_parent, stay_the_ancestor
from chatroom_lib.trace import Trace
from chatroom_lib.trace.plain import to_plain

PATIENCE = 3  # intervals without progress after which the run, or the import, is interrupted
MAX_IGNORED = 1  # how often a room may swallow BlocksTheEventLoop before its process is killed
OUT_OF_REACH = 200  # the lowest descriptor for our pipes: a room that meddles with descriptors tries low ones


def main() -> None:
    end_with_parent()  # also if the room spins, and has turned our alarm off
    stay_the_ancestor()
    requests, replies = Connection(out_of_reach(0), writable=False), Replies(out_of_reach(1))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in range(3):  # what a room prints goes nowhere
        os.dup2(nowhere, number)
    memory_limit, longest, *intervals = map(float, sys.argv[2:])
    limit_memory(int(memory_limit))
    gc.freeze()  # what is loaded by now stays
    gc.set_threshold(20_000)  # each run leaves much, and all of it at once
    watch = Watchdog(replies, longest, *intervals)
    try:
        serve(requests, replies, watch, int(memory_limit))
    except (EOFError, OSError):
        pass  # the end of the requests, or the parent has gone
    finally:
        os._exit(0)  # at once, whatever threads a room has left behind


def out_of_reach(number: int) -> int:
    """A copy of this descriptor."""
    try:
        return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, OUT_OF_REACH)
    except OSError:  # there are not so many
        return os.dup(number)


def limit_memory(size: int) -> None:
    """Let this process take so many bytes more than it has taken by now."""
    with contextlib.suppress(ValueError, OSError):
        highest = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + size, highest))


def serve(requests: Connection, replies: Replies, watch: "Watchdog", memory_limit: int) -> None:
    """Answer the parent's requests: first for the room, and then for one run after the other."""
    try:
        trials = Trials(requests.recv(), watch, memory_limit)
        replies.send("ready")
        while not endless_tasks:  # they keep all that they refer to
            answer = trials.answer(*requests.recv())
            if endless_tasks:
                watch.stage(ENDING)
            if isinstance(answer, Trace):
                replies.send("trace", to_plain(answer))
            else:
                replies.send("outcome", *answer)
    except Problem as problem:
        replies.send("wrong", *problem.args)


class Watchdog:
    """Looks at intervals whether there is progress, and interrupts what makes none, by its own time (own_time.py)."""

    def __init__(self, replies: Replies, longest: float, run_interval: float, loading_interval: float):  # seconds
        self.replies, self.longest = replies, longest
        self.run_interval, self.loading_interval = run_interval, loading_interval
        self.parent = os.getppid()
        signal.signal(signal.SIGALRM, self.inspect)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def stage(self, name: str) -> None:
        self.replies.send("stage", name)

    @contextlib.contextmanager
    def over(self, progress: Callable[[], object], stuck: Callable[[FrameType, float], None], interval: float):
        """Call `stuck` if `progress` returns the same thing again and again."""
        self.progress, self.stuck = progress, stuck
        self.interval = interval
        self.last, self.since = progress(), own_time()
        self.latest = self.since + self.longest
        signal.setitimer(signal.ITIMER_REAL, interval, interval)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def over_run(self, instead: Outcome | None = None):
        """`instead`: what to answer if the room cannot be interrupted; None: that the run has failed."""
        self.interrupts, self.instead = 0, instead
        return self.over(iterations, self.interrupt_run, self.run_interval)

    def over_loading(self, stuck: Callable[[FrameType, float], Problem]):
        """As long as one module after the other is imported, there is progress."""

        def tell(frame: FrameType, seconds: float) -> None:
            self.replies.send("wrong", *stuck(frame, seconds).args)
            os._exit(1)

        return self.over(lambda: len(sys.modules), tell, self.loading_interval)

    def inspect(self, _, frame: FrameType) -> None:
        if os.getppid() != self.parent:  # the parent has gone
            os._exit(1)
        now, time = self.progress(), own_time()
        if now != self.last:
            self.last, self.since = now, time
        if time > self.latest and (loop := running_loop()):
            loop.end(CUT_SHORT)
        if time - self.since > PATIENCE * self.interval:
            self.since = time
            self.stuck(frame, PATIENCE * self.interval)

    def interrupt_run(self, frame: FrameType, seconds: float) -> None:
        self.interrupts += 1
        place = f": {place}" if (place := place_in_room(frame)) else ""
        error = BlocksTheEventLoop(f"the room blocks the event loop{place}, has not returned for {seconds:g} s")
        if self.interrupts > MAX_IGNORED:
            self.stage(ENDING)
            self.replies.send("outcome", *(self.instead or failure(str(error))))
            os._exit(1)
        if loop := running_loop():
            loop.call_exception_handler({"exception": error})
            loop.after_iteration = lambda tasks: (
                None
            )  # what the room does about the exception is our doing, not its own
            loop.end("blocks the event loop")
        raise error


def iterations() -> int | None:
    """How many iterations the simulated loop has made."""
    loop = running_loop()
    return loop and loop.iterations
