"""Which clients are in a room's pool."""

import weakref

from websockets.asyncio.server import ServerConnection

from chatroom_lib.instrumentation.primitives import observe_all
from chatroom_lib.trace import Trace


class Pool:
    """Notes in a Trace which clients enter a room's pool and which are removed from it, by asking `members()`.

    Observes the room's locks, queues and channels too, as they appear.
    """

    def __init__(self, room, trace: Trace):
        self.room, self.trace = room, trace
        self.ids: list[int] = []  # of the members
        self.seen: dict[int, tuple[weakref.ref, str]] = {}  # the room alone decides how long a connection is kept
        observe_all(room, trace)

    def update(self) -> None:
        members = list(self.room.members())
        ids = list(map(id, members))
        if ids == self.ids:
            return
        for member in members:
            if not isinstance(member, ServerConnection):
                raise TypeError(f"members() must list connections, and one of its items is {member!r:.80}")
        present = set(ids)
        for key in [key for key in self.seen if key not in present]:
            self.remove(key)
        for key, connection in zip(ids, members):
            if key not in self.seen:
                self.trace.record("entered", connection.name)
                self.seen[key] = weakref.ref(connection, lambda _, key=key: self.remove(key)), connection.name
        self.ids = ids
        observe_all(self.room, self.trace)

    def remove(self, key: int) -> None:
        self.ids = []
        if key in self.seen:
            self.trace.record("removed", self.seen.pop(key)[1])
