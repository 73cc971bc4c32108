"""A hub that waits for a client's task, which waits for the hub: for good, once the client has died."""

import asyncio

from plain import Plain
from websockets.exceptions import ConnectionClosed


class HubAndClientWait(Plain):
    async def __aenter__(self):
        self.events = asyncio.Queue(1)
        self.hub = asyncio.create_task(self.run())
        return self

    async def __aexit__(self, *exc):
        self.hub.cancel()

    async def run(self):
        while True:
            connection, text = await self.events.get()
            if text is None:
                self.people.pop(connection, None)
            for queue in list(self.people.values()) if text else ():
                await queue.put(text)

    async def handle(self, connection):
        queue = self.people[connection] = asyncio.Queue(10)
        writer = asyncio.create_task(self.write(connection, queue))
        try:
            async for text in connection:
                await self.events.put((connection, text))
        except ConnectionClosed:
            pass
        finally:
            writer.cancel()
            await self.events.put((connection, None))

    async def write(self, connection, queue):
        try:
            while True:
                await connection.send(await queue.get())
        except ConnectionClosed:
            pass
