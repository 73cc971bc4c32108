"""Solutions to the exercises of chapter 09."""

import asyncio

from exercises.chapter_09 import Behind, Relaying

from chatroom_lib.history import LARGEST


class Room1(Relaying):
    """Nobody is first: what people say is only written down, and all hear it when it comes out of the history."""

    async def accept(self, connection, message):
        await self.incoming.put((connection, message))

    def relay(self, message):
        self.send(self.connections, message)
        self.last = message.seq


class Room2(Behind):
    """As long as there is more in the history than was sent, it is we who are late."""

    async def catch_up_with(self, heard):
        ours = heard.epoch == self.history.epoch
        while ours and heard.seq > self.last and await self.history.after(self.last, LARGEST, 1):
            await asyncio.sleep(0.01)


class Room3:
    """Each step costs something: a second process writes to the same file, a second machine needs a log of its own."""

    office = "v8"
    conference = "v9"
    exchange = "v9.1"
    why = "Twenty people need one process; ten thousand on one machine its cores; what must not stop, two machines."
