"""Limits of all kinds on how much, and how long, one may say.

A limit that is known to its room alone is right, too: it must not be called a loss for another reason than that nobody
could know.
"""

import asyncio
import json

from plain import Plain

from chatroom_lib.rate_limits import TokenBucket


class InItsOwnWords(Plain):
    """Five at once, one a second, and a refusal that no client of ours understands."""

    def __init__(self):
        super().__init__()
        self.buckets = {}

    async def handle(self, connection):
        self.buckets[connection] = TokenBucket(1, 5)
        try:
            await super().handle(connection)
        finally:
            del self.buckets[connection]

    async def hear(self, connection, text):
        if self.buckets[connection].wait(asyncio.get_running_loop().time()):
            await self.refuse(connection, text)
        else:
            self.pass_on(text)

    async def refuse(self, connection, text):
        await connection.send(json.dumps({"type": "error", "reason": "too fast"}))


class InOurWords(InItsOwnWords):
    async def refuse(self, connection, text):
        refused = json.loads(text)["content"]
        await connection.send(json.dumps({"token": "room", "content": "too fast", "refused": refused}))


class Closes(InItsOwnWords):
    async def refuse(self, connection, text):
        await connection.close(1008, "too fast")


class ReadsSlowly(Plain):
    """Two a second are read from each client. Nothing is refused."""

    async def hear(self, connection, text):
        self.pass_on(text)
        await asyncio.sleep(0.5)


class TooLong(Plain):
    """Nothing that has more than 2000 characters. The speaker is told, in a way that we cannot know."""

    async def hear(self, connection, text):
        if len(text) > 2000:
            await connection.send(json.dumps({"token": "room", "content": "2000 characters are the limit"}))
        else:
            self.pass_on(text)


class LettersOnly(Plain):
    """What holds no letter is spam to it, and what our simulated people say holds none."""

    async def hear(self, connection, text):
        if any(character.isalpha() for character in json.loads(text)["content"]):
            self.pass_on(text)
