"""Solutions to the exercises of chapter 03."""

import asyncio
from collections import defaultdict

from websockets.exceptions import ConnectionClosed

from chatroom_lib import Message, MessageError, decode, rate_limits, rooms


class Room1(rooms.resolve("v3.2")):
    """A slip of the keyboard: the inner `try` is for one frame, the outer one for the visit."""

    async def read(self, client):
        try:
            async for frame in client.connection:
                try:
                    await self.incoming.put(decode(frame))
                except MessageError as error:
                    self.deliver(client, Message("chatroom", f"Not understood: {error}."))
        except ConnectionClosed:
            pass
        await self.unregister.put(client)


class Room2(rooms.resolve("v3.2")):
    """One person, two windows: the room keeps the limiters, one for each token. (It never forgets one. A room for many
    would discard a limiter whose bucket has been full for a while, since a new one is as good.)"""

    def __init__(self):
        super().__init__()
        self.limiters = defaultdict(rate_limits.TokenBucket)

    async def read(self, client):
        clock = asyncio.get_running_loop().time
        try:
            async for frame in client.connection:
                message = decode(frame)
                if wait := self.limiters[message.token].wait(clock()):
                    self.refuse(client, message, wait)
                else:
                    await self.incoming.put(message)
        except (ConnectionClosed, MessageError):
            pass
        await self.unregister.put(client)


class Room3:
    """You decide: keep what the listener still needs once there is time to read."""

    prices = "drop oldest"
    office = "evict"
    alarms = "drop newest"
    why = {
        "prices": "A newer price replaces all before it, so an old one in the outbox is worth nothing.",
        "office": "A hole changes what a conversation says, and only a lost connection tells his program of it.",
        "alarms": "The first alarms name the cause; the hundreds after them only say that there was one.",
    }
