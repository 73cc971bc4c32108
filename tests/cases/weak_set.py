"""A WeakSet of connections, which frameworks recommend: whoever has gone needs not be taken out.

A loop's variable keeps the last connection for as long as its coroutine waits, so that must go, too.
"""

import weakref

from plain import Plain
from websockets.asyncio.server import broadcast


class Weak(Plain):
    def __init__(self):
        self.people = weakref.WeakSet()

    async def handle(self, connection):
        self.people.add(connection)
        await self.read(connection)

    def pass_on(self, text):
        broadcast(self.people, text)
