"""A lock around the list of people is still held while the room sends.

Reports say that "one slow client blocks everybody, and nobody can connect any more". What is proposed is to copy the
list under the lock, and to send outside of it, with a timeout.
"""

import asyncio

from plain import Plain
from websockets.exceptions import ConnectionClosed


class HeldWhileSending(Plain):
    def __init__(self):
        super().__init__()
        self.guard = asyncio.Lock()

    async def handle(self, connection):
        async with self.guard:
            self.people[connection] = None
        try:
            await self.read(connection)
        except ConnectionClosed:
            pass
        finally:
            async with self.guard:
                self.people.pop(connection, None)

    async def hear(self, connection, text):
        async with self.guard:
            for one in self.people:
                await self.give(one, text)

    async def give(self, one, text):
        try:
            await one.send(text)
        except ConnectionClosed:
            pass


class FreeWhileSending(HeldWhileSending):
    """The remedy. Whoever speaks waits for up to five seconds, and so do those who hear later what they say next."""

    async def hear(self, connection, text):
        async with self.guard:
            people = list(self.people)
        await asyncio.gather(*(self.give(one, text) for one in people))

    async def give(self, one, text):
        try:
            async with asyncio.timeout(5):
                await one.send(text)
        except (ConnectionClosed, TimeoutError):
            async with self.guard:
                self.people.pop(one, None)
            one.transport.abort()


class TakenTwice(HeldWhileSending):
    """Whoever cannot be reached is taken out under the lock, by a task that holds it: asyncio's locks are not
    reentrant."""

    async def give(self, one, text):
        try:
            await one.send(text)
        except ConnectionClosed:
            async with self.guard:
                self.people.pop(one, None)
