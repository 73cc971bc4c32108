"""The part of the WebSocket protocol (RFC 6455) that the load generators need, on bytes.

Frames are counted by their headers, whatever their lengths. Most neighbours in a stream have the same header; such a
run is counted at once: if every `size` bytes stands the header of a frame of `size` bytes, these are all frames.
"""

import os
from base64 import b64encode
from urllib.parse import urlsplit

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10
OPCODES = (TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG)
NO_FRAME = "the server sent something that is not a WebSocket frame"
WHOLE_TEXT = 0x81  # the first byte of a text message in one frame


def upgrade_request(url: str) -> bytes:
    """With which a client opens a connection (section 4.1)."""
    parts = urlsplit(url)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    key = b64encode(os.urandom(16)).decode()
    return (
        f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )


def frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """A client's frame of less than 64 kB (section 5.2). Its mask is zero, so we need not apply it."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([0x80 | opcode]) + length + bytes(4) + payload


class NotAFrame(ValueError):
    """The bytes are not what a server may send."""


def lengths(data: bytes | bytearray, at: int, end: int) -> tuple[int, int]:
    """The lengths of the header and of the whole frame that begins at `at`; (0, 0) if `data[:end]` ends in its header.

    Raises NotAFrame if no server may send a frame that begins so.
    """
    if end > at and (data[at] & 0x70 or data[at] & 0x0F not in OPCODES):  # no extension was agreed on
        raise NotAFrame(f"{NO_FRAME}: {bytes(data[at : min(end, at + 20)])!r}")
    if end - at < 2:
        return 0, 0
    size = data[at + 1]
    if size < 126:
        header = 2
    elif size > 127:
        raise NotAFrame(f"{NO_FRAME}: {bytes(data[at : min(end, at + 20)])!r}")  # a server does not mask
    else:
        header = 4 if size == 126 else 10
        if end - at < header:
            return 0, 0
        size = int.from_bytes(data[at + 2 : at + header], "big")
    return header, header + size


def run_length(data: bytearray, at: int, end: int, header: int, size: int) -> int:
    """How many frames with the same header follow one another from `at` on, each of `size` bytes."""
    number = (end - at) // size
    if number < 2 or data[at + size + header - 1] != data[at + header - 1]:
        return 1
    last = at + number * size
    for index in range(header):
        column = data[at + index : last : size]  # each frame's byte of this index
        number = min(number, len(column) - len(column.lstrip(column[:1])))
    return number


class Messages:
    """What one client has received: counts the messages that have `mark` in them, once in each.

    It is told of bytes as they arrive, and keeps what is not yet a whole frame, and the frames of a message that is not
    yet whole.
    """

    def __init__(self, mark: bytes):
        self.mark = mark
        self.unread = b""  # received; the beginning of a frame
        self.size = 0  # of the last frames that were alike, and had the mark in one place; 0: none so far
        self.head = b""  # of the last of these, up to the mark
        self.columns: tuple[tuple[int, bytes], ...] = ()  # of each of these: see `remember`
        self.parts: list[bytes] | None = None  # of a message in several frames that has begun
        self.pings: list[bytes] = []  # that are to be answered
        self.closed = False  # by the server, with a frame that says so

    def take(self, buffer: bytearray, end: int) -> tuple[int, bytearray | bytes, int]:
        """Look at `buffer[:end]`, which is `unread` and what has arrived since.

        Returns the number of messages with the mark, and where to read them: a text, and its length.
        """
        if self.size and self.parts is None:
            number, rest = divmod(end, self.size)
            if number and self.are_as_before(buffer, end - rest, number):
                if not rest:
                    self.unread = b""
                    return number, buffer, end
                return self.take_runs(buffer, end, end - rest, number)
        return self.take_runs(buffer, end)

    def are_as_before(self, buffer: bytearray, last: int, number: int) -> bool:
        """Are these `number` frames that have the header and the place of the mark in common with those before?"""
        if number == 1 and buffer.startswith(self.head):
            return True
        size = self.size
        for index, byte in self.columns:
            if buffer[index:last:size] != byte * number:
                return False
        return True

    def take_runs(self, buffer: bytearray, end: int, at: int = 0, count: int = 0) -> tuple[int, bytearray | bytes, int]:
        """The same as `take`, for text frames of any length; `count` were before `at`."""
        while self.parts is None and at < end and buffer[at] == WHOLE_TEXT:
            header, size = lengths(buffer, at, end)
            if not size or size > end - at:
                break
            number = run_length(buffer, at, end, header, size)
            if number > 1 or size == end:
                self.remember(buffer, at, header, size)
            for _ in range(number):
                count += buffer.find(self.mark, at, at + size) >= 0
                at += size
        else:
            if at < end:
                return self.take_one_by_one(buffer, end)
        self.unread = bytes(buffer[at:end])
        return count, buffer, at

    def remember(self, buffer: bytearray, at: int, header: int, size: int) -> None:
        """Note what the frame at `at` looks like, as others will: its header, and the mark's first and last byte."""
        if (found := buffer.find(self.mark, at, at + size)) >= 0:
            self.size, self.head = size, bytes(buffer[at : found + len(self.mark)])
            indices = *range(header), found - at, found - at + len(self.mark) - 1
            self.columns = tuple((index, bytes([buffer[at + index]])) for index in indices)

    def take_one_by_one(self, buffer: bytearray, end: int) -> tuple[int, bytes, int]:
        """The same, for whatever may come: messages in several frames, pings, messages of another kind."""
        messages, at = [], 0
        while True:
            header, size = lengths(buffer, at, end)
            if not size or size > end - at:
                break
            messages += self.take_frame(buffer[at], bytes(buffer[at + header : at + size]))
            at += size
        self.unread = bytes(buffer[at:end])
        marked = [message for message in messages if self.mark in message]
        text = b"".join(marked)
        return len(marked), text, len(text)

    def take_frame(self, first: int, payload: bytes) -> list[bytes]:
        """The message that ends with this frame, if one does."""
        opcode, final = first & 0x0F, first & 0x80
        if opcode >= CLOSE:
            self.closed |= opcode == CLOSE
            self.pings += [payload] if opcode == PING else []
            return []
        if (opcode == CONTINUATION) == (self.parts is None):
            raise NotAFrame("the server sent a frame that continues no message, or a message within another")
        self.parts = [*(self.parts or ()), payload]
        if not final:
            return []
        message, self.parts = b"".join(self.parts), None
        return [message]
