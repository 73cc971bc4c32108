"""Solutions to the exercises of chapter 01."""

import asyncio

from exercises.chapter_01 import PolicyRoom
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


class Room4(PolicyRoom):
    """A team on phones: a tunnel is no reason to lose somebody, and nobody waits for anybody. A minute is longer than
    the tunnel, short enough for Bob to be out in time, and bounds what waits for him: 120 messages at Ann's pace.
    "wait" would let Bob keep Cy waiting, "keep" would keep messages for Bob for ever."""

    policy = "evict"
    patience = 60
