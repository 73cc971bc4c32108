"""A task of its own for each broadcast, or for each single send, so that nobody has to wait.

Reports of such rooms are about memory: tasks pile up behind whoever does not read. And with a task for each broadcast,
which sends to one after another, the others wait all the same.
"""

import asyncio

from plain import Plain
from websockets.exceptions import ConnectionClosed


class TaskForEachBroadcast(Plain):
    def __init__(self):
        super().__init__()
        self.tasks = set()

    def start(self, coroutine):
        task = asyncio.create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def pass_on(self, text):
        self.start(self.tell_all(text))

    async def tell_all(self, text):
        for one in list(self.people):
            await self.tell(one, text)

    async def tell(self, one, text):
        try:
            await one.send(text)
        except ConnectionClosed:
            pass


class TaskForEachSend(TaskForEachBroadcast):
    """`send` writes before it waits, and tasks start in the order in which they were made: the order is kept."""

    def pass_on(self, text):
        for one in self.people:
            self.start(self.tell(one, text))
