"""Shapes that people write, all of them right."""

import asyncio
import contextvars

from plain import Plain
from websockets.exceptions import ConnectionClosed

SPEAKER = contextvars.ContextVar("SPEAKER")


class ReceivesInALoop(Plain):
    async def read(self, connection):
        while True:
            self.pass_on(await connection.recv())


class TaskGroups(Plain):
    """A reader and a writer in a TaskGroup; whichever ends, ends the other."""

    async def handle(self, connection):
        queue = self.people[connection] = asyncio.Queue(200)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.read(connection, queue))
                tasks.create_task(self.write(connection, queue))
        except* (ConnectionClosed, EOFError):
            pass
        finally:
            self.people.pop(connection, None)

    async def read(self, connection, queue):
        async for text in connection:
            self.pass_on(text)
        raise EOFError

    async def write(self, connection, queue):
        while True:
            await connection.send(await queue.get())

    def pass_on(self, text):
        for connection, queue in list(self.people.items()):
            if queue.full():
                del self.people[connection]
                connection.transport.abort()
            else:
                queue.put_nowait(text)


class ContextVariables(Plain):
    async def read(self, connection):
        SPEAKER.set(connection)
        async for text in connection:
            assert SPEAKER.get() is connection
            self.pass_on(text)


class Prints(Plain):
    async def hear(self, connection, text):
        print("heard", text)
        self.pass_on(text)
