"""Local first: deliver to one's own people at once, and relay to the other servers.

People at one server hear each other without a detour, and the others a moment later. Then each server has an order of
its own: between two messages that are said at the same time at two of them, each hears its own one first. Nor can what
was heard first be given a number, or be kept, before it is heard: a server that dies in between has let people hear
what nobody will find.

That is how Socket.IO with its Redis adapter emits, and what somebody builds who adds Redis's publish and subscribe to a
room with a list of connections. Here the shared history takes the place of Redis, so that nothing is lost between two
servers that live; what remains is the fault of the idea.
"""

import asyncio
from collections import Counter

from chatroom_lib.history import KEEP
from chatroom_lib.message import Message
from chatroom_lib.reference_rooms.history_room import HistoryRoom
from chatroom_lib.shared_history import SharedHistory


class LocalFirst(HistoryRoom):
    many_servers = True

    def __init__(self, path: str | None = None, keep: int = KEEP, **options):
        super().__init__(path, keep=keep, **options)
        self.history = SharedHistory(path, keep)
        self.ours = Counter()  # what our own people have heard, and has not come back from the history yet

    async def __aenter__(self):
        await super().__aenter__()
        self.follower = asyncio.create_task(self.follow())
        return self

    async def __aexit__(self, *exc):
        self.follower.cancel()
        await asyncio.wait([self.follower])
        await super().__aexit__(*exc)

    async def accept(self, connection, message: Message):
        if not self.knows(message):
            self.ours[message] += 1
            self.send(self.connections, message)
        await super().accept(connection, message)

    async def follow(self):
        async for messages in self.history.follow(self.last):
            for message in messages:
                self.relay(message)

    def relay(self, message: Message):
        said = Message(message.token, message.content, id=message.id)
        if self.ours[said]:
            self.ours -= Counter([said])
        else:
            self.send(self.connections, message)
        self.last = message.seq

    def deliver(self, batch: list[tuple], kept: list[Message]):
        """What is new has been heard already, or comes from the history. Whoever says something again is answered."""
        for (connection, said), message in zip(batch, kept):
            if said.id is not None and message.seq <= self.last:
                self.send([connection], message)
