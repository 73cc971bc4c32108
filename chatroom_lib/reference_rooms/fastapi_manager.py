"""The connection manager of FastAPI's documentation ("WebSockets: Handling disconnections and multiple clients").

A list of connections. For each client one `handle` reads, and sends to all in the list, one after another. If it
meets a lost connection, its own client is removed from the list and the others are told. The documentation itself calls
this a simple example; many rooms begin with it. uvicorn, which serves it there, pings each client every 20 s.
"""

from websockets.exceptions import ConnectionClosed

from chatroom_lib.message import Message, MessageError, decode, encode


class FastAPIManager:
    server_options = {"ping_interval": 20, "ping_timeout": 20}

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
        except ConnectionClosed:  # this client's connection, or any other one in the list
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
