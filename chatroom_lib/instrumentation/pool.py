"""Which clients are in a room's pool."""

import inspect
import weakref
from collections.abc import Iterable

from websockets.asyncio.server import ServerConnection

from chatroom_lib.instrumentation.primitives import observe_all
from chatroom_lib.trace import Trace

WANTED = "members() must list connections"


class Pool:
    """Notes in a Trace which clients enter a room's pool and which are removed from it, by asking `members()`.

    Observes the room's locks, queues and channels too, as they appear.
    """

    def __init__(self, room, trace: Trace, server: int = 0):
        self.room, self.trace, self.which = room, trace, trace.which(server)
        self.ids: list[int] | None = None  # of the members; None: look again
        # id -> (connection, name, since when); the room alone decides how long a connection is kept
        self.seen: dict[int, tuple[weakref.ref, str, float]] = {}
        self.ended = False
        observe_all(room, trace, self.which)

    def update(self) -> None:
        if self.ended:
            return
        members = listed(self.room)
        ids = list(map(id, members))
        if ids == self.ids:
            return
        require_connections(members)
        present = set(ids)
        for key in [key for key, (kept, *_) in self.seen.items() if key not in present or not kept()]:
            self.remove(key)
        new = [(key, connection) for key, connection in zip(ids, members) if key not in self.seen]
        for key, connection in new:
            self.trace.record("entered", connection.name)
            self.seen[key] = weakref.ref(connection, self.look_again), connection.name, self.trace.now() or 0.0
        self.ids = ids
        if new:
            observe_all(self.room, self.trace, self.which)

    def look_again(self, _) -> None:
        """A connection is no more, and its id may be another one's soon. Noted at the end of the step, since when in it
        Python throws a connection away depends on Python's version."""
        self.ids = None

    def end(self) -> None:
        """The room is no more: whoever was in it is in no pool."""
        self.ended = True
        for key in list(self.seen):
            self.remove(key)

    def remove(self, key: int) -> None:
        _, name, since = self.seen.pop(key)
        what = self.trace.in_since(name, since)
        self.trace.record("removed", name, what, not_before=since)  # a simulated room's clock may be ahead


def require_connections(members: list) -> None:
    """Raises TypeError if one of these is no connection."""
    for member in members:
        if not isinstance(member, ServerConnection):
            raise TypeError(f"{WANTED}, and one of its items is {member!r:.80}")


def connections_listed(room) -> list[ServerConnection]:
    """What `members()` lists. Raises RuntimeError if it fails, and TypeError if those are no connections."""
    members = listed(room)
    require_connections(members)
    return members


def listed(room) -> list:
    """What `members()` lists. Raises RuntimeError if it fails, and TypeError if it returns something else."""
    try:
        members = room.members()
        if type(members) is list:  # no copy: this is asked after every step of the room
            return members
        if isinstance(members, Iterable):
            return list(members)
    except Exception as error:
        raise RuntimeError(f"{WANTED}, and raised {type(error).__name__}: {error}") from error
    if inspect.iscoroutine(members):
        members.close()  # or Python would say that nobody has awaited it
        raise TypeError(f"{WANTED}, and is a coroutine: write def members(self), without async")
    raise TypeError(f"{WANTED}, and returned {members!r:.80}")
