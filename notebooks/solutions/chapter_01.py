"""Solutions to the exercises of chapter 01."""

import asyncio

from websockets.exceptions import ConnectionClosed

from chatroom_lib import encode, rooms


class Room1(rooms.resolve("v1.1")):
    """Remove the right one: iterate over a copy, and remove the connection itself, if it is still there."""

    async def broadcast(self, message):
        for connection in list(self.connections):
            try:
                await connection.send(encode(message))
            except ConnectionClosed:
                if connection in self.connections:
                    self.connections.remove(connection)


class Room2(rooms.resolve("v1.1")):
    """Notice at once: a visit ends in `finally`, however it ends. (If somebody earlier in the list leaves
    while a broadcast waits, it still skips one person. Iterating over a copy, as in exercise 1, cures that too.)"""

    async def handle(self, connection):
        try:
            await super().handle(connection)
        finally:
            if connection in self.connections:
                self.connections.remove(connection)


class Room3(rooms.resolve("v1.1")):
    """Nobody waits behind Bob: a task for each send. The price: as long as Bob does not read, each message keeps
    two tasks alive, its broadcast and its send to Bob. Chapter 03 limits that."""

    async def broadcast(self, message):
        frame = encode(message)
        await asyncio.gather(*(self.send(connection, frame) for connection in self.connections))

    async def send(self, connection, frame):
        try:
            await connection.send(frame)
        except ConnectionClosed:
            if connection in self.connections:
                self.connections.remove(connection)
