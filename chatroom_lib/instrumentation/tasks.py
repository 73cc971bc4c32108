"""The tasks that a server's room starts: on whose behalf each runs, and the errors that nobody awaits.

asyncio itself mentions such an error only when the task is thrown away, if at all.
"""

import asyncio
import weakref
from contextvars import ContextVar

from chatroom_lib.instrumentation.asyncio_internals import unseen_error

watcher: ContextVar["Tasks | None"] = ContextVar("watcher", default=None)
visitor: ContextVar[str | None] = ContextVar("visitor", default=None)


class Tasks:
    """The live tasks of one server, in the order they were made, and the errors that nobody awaited."""

    def __init__(self, report):
        self.report = report  # called with each such exception
        # task -> the name of the visitor it runs for, or None. The room alone decides how long a task is kept.
        self.visitors: weakref.WeakKeyDictionary[asyncio.Task, str | None] = weakref.WeakKeyDictionary()
        self.killed = False  # with their process: none of them runs any more
        self.reported: list[asyncio.Task] | None = None  # where a run keeps the tasks whose errors it has noted

    def add(self, task: asyncio.Task) -> None:
        self.visitors[task] = visitor.get()
        task.add_done_callback(self.finished)

    def finished(self, task: asyncio.Task) -> None:
        if task not in self.visitors:
            return  # the garbage collector has closed its coroutine; what comes of that is no error of the room's
        del self.visitors[task]
        if not task.cancelled() and unseen_error(task):
            # A task that awaits this one is about to see the error. If none has done so a moment later, report it.
            task.get_loop().call_later(0.05, self.check, task)

    def check(self, task: asyncio.Task) -> None:
        if error := unseen_error(task):
            if self.reported is None:
                task.exception()  # which marks it as seen
            else:
                self.reported.append(task)
            self.report(error)

    def awaited_since(self) -> list[BaseException]:
        """Errors reported earlier whose task has since been awaited; they no longer count as unhandled."""
        seen = [task for task in self.reported if not unseen_error(task)]
        for task in self.reported:
            task.exception()  # or asyncio would log it at last
        return [task.exception() for task in seen]


def task_factory(loop, coroutine, *, task_class=asyncio.Task, **options) -> asyncio.Task:
    """For `loop.set_task_factory`: tasks made on behalf of a server are added to its `Tasks`."""
    task = task_class(coroutine, loop=loop, **options)
    if tasks := watcher.get():
        tasks.add(task)
    return task
