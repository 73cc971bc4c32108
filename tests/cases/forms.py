"""Rooms whose frames have another form than they were sent in. What is not `{"token": ..., "content": ...}` with the
same content is heard by nobody here, and nothing else may be put down to these rooms."""

import json

from plain import Plain
from websockets.asyncio.server import broadcast


class MoreFields(Plain):
    """A number and a type: more fields are welcome."""

    number = 0

    async def hear(self, connection, text):
        self.number += 1
        self.pass_on(json.dumps({**json.loads(text), "id": self.number, "type": "message"}))


class Nested(Plain):
    async def hear(self, connection, text):
        self.pass_on(json.dumps({"type": "message", "data": json.loads(text)}))


class Binary(Plain):
    async def hear(self, connection, text):
        self.pass_on(text.encode())


class Lines(Plain):
    """Plain text: "Ann: hello"."""

    async def hear(self, connection, text):
        message = json.loads(text)
        self.pass_on(f"{message['token']}: {message['content']}")


class GivesNames(Plain):
    """Nobody chooses their own name."""

    async def hear(self, connection, text):
        number = 1 + list(self.people).index(connection)
        self.pass_on(json.dumps({"token": f"Guest {number}", "content": json.loads(text)["content"]}))


class LoginFirst(Plain):
    """The first frame must be a login. Our people do not know that, and are turned away when they speak."""

    async def read(self, connection):
        login = json.loads(await connection.recv())
        if login.get("type") != "login":
            await connection.close(1008, "log in first")
            return
        await super().read(connection)


class Acknowledges(Plain):
    async def hear(self, connection, text):
        broadcast(self.people, text)
        await connection.send(json.dumps({"type": "ack"}))
