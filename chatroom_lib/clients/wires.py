"""The wires of servers that are not this library's: how people speak to them, and recognise what comes back.

A server may add fields to what it passes on, wrap it in another object, put a name or the time before it, or send what
several people said in one frame. So whatever people say begins with a mark, such as `k3f9a-ann-12`, and is heard
wherever that mark is in a frame.
"""

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress

from websockets.asyncio.client import ClientConnection

from chatroom_lib.clients.hearing import Understood
from chatroom_lib.clients.scenario import Client
from chatroom_lib.message import Message, to_json

LONGEST_GREETING = 20  # frames that a Socket.IO server may send before it says that a client is in


class TextWire:
    """Plain text: the frame is what is said. `tag` is the first part of each mark, the same for nobody else's."""

    def __init__(self, clients: Iterable[Client], tag: str):
        self.tag, self.clients = tag, {client.name.lower(): client for client in clients}
        self.mark = re.compile(rf"{tag}-(\S+?)-([0-9]{{1,9}})", re.IGNORECASE)

    async def open(self, connection: ClientConnection) -> None:
        """What comes before the first word on a new connection."""

    def say(self, name: str, text: str) -> str:
        return self.marked(name, text)

    def marked(self, name: str, text: str) -> str:
        """A text that does not begin with its number gets that, too."""
        texts = self.clients[name.lower()].texts
        number = f"{texts.index(text) + 1} " if texts else ""
        return f"{self.tag}-{name.lower()}-{number}{text}"

    def understand(self, frame: str | bytes) -> list[Understood]:
        text = frame if isinstance(frame, str) else bytes(frame).decode(errors="replace")
        return [Understood("heard", message) for message in self.messages(text)]

    def messages(self, text: str) -> list[Message]:
        """Those of people's whose marks are in it. One that is in a line twice, or twice in one JSON document, is one:
        such as in a text and in its HTML."""
        found = self.marks(text)
        if len(set(found)) < len(found):
            lines = [text] if is_json(text) else text.split("\n")
            found = [mark for line in lines for mark in dict.fromkeys(self.marks(line))]
        return [self.message(self.clients[name], number) for name, number in found if name in self.clients]

    def message(self, client: Client, number: int) -> Message:
        """What `client` says in its message of that number."""
        said = client.texts[number - 1] if 0 < number <= len(client.texts) else str(number)
        return Message(client.name, said)

    def marks(self, text: str) -> list[tuple[str, int]]:
        return [(name.lower(), int(number)) for name, number in self.mark.findall(text)]

    def answer(self, frame: str | bytes) -> str | None:
        return None


class JsonWire(TextWire):
    """A JSON object, `{"token": "Ann", "content": "..."}`, with other names of the two fields, and perhaps more fields
    with a fixed text. A refusal has what it refuses in the field `refused`."""

    def __init__(
        self, clients: Iterable[Client], tag: str, name: str = "token", text: str = "content",
        more: Mapping[str, str] = {},
    ):  # fmt: skip
        super().__init__(clients, tag)
        self.name_field, self.text_field, self.more = name, text, dict(more)

    def say(self, name: str, text: str) -> str:
        return to_json(self.fields(name, text))

    def fields(self, name: str, text: str) -> dict[str, str]:
        return {self.name_field: name, self.text_field: self.marked(name, text), **self.more}

    def understand(self, frame: str | bytes) -> list[Understood]:
        if isinstance(frame, str) and '"refused"' in frame and (refused := self.refused(frame)):
            return [Understood("refused", Message(each.token, "", refused=each.content)) for each in refused]
        return super().understand(frame)

    def refused(self, frame: str) -> list[Message]:
        with suppress(ValueError, RecursionError):
            fields = json.loads(frame)
            if isinstance(fields, dict) and isinstance(fields.get("refused"), str):
                return self.messages(fields["refused"])
        return []


class SocketIoWire(JsonWire):
    """Socket.IO (protocol 5, in Engine.IO 4) on a WebSocket from the start: the event `event` with what is said, as
    text, or as an object if fields are given."""

    def __init__(self, clients: Iterable[Client], tag: str, event: str = "message", fields: Mapping | None = None):
        super().__init__(clients, tag, **(fields or {}))
        self.event, self.as_object = event, fields is not None

    async def open(self, connection: ClientConnection) -> None:
        """Raises ConnectionError if the server says something else than that the client is in."""
        await self.expect(connection, "0")
        await connection.send("40")
        await self.expect(connection, "40")

    async def expect(self, connection: ClientConnection, packet: str) -> None:
        frame: str | bytes = ""
        for _ in range(LONGEST_GREETING):
            frame = await connection.recv()
            if isinstance(frame, str) and frame.startswith(packet):
                return
            if isinstance(frame, str) and frame.startswith(("1", "41", "44")):
                break
            if answer := self.answer(frame):
                await connection.send(answer)
        raise ConnectionError(f"no Socket.IO server: it sent {frame!r:.60}")

    def say(self, name: str, text: str) -> str:
        what = self.fields(name, text) if self.as_object else self.marked(name, text)
        return f"42{to_json([self.event, what])}"

    def answer(self, frame: str | bytes) -> str | None:
        return "3" if frame == "2" else None


def is_json(text: str) -> bool:
    with suppress(ValueError, RecursionError):
        json.loads(text)
        return True
    return False
