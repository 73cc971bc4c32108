"""What a client makes of the frames that it reads, and of a connection that ends."""

import asyncio
from collections.abc import Callable, Iterable
from functools import lru_cache

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import CloseCode

from chatroom_lib.clients.scenario import Client
from chatroom_lib.message import Message, MessageError, decode_reply
from chatroom_lib.runtime.console import describe, excerpt, one_line
from chatroom_lib.trace import Trace, label

Understand = Callable[[str | bytes], tuple[str, str]]  # the kind of event that a frame is, and what a Trace says of it
Note = Callable[[str, str], None]


def ignore(kind: str, what: str) -> None:
    """A client that remembers nothing."""


async def read(
    client: Client, connection: ClientConnection, trace: Trace, understand: Understand, note: Note = ignore
) -> None:
    """Read at the client's pace until the connection ends. `note` is told of each frame what the Trace says of it."""
    try:
        async for frame in connection:
            kind, what = understand(frame)
            what = label(Message(client.name, what)) if kind == "refused" else what
            trace.record(kind, client.name, what)
            note(kind, what)
            if client.pause:
                await asyncio.sleep(client.pause)
    except ConnectionClosed:
        pass


def understanding(clients: Iterable[Client]) -> Understand:
    """How clients understand a frame, once for all who hear the same: the kind of event, and the message, the content
    that is refused, or what the frame looks like."""
    speakers = {client.name: client for client in clients}

    @lru_cache(maxsize=256)
    def understand(frame):
        try:
            message = decode_reply(frame)
        except MessageError:
            return "garbled", excerpt(frame)
        if altered(message, speakers):
            return "altered", excerpt(frame)
        return ("heard", label(message)) if message.refused is None else ("refused", message.refused)

    return understand


def altered(message: Message, speakers: dict[str, Client]) -> bool:
    """True if the message names a known sender but differs from what that client sent."""
    speaker = speakers.get(message.token)
    if speaker is None or message.refused is not None:
        return False
    number = message.content.partition(" ")[0]
    return not number.isdecimal() or len(number) > 9 or message.content != speaker.text(int(number))


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
