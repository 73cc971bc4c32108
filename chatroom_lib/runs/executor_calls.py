"""Calls that a simulated room hands to a thread of an executor, as for a disk: the seed decides how long each takes.

`loop.run_in_executor` and `asyncio.to_thread` make them. A call takes effect at one moment and is answered at a later
one, so a process can be killed before, between and after. Really, a thread makes the call at the first of these
moments, while the clock stands. If it does not come back, because it waits for the loop or for time to pass, it goes on
as the room's own threads do (room_threads.py).

Where there are no threads, the loop's own makes the call at that moment, from beginning to end. A `time.sleep` in it
still takes the time of that call only; but if it waits for anything that others do, it waits in vain.
"""

import asyncio
import heapq
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import Context, copy_context
from functools import partial
from typing import TYPE_CHECKING

from chatroom_lib.instrumentation.asyncio_internals import set_aside
from chatroom_lib.instrumentation.tasks import Tasks, watcher
from chatroom_lib.runtime import platform

if TYPE_CHECKING:
    from chatroom_lib.runs.event_loop import SimulationLoop

CALL_TIME = (0.0005, 0.010)  # seconds that a call takes: those of a disk that waits for its medium
DEFAULT_WORKERS = 8  # of asyncio's own executor; the real one has as many as the machine suggests


class ExecutorCalls:
    """Those of one run."""

    def __init__(self, loop: "SimulationLoop"):
        self.loop = loop
        self.own: dict[str, ThreadPoolExecutor] = {}  # those that somebody else has on a real loop
        self.sleeps: list[tuple[float, Context]] = []  # those in a call on the loop's thread
        self.free_at: dict[ThreadPoolExecutor, list[float]] = {}  # a heap: when each of its threads is free

    def make(self, executor: ThreadPoolExecutor | None, function: Callable, *arguments) -> asyncio.Future:
        """What `loop.run_in_executor` does."""
        loop, executor = self.loop, executor or self.executor("asyncio", DEFAULT_WORKERS)
        free_at = self.workers_of(executor)
        start = max(loop.now, heapq.heappop(free_at))
        end = start + loop.random.uniform(*CALL_TIME)
        heapq.heappush(free_at, end)
        call = Call(loop, executor, partial(function, *arguments), watcher.get())
        effect = loop.random.uniform(start, end)
        for moment, step in (start, call.begin), (effect, call.take_effect), (end, call.answer):
            loop.call_at(moment, step, context=Context())  # nobody computes meanwhile
        return call.answered

    def executor(self, whose: str, workers: int) -> ThreadPoolExecutor:
        if whose not in self.own:
            self.own[whose] = ThreadPoolExecutor(workers)
        return self.own[whose]

    def workers_of(self, executor: ThreadPoolExecutor) -> list[float]:
        if executor not in self.free_at:
            self.free_at[executor] = [0.0] * executor._max_workers
            executor.submit = partial(self.submit, executor)
        return self.free_at[executor]

    def submit(self, executor: ThreadPoolExecutor, *arguments, **options) -> Future:
        """What `executor.submit` does: nobody knows when the room looks at the result, so its threads are the room's
        own from now on."""
        future = ThreadPoolExecutor.submit(executor, *arguments, **options)
        self.loop.threads.wait_for(executor._threads)
        return future

    def call_here(self, function: Callable[[], object]) -> Future:
        """Call `function` on the loop's thread. What it sleeps passes afterwards, and then there is the result."""
        result, now, self.sleeps = Future(), self.loop.now, []
        try:
            with set_aside():  # on another thread there is no running loop
                finish = partial(result.set_result, function())
        except BaseException as error:  # as an executor does
            finish = partial(result.set_exception, error)
        self.loop.now = now
        self.pass_time(self.sleeps, finish)
        return result

    def sleep(self, seconds: float) -> None:
        """What `time.sleep` does in such a call."""
        self.sleeps.append((seconds, copy_context()))
        self.loop.spend(max(0.0, seconds))

    def pass_time(self, sleeps: list[tuple[float, Context]], finish: Callable[[], None]) -> None:
        """As it passes for a thread, which asks the loop to wake it."""
        if not sleeps:
            return finish()
        (seconds, context), *others = sleeps
        self.loop.call_soon(self.loop.call_later, seconds, self.pass_time, others, finish, context=context)

    def end(self) -> None:
        for executor in self.free_at:
            executor.shutdown(wait=False, cancel_futures=True)


class Call:
    def __init__(
        self,
        loop: "SimulationLoop",
        executor: ThreadPoolExecutor,
        function: Callable[[], object],
        process: Tasks | None,
    ):
        self.loop, self.executor, self.function, self.process = loop, executor, function, process
        self.answered = loop.create_future()
        self.begun = False
        self.result: Future | None = None

    @property
    def is_of_the_killed(self) -> bool:
        return self.process is not None and self.process.killed

    def begin(self) -> None:
        self.begun = not self.answered.cancelled()  # from now on, giving it up ends nothing

    def take_effect(self) -> None:
        if self.begun and not self.is_of_the_killed:
            self.loop.calling_for = self.process, self.executor
            if platform.HAS_THREADS:
                self.result = self.loop.threads.make_call(self.executor, self.function)
            else:
                self.result = self.loop.calls.call_here(self.function)
            self.loop.calling_for = None, None

    def answer(self) -> None:
        if not self.result or self.answered.cancelled() or self.is_of_the_killed:
            return
        if self.result.done():
            copy(self.result, self.answered)
        else:
            self.result.add_done_callback(lambda _: self.loop.call_soon_threadsafe(self.answer, context=Context()))


def copy(result: Future, future: asyncio.Future) -> None:
    if error := result.exception():
        future.set_exception(error)
    else:
        future.set_result(result.result())
