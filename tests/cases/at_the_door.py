"""Rooms that ask who comes: a path, a name, a subprotocol, a token.

Rooms by path are what most servers have, and right. Whoever brings nothing of what is asked for is turned away, and a
simulated client brings nothing: so what these rooms do otherwise cannot be tested, and the card must not praise it.
"""

from collections import defaultdict
from urllib.parse import parse_qs, urlsplit

from plain import Plain
from websockets.asyncio.server import broadcast
from websockets.exceptions import ConnectionClosed


class RoomsByPath(Plain):
    def __init__(self):
        self.rooms = defaultdict(dict)

    async def handle(self, connection):
        place = urlsplit(connection.request.path)
        connection.nickname = parse_qs(place.query).get("as", ["somebody"])[0]
        people = self.rooms[place.path]
        people[connection] = None
        try:
            async for text in connection:
                broadcast(people, text)
        except ConnectionClosed:
            pass
        finally:
            del people[connection]

    def members(self):
        return [one for people in self.rooms.values() for one in people]


class WantsAName(Plain):
    problem = "say who you are: ?as=..."

    async def handle(self, connection):
        if self.has(connection):
            await super().handle(connection)
        else:
            await connection.close(1008, self.problem)

    def has(self, connection):
        return "as=" in connection.request.path


class WantsASubprotocol(WantsAName):
    def has(self, connection):
        return connection.subprotocol == "talk.v2"


class WantsAToken(WantsAName):
    def has(self, connection):
        return "Authorization" in connection.request.headers
