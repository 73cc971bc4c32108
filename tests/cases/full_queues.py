"""A queue and a writer for each client, and something to do when a queue is full.

Some drop what is oldest, some what is new: nobody waits, memory has a bound, and the slow miss messages by policy. Some
wait for space: then all wait for the slowest.
"""

import asyncio

from plain import Plain
from websockets.exceptions import ConnectionClosed


class DropsTheOldest(Plain):
    async def handle(self, connection):
        self.people[connection] = asyncio.Queue(20)
        writer = asyncio.create_task(self.write(connection, self.people[connection]))
        try:
            await self.read(connection)
        except ConnectionClosed:
            pass
        finally:
            writer.cancel()
            del self.people[connection]

    async def hear(self, connection, text):
        for queue in list(self.people.values()):
            await self.put(queue, text)

    async def put(self, queue, text):
        if queue.full():
            queue.get_nowait()
        queue.put_nowait(text)

    async def write(self, connection, queue):
        try:
            while True:
                await connection.send(await queue.get())
        except ConnectionClosed:
            pass


class DropsTheNewest(DropsTheOldest):
    async def put(self, queue, text):
        if not queue.full():
            queue.put_nowait(text)


class WaitsForSpace(DropsTheOldest):
    async def put(self, queue, text):
        await queue.put(text)


class SwallowsItsCancellation(DropsTheOldest):
    """`except BaseException` around one message, so that no message can end the writer: nothing else can, either."""

    async def write(self, connection, queue):
        while True:
            try:
                await connection.send(await queue.get())
            except ConnectionClosed:
                return
            except BaseException:
                continue
