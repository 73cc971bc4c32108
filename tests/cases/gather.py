"""`asyncio.gather` sends to all at once.

Reports say that one client that had gone ended the broadcast for everybody, or put out whoever was speaking: without
`return_exceptions=True` the first error is raised in the speaker's visit.
"""

import asyncio

from plain import Plain


class RaisesForTheSpeaker(Plain):
    """And whoever has gone stays on the list until their own visit ends."""

    async def handle(self, connection):
        self.people[connection] = None
        async for text in connection:
            await asyncio.gather(*(one.send(text) for one in self.people))
        del self.people[connection]


class ToleratesTheDead(Plain):
    async def hear(self, connection, text):
        await asyncio.gather(*(one.send(text) for one in self.people), return_exceptions=True)
