"""Solutions to the exercises of chapter 04."""

import asyncio

from websockets.exceptions import ConnectionClosed

from chatroom_lib import MessageError, decode, encode, rate_limits, rooms
from chatroom_lib.reference_rooms import FastAPIManager


class Room1(rooms.resolve("v3.2")):
    """Whoever does not keep up is evicted, and whoever types is not refused."""

    async def read(self, client):
        limiter, clock = rate_limits.TokenBucket(limit=1, burst=5), asyncio.get_running_loop().time
        try:
            async for frame in client.connection:
                message = decode(frame)
                if wait := limiter.wait(clock()):
                    self.refuse(client, message, wait)
                else:
                    await self.incoming.put(message)
        except MessageError as error:
            await client.connection.close(1007, str(error))
        except ConnectionClosed:
            pass
        await self.unregister.put(client)

    def deliver(self, client, message):
        try:
            client.outbox.put_nowait(message)
        except asyncio.QueueFull:
            client.connection.transport.abort()  # its reader then tells the hub


class Room2(FastAPIManager):
    """A send that fails ends the visit of the client it was meant for, and nobody else's."""

    async def broadcast(self, message):
        frame = encode(message)
        for connection in list(self.active):
            try:
                await connection.send(frame)
            except ConnectionClosed:
                pass  # its own visit removes it from the list
