"""The list of people and the lock are globals of the module, as in many a tutorial: made once, for all event loops.

Reports are about locks that belong to another loop, in tests above all. A run must find the module as if it were new.
"""

import asyncio

from websockets.exceptions import ConnectionClosed

PEOPLE = set()
LOCK = asyncio.Lock()


class Globals:
    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        pass

    async def handle(self, connection):
        async with LOCK:
            PEOPLE.add(connection)
        try:
            async for text in connection:
                async with LOCK:
                    await asyncio.sleep(0.01)  # others ask for the lock meanwhile, which ties it to a loop
                    people = list(PEOPLE)
                for one in people:
                    await self.tell(one, text)
        except ConnectionClosed:
            pass
        finally:
            PEOPLE.discard(connection)

    async def tell(self, one, text):
        try:
            await one.send(text)
        except ConnectionClosed:
            pass

    def members(self):
        return PEOPLE
