"""The part of the WebSocket protocol that the load generator needs, on bytes."""


def frame(text: bytes) -> bytes:
    """A client's text frame of less than 64 kB (RFC 6455, section 5.2). Its mask is zero, so we need not apply it."""
    length = bytes([0x80 | len(text)]) if len(text) < 126 else b"\xfe" + len(text).to_bytes(2, "big")
    return b"\x81" + length + bytes(4) + text


class NotATextFrame(ValueError):
    """The bytes do not begin with a text frame of less than 64 kB."""


def lengths(data: bytes) -> tuple[int, int]:
    """The lengths, in bytes, of the header and the payload of the server's frame at the start of `data`.

    `data` has at least 4 bytes. Raises NotATextFrame if it begins with anything else.
    """
    if data[0] != 0x81 or data[1] > 126:
        raise NotATextFrame(f"this is not a text frame of less than 64 kB: {data[:20]!r}")
    return (2, data[1]) if data[1] < 126 else (4, int.from_bytes(data[2:4], "big"))
