"""Every version of the room, one file each; versions.py lists them.

A version copies its predecessor and changes what its chapter changes, so that the difference between two files
is the lesson.
"""

from chatroom_lib.rooms.loader import RoomSpec, create, display_name, resolve
from chatroom_lib.rooms.requirements import RoomError
from chatroom_lib.rooms.versions import VERSIONS, Room

__all__ = ["VERSIONS", "Room", "RoomError", "RoomSpec", "create", "display_name", "resolve"]
