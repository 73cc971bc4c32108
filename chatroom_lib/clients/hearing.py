"""What a client makes of the frames that it reads, and of a connection that ends."""

import asyncio
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple, Protocol

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import CloseCode

from chatroom_lib.clients.scenario import Client
from chatroom_lib.message import Message, MessageError, Position, decode_position, decode_reply, encode
from chatroom_lib.runtime.console import describe, excerpt, one_line
from chatroom_lib.trace import Trace, label


class Understood(NamedTuple):
    """What a frame is."""

    kind: str  # of event
    message: Message | None = None  # None: it is not one of those that people have said
    excerpt: str = ""  # what a frame looks like that should not be
    position: Position | None = None  # from where on the client is fed, if it says that

    @property
    def label(self) -> str:
        """What a Trace says of it."""
        return self.excerpt or label(self.message)


class Wire(Protocol):
    """What the frames look like in which people speak, and are spoken to."""

    def say(self, name: str, text: str) -> str:
        """The frame with which a client of this name says that."""

    def understand(self, frame: str | bytes) -> Iterable[Understood]:
        """What a frame from the server is; several, if it passes on what several people said in one frame."""

    def answer(self, frame: str | bytes) -> str | None:
        """The frame with which a client must answer this one at once, if it must."""


Note = Callable[[Understood], None]
UNREADABLE = (CloseCode.PROTOCOL_ERROR, CloseCode.INVALID_DATA, CloseCode.MESSAGE_TOO_BIG)  # what it closes with then


def ignore(understood: Understood) -> None:
    """A client that remembers nothing."""


async def read(client: Client, connection: ClientConnection, trace: Trace, wire: Wire, note: Note = ignore) -> None:
    """Read at the client's pace until the connection ends. `note` is told of all that comes."""
    try:
        async for frame in connection:
            for understood in wire.understand(frame):
                note(record(understood, client.name, trace))
            if answer := wire.answer(frame):
                await connection.send(answer)
            if client.pause and (trace.now() or 0.0) < client.hurries:
                await asyncio.sleep(client.pause)
    except ConnectionClosed:
        pass


def record(understood: Understood, name: str, trace: Trace) -> Understood:
    """Note in the Trace what `name` has heard, and return it: a refusal as one of its own words."""
    if understood.kind == "refused":
        refused = understood.message
        understood = Understood("refused", Message(name, refused.refused, id=refused.id))
    if understood.position:
        note_position(understood.position, name, trace)
    else:
        seq, id = (understood.message.seq, understood.message.id) if understood.message else (None, None)
        trace.record(understood.kind, name, understood.label, seq, id)
    return understood


def note_position(position: Position, name: str, trace: Trace) -> None:
    trace.record("welcomed", name, position.epoch, position.seq)
    if gap := position.gap:
        numbers = f"to {gap.last}" if gap.first is None else f"{gap.first} to {gap.last}"
        trace.record("told a gap", name, numbers, position.seq)


class RoomWire:
    """That of this library's rooms (see message.py). `clients` are all who speak: what they said is known when heard,
    once for all who hear the same frame."""

    def __init__(self, clients: Iterable[Client]):
        self.speakers = {client.name: client for client in clients}
        self.understand = lru_cache(maxsize=256)(lambda frame: (self.read(frame),))

    def say(self, name: str, text: str) -> str:
        return encode(Message(name, text))

    def read(self, frame: str | bytes) -> Understood:
        try:
            if position := decode_position(frame):
                return Understood("welcomed", position=position)
            message = decode_reply(frame)
        except MessageError:
            return Understood("garbled", excerpt=excerpt(frame))
        if altered(message, self.speakers):
            return Understood("altered", excerpt=excerpt(frame))
        return Understood("heard" if message.refused is None else "refused", message)

    def answer(self, frame: str | bytes) -> None:
        """Nothing needs one."""


def altered(message: Message, speakers: dict[str, Client]) -> bool:
    """True if the message names a known sender but differs from what that client sent."""
    speaker = speakers.get(message.token)
    if speaker is None or message.refused is not None:
        return False
    return not speaker.may_have_said(message.content)


def why_shut_out(error: Exception) -> str:
    """What a handshake failed of, with what the server says about it, in one line."""
    body = error.response.body if isinstance(error, InvalidStatus) else None
    said = f": {bytes(body).decode(errors='replace')}" if body else ""
    return one_line(f"{describe(error)}{said}", 150)


def why_closed(connection: ClientConnection) -> str:
    """The code and the reason with which the server closed; "" if it closed with none. If our own client did, because
    of what it was sent, that."""
    protocol = connection.protocol
    if (sent := protocol.close_sent) and sent.code in UNREADABLE and not protocol.close_rcvd_then_sent:
        return one_line(f"it could not read what it was sent: {sent.code} {sent.reason}", 100)
    if connection.close_code in (None, CloseCode.ABNORMAL_CLOSURE):
        return ""
    return one_line(f"{connection.close_code} {connection.close_reason}".rstrip(), 100)
