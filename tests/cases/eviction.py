"""Whoever reads too slowly is put out.

`await connection.close()` waits for an answer that does not come, ten seconds by default, and whoever calls it waits as
long: reports say that "the server hangs while it disconnects a dead client". An abort, or a task, is what helps.
"""

import asyncio

from plain import MOST, Plain
from websockets.asyncio.server import broadcast


class ClosesPolitely(Plain):
    async def hear(self, connection, text):
        for slow in [one for one in self.people if one.transport.get_write_buffer_size() > MOST]:
            self.people.pop(slow, None)
            await self.put_out(slow)
        broadcast(self.people, text)

    async def put_out(self, slow):
        await slow.close(1013, "you read too slowly")


class Aborts(ClosesPolitely):
    async def put_out(self, slow):
        slow.transport.abort()


class ClosesInATask(ClosesPolitely):
    def __init__(self):
        super().__init__()
        self.closing = set()

    async def put_out(self, slow):
        task = asyncio.create_task(super().put_out(slow))
        self.closing.add(task)
        task.add_done_callback(self.closing.discard)
