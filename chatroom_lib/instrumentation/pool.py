"""Which clients are in a room's pool."""

from websockets.asyncio.server import ServerConnection

from chatroom_lib.instrumentation.primitives import observe_all
from chatroom_lib.trace import Trace


class Pool:
    """Notes in a Trace which clients enter a room's pool and which are removed from it, by asking `members()`.

    Observes the room's locks, queues and channels too, as they appear.
    """

    def __init__(self, room, trace: Trace):
        self.room, self.trace = room, trace
        self.seen = []
        observe_all(room, trace)

    def update(self) -> None:
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
