"""A thread does the slow part, and hands its result to the event loop: as drivers of databases do.

Right, if it does so by `call_soon_threadsafe` or `run_coroutine_threadsafe`.
"""

import asyncio
import queue
import threading

from plain import Plain


class SavesFirst(Plain):
    async def __aenter__(self):
        self.jobs, self.saved, self.loop = queue.SimpleQueue(), 0, asyncio.get_running_loop()
        threading.Thread(target=self.save_all, daemon=True).start()
        return self

    async def __aexit__(self, *exc):
        self.jobs.put(None)

    def save_all(self):
        while done := self.jobs.get():
            self.saved += 1
            self.loop.call_soon_threadsafe(done.set_result, self.saved)

    async def hear(self, connection, text):
        done = self.loop.create_future()
        self.jobs.put(done)
        await done
        self.pass_on(text)


class PublishesFromTheThread(Plain):
    async def __aenter__(self):
        self.loop = asyncio.get_running_loop()
        return self

    async def hear(self, connection, text):
        await asyncio.to_thread(self.publish, text)

    def publish(self, text):
        asyncio.run_coroutine_threadsafe(self.pass_on_later(text), self.loop).result()

    async def pass_on_later(self, text):
        self.pass_on(text)
