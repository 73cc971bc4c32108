"""Solutions to the exercises of chapter 01."""

import asyncio

from websockets.exceptions import ConnectionClosed

from chatroom_lib import encode, rooms


class Room1(rooms.get("v1.1")):
    """Take out the right one: walk through a copy, and remove the connection itself, if it is still there."""

    async def broadcast(self, message):
        for connection in list(self.connections):
            try:
                await connection.send(encode(message))
            except ConnectionClosed:
                if connection in self.connections:
                    self.connections.remove(connection)


class Room2(rooms.get("v1.1")):
    """Notice at once: a visit ends in `finally`, however it ends."""

    async def handle(self, connection):
        try:
            await super().handle(connection)
        finally:
            if connection in self.connections:
                self.connections.remove(connection)


class Room3(rooms.get("v1.1")):
    """Nobody stands behind Bob: a task for each send. Now one frozen client keeps one task for each message,
    and frees nobody else's; only bounding what waits for him will, which is what chapter 03 does."""

    async def broadcast(self, message):
        frame = encode(message)
        await asyncio.gather(*(connection.send(frame) for connection in self.connections), return_exceptions=True)
