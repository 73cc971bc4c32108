"""A call that blocks, in a coroutine: a request, a query, a model, `time.sleep`. Everybody waits for it.

It is among the mistakes that are reported most, as "the server freezes for all when one user does this". The remedy is
a thread, `asyncio.to_thread`: then only the call's own message is late, and those its speaker says meanwhile.
"""

import asyncio
import time

from plain import Plain


class LooksUpEachMessage(Plain):
    seconds = 1.2

    async def hear(self, connection, text):
        time.sleep(self.seconds)
        self.pass_on(text)


class LooksUpQuickly(LooksUpEachMessage):
    seconds = 0.01


class LooksUpInAThread(Plain):
    seconds = 1.2

    async def hear(self, connection, text):
        await asyncio.to_thread(time.sleep, self.seconds)
        self.pass_on(text)


class LooksUpQuicklyInAThread(LooksUpInAThread):
    seconds = 0.1


class LoadsAProfileAtTheDoor(Plain):
    async def handle(self, connection):
        time.sleep(2)
        await super().handle(connection)
