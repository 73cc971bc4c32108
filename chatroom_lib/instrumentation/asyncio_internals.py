"""The private names of asyncio and contextlib that watching and simulating a room need, in this one file.

tests/test_asyncio_internals.py tries each of them, so that a new Python that changes one fails by its name.
"""

import asyncio
import contextlib
import contextvars
import heapq
import itertools
from collections.abc import Callable, Iterator
from contextlib import _AsyncGeneratorContextManager

STEP = asyncio.Handle._run.__code__  # the frame from which the event loop runs each step of a task
MANAGER_STEPS = (  # of `async with` over a generator: these frames hide what the generator awaits
    _AsyncGeneratorContextManager.__aenter__.__code__,
    _AsyncGeneratorContextManager.__aexit__.__code__,
)


def unseen_error(task: asyncio.Task) -> BaseException | None:
    """The exception that ended `task`, if nobody has asked for it yet. Asking here does not count."""
    return task._exception if task._log_traceback else None


def is_about_to_run(task: asyncio.Task) -> bool:
    """Has it not begun, or has what it waits for come? Then it is ready for its next step."""
    awaited = task._fut_waiter
    return awaited is None or awaited.done()


def task_of(handle: asyncio.Handle) -> asyncio.Task | None:
    """The task whose step this callback is, if it is one."""
    owner = getattr(handle._callback, "__self__", None)
    return owner if isinstance(owner, asyncio.Task) else None


def items_in(queue: asyncio.Queue) -> list:
    """The next to be taken out first, unless the queue has an order of its own."""
    return list(queue._queue)


def timers(loop: asyncio.AbstractEventLoop) -> list[tuple[Callable, tuple]]:
    """(callback, arguments) of each timer that is set on `loop`."""
    handles = [timer for _, _, timer in loop.timers] if isinstance(loop, SteppedLoop) else loop._scheduled
    return [(handle._callback, handle._args) for handle in handles if not handle.cancelled()]


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that runs on this thread, or None; for signal handlers, too."""
    return asyncio._get_running_loop()


@contextlib.contextmanager
def as_if_running(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """For code of a room's that Python runs in between: what a coroutine does when it is thrown away."""
    before = asyncio._get_running_loop()
    asyncio._set_running_loop(loop)
    try:
        yield
    finally:
        asyncio._set_running_loop(before)


@contextlib.contextmanager
def set_aside() -> Iterator[None]:
    """Let the loop and the task that run on this thread stand still, so that another loop can run here meanwhile."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task:
        asyncio._leave_task(loop, task)
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(loop)
        if task:
            asyncio._enter_task(loop, task)


class SteppedLoop(asyncio.BaseEventLoop):
    """An event loop without sockets, which calls `iterate` again and again until it is stopped."""

    def __init__(self):
        super().__init__()
        self.timers: list[tuple[float, int, asyncio.TimerHandle]] = []  # a heap
        self.order = itertools.count()

    def iterate(self) -> None:
        raise NotImplementedError

    def _run_once(self):
        self.iterate()

    def wake(self) -> None:
        """Another thread has called `call_soon_threadsafe`."""

    def _write_to_self(self):
        self.wake()

    @property
    def has_ready(self) -> bool:
        """Is there a callback to run, or has somebody called `stop`?"""
        return bool(self._ready) or self._stopping

    def next_timer(self) -> float | None:
        """The time of the next timer that was not cancelled; None if there is none."""
        timers = self.timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        return timers[0][0] if timers else None

    def set_timer(self, timer: asyncio.TimerHandle) -> None:
        """Of two timers that are due at the same time, the one set first goes first."""
        heapq.heappush(self.timers, (timer.when(), next(self.order), timer))

    def make_timers_ready(self, now: float) -> None:
        """Add the callbacks of all timers that are due to those that are ready."""
        timers = self.timers
        while timers and timers[0][0] <= now:
            self._ready.append(heapq.heappop(timers)[2])

    def call_soon(self, callback, *args, context=None) -> asyncio.Handle:
        """As asyncio's own, without the checks of its debug mode."""
        self._check_closed()
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def run_ready(self, run_step: Callable[[asyncio.Handle, contextvars.Context], None]) -> None:
        """Call `run_step` with each callback that is ready by now, and its context. It calls `run`, or puts it by."""
        ready = self._ready
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                run_step(handle, handle._context)

    run = staticmethod(asyncio.Handle._run)

    def forget(self, unwanted: Callable[[contextvars.Context], bool]) -> None:
        """Drop all callbacks, ready or due later, whose context is unwanted."""
        for handle in [handle for handle in self._ready if unwanted(handle._context)]:
            self._ready.remove(handle)
        self.timers = [timer for timer in self.timers if not unwanted(timer[2]._context)]
        heapq.heapify(self.timers)

    def reorder_ready_tasks(self, reorder: Callable[[list], None]) -> None:
        """Let `reorder` change the order of the ready tasks. Plain callbacks keep their places among them."""
        ready = self._ready
        if len(ready) < 2:
            return
        steps = [
            index
            for index, handle in enumerate(ready)
            if isinstance(getattr(handle._callback, "__self__", None), asyncio.Task)
        ]
        if len(steps) > 1:
            handles = [ready[index] for index in steps]
            reorder(handles)
            for index, handle in zip(steps, handles, strict=True):
                ready[index] = handle
