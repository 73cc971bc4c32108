"""Newcomers are sent what was said before they came.

Whoever is on the list only after the replay misses what is said during it; whoever is on it before hears that twice,
and out of order. Both are reported, often in the same project, one as the remedy of the other. What is right is to
take the list and to be on it in one step.
"""

import asyncio
from collections import deque

from plain import Plain
from websockets.exceptions import ConnectionClosed


class OnTheListAfterwards(Plain):
    def __init__(self):
        super().__init__()
        self.lines = deque(maxlen=100)

    async def handle(self, connection):
        try:
            await self.welcome(connection)
            await self.read(connection)
        except ConnectionClosed:
            pass
        finally:
            self.people.pop(connection, None)

    async def welcome(self, connection):
        lines = list(self.lines)
        await asyncio.sleep(0.3)  # a query takes its time
        await self.replay(connection, lines)
        self.people[connection] = None

    async def replay(self, connection, lines):
        for line in lines:
            await connection.send(line)

    def pass_on(self, text):
        self.lines.append(text)
        super().pass_on(text)


class OnTheListBefore(OnTheListAfterwards):
    async def welcome(self, connection):
        self.people[connection] = None
        await asyncio.sleep(0.3)
        await self.replay(connection, list(self.lines))


class OnTheListAtOnce(OnTheListAfterwards):
    """Healthy newcomers take all of it without a turn of the event loop in between."""

    async def welcome(self, connection):
        lines = list(self.lines)
        self.people[connection] = None
        await self.replay(connection, lines)


class Holds50(OnTheListAtOnce):
    def __init__(self):
        super().__init__()
        self.lines = deque(maxlen=50)


class Holds400(OnTheListAtOnce):
    """A bound, but one beyond what a run of 450 messages can show."""

    def __init__(self):
        super().__init__()
        self.lines = deque(maxlen=400)


class HoldsEverything(OnTheListAtOnce):
    def __init__(self):
        super().__init__()
        self.lines = []
