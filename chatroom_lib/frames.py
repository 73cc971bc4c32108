"""WebSocket frames that are built once and sent to many connections."""

from collections.abc import Hashable

from websockets.asyncio.server import ServerConnection
from websockets.frames import Frame, Opcode

PING = Frame(Opcode.PING, b"").serialize(mask=False)  # the same for everybody: control frames are never compressed


def frames(payloads: list[bytes], connection: ServerConnection) -> bytes:
    """The bytes of a text frame for each payload (UTF-8), compressed if `connection` has negotiated that."""
    extensions = connection.protocol.extensions
    return b"".join(Frame(Opcode.TEXT, payload).serialize(mask=False, extensions=extensions) for payload in payloads)


def frame_key(connection: ServerConnection) -> Hashable:
    """Connections with equal keys can be sent the same bytes.

    Without compression all keys are equal. With it, they are equal for connections that negotiated the same parameters
    and compress each message afresh; a connection whose compressor remembers earlier messages ("context takeover",
    RFC 7692) has a key of its own.
    """
    extensions = connection.protocol.extensions
    if all(getattr(extension, "local_no_context_takeover", False) for extension in extensions):
        return repr(extensions)
    return connection
