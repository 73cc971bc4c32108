"""Everybody hears everything late, or at the beat of a clock: by design, and whoever reads or does not.

What is to be seen is whom the evidence blames.
"""

import asyncio

from plain import Plain


class Moderated(Plain):
    """Somebody looks at each message for two seconds; several can be looked at."""

    def __init__(self):
        super().__init__()
        self.waiting = asyncio.Queue(1000)

    async def __aenter__(self):
        self.moderator = asyncio.create_task(self.moderate())
        return self

    async def __aexit__(self, *exc):
        self.moderator.cancel()

    async def hear(self, connection, text):
        await self.waiting.put((asyncio.get_running_loop().time() + 2, text))

    async def moderate(self):
        while True:
            when, text = await self.waiting.get()
            await asyncio.sleep(when - asyncio.get_running_loop().time())
            self.pass_on(text)


class Ticks(Plain):
    """What has gathered is sent four times a second, as in games."""

    def __init__(self):
        super().__init__()
        self.gathered = []

    async def __aenter__(self):
        self.ticking = asyncio.create_task(self.tick())
        return self

    async def __aexit__(self, *exc):
        self.ticking.cancel()

    async def hear(self, connection, text):
        self.gathered.append(text)

    async def tick(self):
        while True:
            await asyncio.sleep(0.25)
            texts, self.gathered = self.gathered, []
            for text in texts:
                self.pass_on(text)
