"""Watching a room from outside, without a line of measuring code inside it: what it reads from and sends to each
client, and who is in its pool.

Its tasks are watched by `tasks.py`, its locks, queues and channels by `primitives.py`.
"""

import asyncio
from functools import cached_property, lru_cache
from urllib.parse import quote, unquote

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from chatroom_lib.message import MessageError, decode
from chatroom_lib.primitives import observe_all
from chatroom_lib.trace import Trace, label

AGENT = "chatroom-client "


def user_agent(name: str) -> str:
    """The User-Agent header in which a client tells `stated_name` its name."""
    return AGENT + quote(name)


def stated_name(connection) -> str | None:
    """What a client calls itself, in the User-Agent header of its handshake; None if it does not say."""
    agent = connection.request.headers.get("User-Agent", "") if connection.request else ""
    return unquote(agent.removeprefix(AGENT)) if agent.startswith(AGENT) else None


def name_of_client(connection) -> str:
    """What a client calls itself, or its address."""
    name = stated_name(connection)
    if name is not None:
        return name
    return "{}:{}".format(*(connection.remote_address or ("?", "?"))[:2])


class ObservedConnection(ServerConnection):
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
            if self.protocol.state is State.OPEN and self.trace.clock and bytes(data[:4]) != b"HTTP":
                self.trace.writes[self.name] += 1
            write(data)

        transport.write = counted_write
        super().connection_made(transport)

    async def recv(self, decode=None):
        frame = await super().recv(decode)
        self.trace.record("accepted", self.name, label_of(frame))
        return frame

    async def recv_streaming(self, decode=None):
        parts = []
        async for part in super().recv_streaming(decode):
            parts.append(part)
            yield part
        self.trace.record("accepted", self.name, label_of(type(part)().join(parts)))

    async def send(self, message, *, text=None):
        said = label_of(message)
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
def label_of(frame) -> str:
    try:
        return label(decode(frame))
    except MessageError:
        return "?"


class Pool:
    """Notes in a Trace who enters a room's pool and who is removed from it, by looking at `members()`.

    Observes the room's locks, queues and channels too, as it comes to see them.
    """

    def __init__(self, room, trace: Trace):
        self.room, self.trace = room, trace
        self.seen = []
        observe_all(room, trace)

    def look(self) -> None:
        members = list(self.room.members())
        if members == self.seen:
            return
        for member in members:
            if not isinstance(member, ServerConnection):
                raise TypeError(f"members() must list connections, and one of its items is {member!r:.80}")
        for connection in self.seen:
            if connection not in members:
                self.trace.record("removed", connection.name)
        for connection in members:
            if connection not in self.seen:
                self.trace.record("entered", connection.name)
        self.seen = members
        observe_all(self.room, self.trace)
