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

KNOWN = 1000  # messages whose ids are kept in memory


class CommitBehind(HistoryRoom):
    def __init__(self, path: str | None = None, limit: float | None = 1.0):
        super().__init__(path, limit=limit)
        self.known = {}  # (token, id) -> number, of the last messages

    async def __aenter__(self):
        await super().__aenter__()
        for message in await self.history.before(self.last + 1, KNOWN):
            self.remember(message)
        return self

    def remember(self, message: Message):
        if message.id:
            self.known[message.token, message.id] = message.seq
        if len(self.known) > KNOWN:
            del self.known[next(iter(self.known))]

    def knows(self, message: Message) -> bool:
        return (message.token, message.id) in self.known

    async def accept(self, connection, message: Message):
        if self.knows(message):
            return self.send([connection], replace(message, seq=self.known[message.token, message.id]))
        self.last += 1
        message = replace(message, seq=self.last)
        self.remember(message)
        self.send(self.connections, message)
        await super().accept(connection, message)

    async def write(self):
        while True:
            batch = [message for _, message in await self.next_batch()]
            try:
                await self.history.append(batch)
            except HistoryError:  # too late to refuse it
                self.last = self.history.last
