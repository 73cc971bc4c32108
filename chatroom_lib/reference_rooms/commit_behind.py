"""Deliver at once, commit behind: the number of a message is given in memory, and everybody hears it before it is
written down.

Nobody waits for the disk. But when the server is killed, what the last commit did not take is lost, although all have
heard it, and the next messages get the same numbers: 83 is one message to those who were there, and another to those
who come later.
"""

from dataclasses import replace

from chatroom_lib.history import HistoryError
from chatroom_lib.message import Message
from chatroom_lib.reference_rooms.history_room import HistoryRoom


class CommitBehind(HistoryRoom):
    def __init__(self, path: str | None = None, limit: float | None = 1.0):
        super().__init__(path, limit=limit)
        self.unwritten = {}  # (token, id) -> a message that all have heard, and that is not written down yet

    async def find(self, message: Message) -> Message | None:
        """Is it known? A commit may come while the history is read."""
        key = message.token, message.id
        return self.unwritten.get(key) or await super().find(message) or self.unwritten.get(key)

    async def accept(self, connection, message: Message):
        if known := await self.find(message):
            return self.send([connection], known)
        self.last += 1
        message = replace(message, seq=self.last)
        if message.id:
            self.unwritten[message.token, message.id] = message
        self.send(self.connections, message)
        await super().accept(connection, message)

    async def write(self):
        while True:
            batch = [message for _, message in await self.next_batch()]
            try:
                await self.history.append(batch)
            except HistoryError:  # too late to refuse it
                self.last = self.history.last
            for message in batch:
                self.unwritten.pop((message.token, message.id), None)
