"""The set of people changes while a loop with an `await` goes through it.

"RuntimeError: Set changed size during iteration" is what reports quote: it needs somebody who reads slowly, and
somebody who comes or goes meanwhile. The speaker is disconnected for it.
"""

from plain import Plain
from websockets.exceptions import ConnectionClosed


class IteratesOverTheSet(Plain):
    def __init__(self):
        self.people = set()

    async def handle(self, connection):
        self.people.add(connection)
        try:
            await self.read(connection)
        except ConnectionClosed:
            pass
        finally:
            self.people.discard(connection)

    async def hear(self, connection, text):
        for one in self.everybody():
            try:
                await one.send(text)
            except ConnectionClosed:
                self.people.discard(one)

    def everybody(self):
        return self.people


class IteratesOverACopy(IteratesOverTheSet):
    def everybody(self):
        return self.people.copy()
