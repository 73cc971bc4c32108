"""Solutions to the exercises of chapter 08."""

import asyncio
import math

from exercises.chapter_08 import Pinging, WithoutDoor

from chatroom_lib.frames import PING


class Room1(Pinging):
    """Nothing here waits for the client: a ping is written, not sent. It lives if anything comes from it, or if less
    waits for it than before."""

    async def look_after(self, connection):
        clock, transport = asyncio.get_running_loop().time, connection.transport
        alive, waiting = clock(), 0
        while clock() - max(alive, self.heard_at[connection]) < 30:
            transport.write(PING)
            await asyncio.sleep(10)
            if transport.get_write_buffer_size() < waiting:
                alive = clock()
            waiting = transport.get_write_buffer_size()
        transport.abort()


class Room2(WithoutDoor):
    """As long as the room needs for all who are in it."""

    def return_within(self):
        return math.ceil(1 + len(self.readers) / self.returns)


class Room3:
    """A short deadline costs pings, and connections of people who would have come back by themselves."""

    game = 8
    office = 30
    phones = 120
    why = "Who waits for somebody's move must know soon; a phone in a tunnel is coming back."
