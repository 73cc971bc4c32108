"""One loop waits for the client and for news at once, and cancels what was not first.

Cancelling `recv()` and calling it again is documented as safe, and so it is, since a cancelled task ends before one
that is made after it. What is reported as "some messages are lost now and then" is a loop that uses one result where
both are there: a task that is done cannot be cancelled.
"""

import asyncio

from plain import Plain


class UsesBoth(Plain):
    async def read(self, connection):
        news = self.people[connection] = asyncio.Queue()
        telling = asyncio.create_task(news.get())
        hearing = None
        try:
            while True:
                hearing = asyncio.create_task(connection.recv())
                await asyncio.wait({hearing, telling}, return_when=asyncio.FIRST_COMPLETED)
                if hearing.done():
                    self.pass_on(hearing.result())
                else:
                    hearing.cancel()
                if telling.done():
                    await connection.send(telling.result())
                    telling = asyncio.create_task(news.get())
        finally:
            telling.cancel()
            if hearing:
                hearing.cancel()

    def pass_on(self, text):
        for news in self.people.values():
            if news:
                news.put_nowait(text)


class UsesOneOfTwo(UsesBoth):
    async def read(self, connection):
        news = self.people[connection] = asyncio.Queue()
        while True:
            hearing, telling = asyncio.create_task(connection.recv()), asyncio.create_task(news.get())
            await asyncio.wait({hearing, telling}, return_when=asyncio.FIRST_COMPLETED)
            if hearing.done():
                telling.cancel()
                self.pass_on(hearing.result())
            else:
                hearing.cancel()
                await connection.send(telling.result())
