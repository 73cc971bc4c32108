"""What a client makes of the frames that it reads, and of a connection that ends."""

import asyncio
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import CloseCode

from chatroom_lib.clients.scenario import Client
from chatroom_lib.message import Message, MessageError, Position, decode_position, decode_reply
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


Understand = Callable[[str | bytes], Understood]
Note = Callable[[Understood], None]


def ignore(understood: Understood) -> None:
    """A client that remembers nothing."""


async def read(
    client: Client, connection: ClientConnection, trace: Trace, understand: Understand, note: Note = ignore
) -> None:
    """Read at the client's pace until the connection ends. `note` is told of each frame."""
    try:
        async for frame in connection:
            understood = understand(frame)
            if understood.kind == "refused":
                refused = understood.message
                understood = Understood("refused", Message(client.name, refused.refused, id=refused.id))
            if understood.position:
                note_position(understood.position, client.name, trace)
            else:
                seq, id = (understood.message.seq, understood.message.id) if understood.message else (None, None)
                trace.record(understood.kind, client.name, understood.label, seq, id)
            note(understood)
            if client.pause:
                await asyncio.sleep(client.pause)
    except ConnectionClosed:
        pass


def note_position(position: Position, name: str, trace: Trace) -> None:
    trace.record("welcomed", name, position.epoch, position.seq)
    if gap := position.gap:
        numbers = f"to {gap.last}" if gap.first is None else f"{gap.first} to {gap.last}"
        trace.record("told a gap", name, numbers, position.seq)


def understanding(clients: Iterable[Client]) -> Understand:
    """How clients understand a frame, once for all who hear the same."""
    speakers = {client.name: client for client in clients}

    @lru_cache(maxsize=256)
    def understand(frame):
        try:
            if position := decode_position(frame):
                return Understood("welcomed", position=position)
            message = decode_reply(frame)
        except MessageError:
            return Understood("garbled", excerpt=excerpt(frame))
        if altered(message, speakers):
            return Understood("altered", excerpt=excerpt(frame))
        return Understood("heard" if message.refused is None else "refused", message)

    return understand


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
    """The code and the reason with which the server closed; "" if it closed with none."""
    if connection.close_code in (None, CloseCode.ABNORMAL_CLOSURE):
        return ""
    return one_line(f"{connection.close_code} {connection.close_reason}".rstrip(), 100)
