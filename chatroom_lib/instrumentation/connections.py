"""What a room reads from each client, and what it sends to it."""

import asyncio
from functools import cached_property, lru_cache

from websockets.exceptions import ConnectionClosed
from websockets.frames import Opcode
from websockets.protocol import OPEN

from chatroom_lib.instrumentation.names import name_of_client
from chatroom_lib.message import MessageError, decode_reply
from chatroom_lib.runtime.connection import BoundedConnection
from chatroom_lib.trace import Trace, label

PING = 0x80 | Opcode.PING  # the first byte of its frame


class ObservedConnection(BoundedConnection):
    """A server's connection that notes in a Trace what the room reads and sends.

    Two sends at once are noted as `overlap`: the check that makes gorilla's Go library panic with "concurrent
    write to websocket connection". (`websockets` writes each frame whole and then waits, so nothing breaks here.)
    """

    def __init__(self, *args, trace: Trace, **options):
        super().__init__(*args, **options)
        self.trace = trace
        self.sending = 0  # tasks inside send()

    @cached_property
    def name(self) -> str:
        return name_of_client(self)

    def connection_made(self, transport):
        """Count writes to the transport: frames, not the handshakes."""
        write = transport.write

        def counted_write(data):
            if self.trace.clock and self.protocol.state is OPEN and bytes(data[:4]) != b"HTTP":
                self.trace.writes[self.name] += 1
                self.trace.pings[self.name] += data[0] == PING
            write(data)

        transport.write = counted_write
        super().connection_made(transport)

    def connection_lost(self, exc):
        super().connection_lost(exc)
        vars(self.transport).pop("write", None)  # which refers to this connection

    async def recv(self, decode=None):
        frame = await super().recv(decode)
        self.note_accepted(frame)
        return frame

    async def recv_streaming(self, decode=None):
        parts = []
        async for part in super().recv_streaming(decode):
            parts.append(part)
            yield part
        self.note_accepted(type(part)().join(parts))

    def name_of(self, frame) -> tuple[str, str | None]:
        """What the Trace calls the message in a frame, and its id."""
        if not self.trace.wire:
            return name_of(frame)
        understood = self.trace.wire.understand(frame)
        return understood[0].label if understood else "?", None

    def note_accepted(self, frame):
        said, id = self.name_of(frame)
        self.trace.record("accepted", self.name, said, id=id)

    async def send(self, message, *, text=None):
        said, _ = self.name_of(message)
        self.trace.record("overlap" if self.sending else "sending", self.name, said)
        self.sending += 1
        try:
            await super().send(message, text=text)
        except ConnectionClosed:
            self.trace.record("failed", self.name, said)
            raise
        except asyncio.CancelledError:
            self.trace.record("given up", self.name, said)
            raise
        finally:
            self.sending -= 1
        self.trace.record("sent", self.name, said)


@lru_cache(maxsize=256)
def name_of(frame) -> tuple[str, str | None]:
    """What a Trace calls the message in a frame, and its id."""
    try:
        message = decode_reply(frame)
        return label(message), message.id
    except MessageError:
        return "?", None
