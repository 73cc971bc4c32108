"""Acknowledge at once, commit later: a queue in memory, and every 50 ms a transaction with what is in it.

Whoever speaks hears it at once, before it has a number; the others hear it when it is written down. So speaking feels
fast, and the disk has one commit for many messages. But when the server is killed, what was acknowledged in the last
50 ms is lost: its speaker takes it for said, so nobody ever says it again. Redis with `appendfsync everysec` and
JetStream with its default `sync_interval` acknowledge before the disk has it, too.
"""

import asyncio

from chatroom_lib.message import Message
from chatroom_lib.reference_rooms.history_room import HistoryRoom

EVERY = 0.05  # seconds


class AckAtOnce(HistoryRoom):
    async def accept(self, connection, message: Message):
        self.send([connection], message)
        await super().accept(connection, message)

    async def next_batch(self) -> list[tuple]:
        first = await self.incoming.get()
        await asyncio.sleep(EVERY)
        return [first, *(self.incoming.get_nowait() for _ in range(self.incoming.qsize()))]
