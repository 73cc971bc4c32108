"""The connection manager of FastAPI's documentation ("WebSockets: Handling disconnections and multiple clients").

A list of connections; each visit reads, and sends to all in the list one after another. Whoever's visit meets a lost
connection is taken out of the list, and the others are told. The documentation says itself that this is a simple
example; it is also where many rooms begin.
"""

from websockets.exceptions import ConnectionClosed

from chatroom_lib.message import Message, MessageError, decode, encode


class FastAPIManager:
    def __init__(self):
        self.active = []

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        pass

    async def handle(self, connection):
        self.active.append(connection)
        try:
            while True:
                await self.broadcast(decode(await connection.recv()))
        except ConnectionClosed:  # this client's connection, or that of anybody else in the list
            self.active.remove(connection)
            await self.broadcast(Message("chatroom", "Somebody has left."))
        except MessageError as error:
            self.active.remove(connection)
            await connection.close(1007, str(error))

    async def broadcast(self, message: Message):
        frame = encode(message)
        for connection in self.active:
            await connection.send(frame)

    def members(self):
        return list(self.active)
