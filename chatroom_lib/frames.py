"""WebSocket frames made once for many connections."""

from websockets.asyncio.server import ServerConnection
from websockets.frames import Frame, Opcode


def frames(payloads: list[bytes], connection: ServerConnection) -> bytes:
    """A text frame for each payload, UTF-8, compressed if that is what `connection` has negotiated."""
    extensions = connection.protocol.extensions
    return b"".join(Frame(Opcode.TEXT, payload).serialize(mask=False, extensions=extensions) for payload in payloads)


def frame_key(connection: ServerConnection):
    """Connections with equal keys can be sent the same bytes.

    Without compression all keys are equal. With it, they are for connections that agreed on the same parameters and
    start each message afresh; a connection whose compressor remembers earlier messages ("context takeover", RFC 7692)
    is like no other.
    """
    extensions = connection.protocol.extensions
    if all(getattr(extension, "local_no_context_takeover", False) for extension in extensions):
        return repr(extensions)
    return connection
