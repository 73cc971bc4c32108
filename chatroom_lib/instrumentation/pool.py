"""Which clients are in a room's pool."""

import inspect
from collections.abc import Iterable

from websockets.asyncio.server import ServerConnection

from chatroom_lib.instrumentation.primitives import observe_all
from chatroom_lib.trace import Trace

WANTED = "members() must list connections"


class Pool:
    """Notes in a Trace which clients enter a room's pool and which are removed from it, by asking `members()`.

    Observes the room's locks, queues and channels too, as they appear.
    """

    def __init__(self, room, trace: Trace):
        self.room, self.trace = room, trace
        self.seen = []
        observe_all(room, trace)

    def update(self) -> None:
        members = listed(self.room)
        if members == self.seen:
            return
        for member in members:
            if not isinstance(member, ServerConnection):
                raise TypeError(f"{WANTED}, and one of its items is {member!r:.80}")
        for connection in self.seen:
            if connection not in members:
                self.trace.record("removed", connection.name)
        for connection in members:
            if connection not in self.seen:
                self.trace.record("entered", connection.name)
        self.seen = members
        observe_all(self.room, self.trace)


def listed(room) -> list:
    """What `members()` lists. Raises RuntimeError if it fails, and TypeError if it returns something else."""
    try:
        members = room.members()
        if isinstance(members, Iterable):
            return list(members)
    except Exception as error:
        raise RuntimeError(f"{WANTED}, and raised {type(error).__name__}: {error}") from error
    if inspect.iscoroutine(members):
        members.close()  # or Python would say that nobody has awaited it
        raise TypeError(f"{WANTED}, and is a coroutine: write def members(self), without async")
    raise TypeError(f"{WANTED}, and returned {members!r:.80}")
