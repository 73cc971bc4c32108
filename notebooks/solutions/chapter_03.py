"""Solutions to the exercises of chapter 03."""

import asyncio
from collections import defaultdict

from websockets.exceptions import ConnectionClosed

from chatroom_lib import Message, MessageError, decode, rate_limits, rooms
from chatroom_lib.rooms.v3 import Client


class Room1(rooms.resolve("v3")):
    """The ghost: register first. While the hub is busy, "Di joins" and "Di leaves" may wait at two channels at the same
    time, and chance decides which one the hub takes first. A visit that waits for its join cannot leave before it."""

    async def handle(self, connection):
        client = Client(connection, asyncio.Queue(self.outbox_size))
        await self.register.put(client)
        async with asyncio.TaskGroup() as tasks:
            writer = tasks.create_task(self.write(client))
            await self.read(client)
            writer.cancel()


class Room2(rooms.resolve("v3.2")):
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


class Room3(rooms.resolve("v3.2")):
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
