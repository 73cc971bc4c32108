"""v1: one list.

Every connection is kept in one list. Whoever receives a message sends it to all of them, one after another.

How it fails
- Nobody is ever removed. The list only grows, and every broadcast tries all the dead connections again.
- `send` waits while a client does not read. So one client that stops reading stalls the speaker
  and everyone who comes later in the list.
"""

from websockets.exceptions import ConnectionClosed

from chatroom_lib.message import Message, MessageError, decode, encode


class Room:
    def __init__(self):
        self.connections = []  # in the order of joining
        self.failed_sends = 0  # what a room in production would count, too

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        pass

    async def handle(self, connection):
        """One visit: join, then pass on what this client says until it leaves."""
        self.connections.append(connection)
        try:
            async for frame in connection:
                await self.broadcast(decode(frame))
        except MessageError as error:
            await connection.close(1007, str(error))
        except ConnectionClosed:
            pass

    async def broadcast(self, message: Message):
        frame = encode(message)
        for connection in self.connections:
            try:
                await connection.send(frame)
            except ConnectionClosed:
                self.failed_sends += 1

    def members(self):
        return list(self.connections)
