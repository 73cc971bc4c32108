"""Threads that a simulated room starts: they run for real, and the clock waits for them.

A thread answers the event loop by `call_soon_threadsafe`. Before the clock jumps, each thread gets the time to do what
it was asked for: until it has called, or waits where threads of its kind wait when there is nothing to do. That place
is learned: where a thread has stood still for a tenth of a second, it rests. What it does meanwhile takes no virtual
time, unless it calls `time.sleep`, which takes just that.
"""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from logging.handlers import QueueListener
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chatroom_lib.runs.event_loop import SimulationLoop

GRACE = 0.0001  # seconds of real time in which a thread at its resting place begins to move, if it has been woken
LEARNING = 0.1  # seconds of real time after which the place where a thread stands still is a resting place
LOOK = 0.005  # seconds of real time from one look at a call that a thread makes to the next
PATIENCE = 10.0  # seconds of real time that a thread which goes on computing is waited for, each time

real_sleep, real_clock = time.sleep, time.monotonic
resting_places: set[tuple] = set()  # (code, instruction)


class RoomThreads:
    """The threads of one simulated run."""

    def __init__(self, loop: "SimulationLoop"):
        self.loop = loop
        self.waited_for: list[threading.Thread] = []
        self.returned: set[threading.Thread] = set()  # those of an executor, whose call is over
        self.started = 0
        self.writers: list[QueueListener] = []  # of logging
        self.asleep: dict[int, threading.Event] = {}  # ident -> what ends its virtual sleep
        self.last_seen: dict[int, tuple] = {}  # ident -> its place and processor time, and since when they are so
        self.have_called = threading.Event()
        self.released = False
        self.calling = False  # while a thread makes a call for the loop, which waits

    # ------------------------------------------------------------ on the loop's thread

    def adopt(self, thread: threading.Thread, clocks) -> None:
        """Let `thread`, which is about to start, be one of this run."""
        if isinstance(writer := getattr(thread._target, "__self__", None), QueueListener):
            self.writers.append(writer)  # of what is logged: it answers nobody, and may take its time
            return
        if not self.calling:
            self.wait_for([thread])
        thread.run = partial(self.run, thread.run, clocks)

    def wait_for(self, threads: Iterable[threading.Thread]) -> None:
        """From now on nobody knows when these do what."""
        new = [thread for thread in threads if thread not in self.waited_for]
        self.waited_for += new
        self.started += len(new)

    def make_call(self, executor: ThreadPoolExecutor, function: Callable[[], object]) -> Future:
        """Let a thread of `executor` call `function`, and wait: until that has returned, or until the thread waits for
        something itself."""
        done, thread = threading.Event(), []

        def call() -> object:
            thread.append(threading.current_thread())
            return function()

        self.have_called.clear()
        self.calling = True
        result = ThreadPoolExecutor.submit(executor, call)
        self.calling = False
        result.add_done_callback(lambda _: done.set())
        patience = real_clock() + PATIENCE
        while not done.wait(LOOK):
            stands = thread and (thread[0].ident in self.asleep or not self.is_moving(thread[0]))
            if stands or self.have_called.is_set() or real_clock() > patience:
                if not set(thread) <= set(self.waited_for):  # only until that call has returned
                    result.add_done_callback(lambda _: self.returned.update(thread))
                self.wait_for(thread)
                break
        return result

    def answer(self) -> bool:
        """Wait until each thread has done what it was asked for. True if one has called the loop meanwhile."""
        returned = set(self.returned)
        self.returned -= returned
        self.waited_for = [each for each in self.waited_for if each.is_alive() and each not in returned]
        if self.waited_for:
            self.have_called.clear()
            real_sleep(GRACE)  # whoever was woken begins to move
            self.wait_until_all_rest()
        return self.loop.has_ready

    def wait_until_all_rest(self) -> None:
        patience = real_clock() + PATIENCE
        while not self.loop.has_ready:
            moving = [thread for thread in self.waited_for if self.is_moving(thread)]
            if real_clock() > patience:
                self.waited_for = [thread for thread in self.waited_for if thread not in moving]
                return
            if not moving:
                return
            self.have_called.wait(GRACE)

    def is_moving(self, thread: threading.Thread) -> bool:
        ident = thread.ident
        place = place_of(ident)
        if place is None or ident in self.asleep:
            return False
        now = place, processor_time(ident)
        seen, since = self.last_seen.get(ident, (None, 0.0))
        if now != seen or is_running(thread):
            self.last_seen[ident] = now, real_clock()
            return True
        if real_clock() - since > LEARNING:
            resting_places.add(place)
        return place not in resting_places

    def release(self) -> None:
        """The run is over: nobody sleeps in virtual time any more, and nothing is logged."""
        self.released = True
        for writer in self.writers:
            writer.enqueue_sentinel()
        for woken in list(self.asleep.values()):
            woken.set()

    def wake(self, ident: int) -> None:
        woken = self.asleep.pop(ident)
        self.last_seen.pop(ident, None)
        woken.set()

    # ------------------------------------------------------------ on a thread of the room

    def run(self, run, clocks) -> None:
        with clocks.virtual_on_this_thread(self.loop), contextlib.suppress(SystemExit):
            run()

    def sleep(self, seconds: float) -> None:
        """What `time.sleep` does there: this thread sleeps in virtual time, and the loop goes on."""
        ident = threading.get_ident()
        woken = self.asleep[ident] = threading.Event()
        if not self.released:
            self.loop.call_soon_threadsafe(self.loop.call_later, seconds, self.wake, ident)
            woken.wait()
        if self.released:
            raise SystemExit  # there is no time any more


def place_of(ident: int) -> tuple | None:
    """Where a thread is: (code, instruction). None if it has ended."""
    frame = sys._current_frames().get(ident)
    return frame and (frame.f_code, frame.f_lasti)


def is_running(thread: threading.Thread) -> bool:
    """Does it run, or wait for a processor or a disk? False where the system does not tell."""
    try:
        with open(f"/proc/self/task/{thread.native_id}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] in "RD"
    except OSError:
        return False


def processor_time(ident: int) -> float:
    """Seconds that a thread has computed; 0 where the system does not tell."""
    try:
        return time.clock_gettime(time.pthread_getcpuclockid(ident))
    except (AttributeError, OSError):
        return 0.0
