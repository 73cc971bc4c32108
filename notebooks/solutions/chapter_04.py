"""Solutions to the exercises of chapter 04."""

import asyncio

from websockets.exceptions import ConnectionClosed

from chatroom_lib import MessageError, decode, rate_limits, rooms


class Room1(rooms.resolve("v3.2")):
    """Anyone who does not keep up is evicted, and nobody who types is refused."""

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


class Room2(rooms.resolve("v3.1")):
    """Drop: what a slow screen cannot take is worth nothing a second later. So do not demand `delivery`."""

    needs = (
        *("at-most-once", "total-order", "no-false-eviction", "no-crash", "admission", "prompt-join"),
        *("no-head-of-line-blocking", "recovery", "no-leak", "bounded-memory"),
    )
    why = "A newer price replaces an older one, so a screen may miss some, and must never harm another."
