"""The tasks that a server's room starts: on whose behalf each runs, and the errors that nobody awaits.

asyncio itself mentions such an error only when the task is thrown away, if at all.
"""

import asyncio
from contextvars import ContextVar

watcher: ContextVar["Tasks | None"] = ContextVar("watcher", default=None)
visitor: ContextVar[str | None] = ContextVar("visitor", default=None)


class Tasks:
    """The live tasks of one server, in the order they were made, and the errors that nobody awaited."""

    def __init__(self, report):
        self.report = report  # called with each such exception
        self.visitors = {}  # task -> the name of the visitor it runs for, or None
        self.reported: list[asyncio.Task] | None = None  # where a run keeps the tasks whose errors it has noted

    def add(self, task: asyncio.Task) -> None:
        self.visitors[task] = visitor.get()
        task.add_done_callback(self.finished)

    def finished(self, task: asyncio.Task) -> None:
        del self.visitors[task]
        if not task.cancelled() and task._log_traceback:  # asyncio's own note that it failed, unseen so far
            # Whoever awaits this task is about to see the error. If nobody has done so a moment later, report it.
            task.get_loop().call_later(0.05, self.check, task)

    def check(self, task: asyncio.Task) -> None:
        if task._log_traceback:
            error = task._exception  # asking for task.exception() would count as having seen it
            if self.reported is None:
                task.exception()
            else:
                self.reported.append(task)
            self.report(error)

    def awaited_since(self) -> list[BaseException]:
        """Which of the errors that were noted in this run somebody has awaited since: they were none."""
        found = [task._exception for task in self.reported if not task._log_traceback]
        for task in self.reported:
            task.exception()  # or asyncio would tell of it at last
        return found


def task_factory(loop, coroutine, *, task_class=asyncio.Task, **options) -> asyncio.Task:
    """For `loop.set_task_factory`: tasks made on behalf of a server are added to its `Tasks`."""
    task = task_class(coroutine, loop=loop, **options)
    if tasks := watcher.get():
        tasks.add(task)
    return task
