"""What is tried, ready for another process, and how."""

import os
from typing import NamedTuple

from chatroom_lib import rooms
from chatroom_lib.checker.guarantees import Guarantees
from chatroom_lib.checker.scenarios import Scenarios
from chatroom_lib.rooms.handler import HandlerRoom, is_handler
from chatroom_lib.rooms.packing import packed
from chatroom_lib.runs.event_loop import Schedule
from chatroom_lib.runs.simulation import require_fresh_globals
from chatroom_lib.runtime.console import one_line

ERRORS = {"TypeError": TypeError, "ValueError": ValueError}


class Package(NamedTuple):
    """A room, scenarios and guarantees, ready for another process."""

    name: str  # what to call the room
    data: bytes
    guarantees: tuple[str, ...]  # their names

    def problem(self, error: str, text: str) -> ValueError | TypeError:
        """What to raise about it, by the name of the error."""
        file = self.name.rpartition(":")[0]
        if file:
            text = text.replace(os.path.abspath(file), file)  # as the user calls it
        return ERRORS.get(error, rooms.RoomError)(one_line(text, 300))


def pack(room, scenarios: Scenarios, guarantees: Guarantees) -> Package:
    """`room`: a name, a class, a function that makes one, or a handler. Raises RoomError if they cannot go to another
    process."""
    if is_handler(room):
        require_fresh_globals(HandlerRoom(room))
    data = packed(room, scenarios, guarantees, code_of=[*scenarios.values(), *guarantees.values()])
    return Package(rooms.display_name(room), data, tuple(guarantees))


class Conditions(NamedTuple):
    """How each run takes place."""

    schedule: Schedule = "fifo"  # this and the next as for `simulate`
    keepalive: float | None = None
    time_limit: float = 30.0  # seconds of the process's own time (own_time.py) that a run may take
    memory_limit: int = 1 << 30  # bytes that the room, and what is noted about it, may take

    @property
    def of_a_run(self) -> dict:
        """Those that `simulate` takes."""
        return {"schedule": self.schedule, "keepalive": self.keepalive}
