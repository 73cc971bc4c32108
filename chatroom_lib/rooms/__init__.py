"""Every version of the room, one file each, in the order in which the story tells them.

A version copies its predecessor and changes what its chapter changes, so that the difference between two files
is the lesson. A new version is a new file here and a new line in VERSIONS.
"""

import contextlib
import functools
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from websockets.asyncio.server import ServerConnection

from chatroom_lib.rooms import v1, v1_1, v2, v2_rw, v3, v3_1, v3_2, v4

VERSIONS = {
    "v1": v1.Room,
    "v1.1": v1_1.Room,
    "v2": v2.Room,
    "v2-rw": v2_rw.Room,
    "v3": v3.Room,
    "v3.1": v3_1.Room,
    "v3.2": v3_2.Room,
    "v4": v4.Room,
}


class Room(Protocol):
    """What a class must offer to be a room here. (No room inherits from this: it is a description.)"""

    async def __aenter__(self): ...  # start what runs beside the visits, a hub for example

    async def __aexit__(self, *exc): ...  # stop it

    async def handle(self, connection: ServerConnection) -> None: ...  # one visit; ends when the client leaves

    def members(self) -> list[ServerConnection]: ...  # whom a message would be sent to now


class RoomError(ValueError):
    """There is no such room. The text says what was looked for and what there is."""


def get(name: str) -> Callable[[], Room]:
    """The room class called `name`: a version ("v1.1") or a file and a class in it ("my/room.py:Room")."""
    if name in VERSIONS:
        return VERSIONS[name]
    path, colon, class_name = name.rpartition(":")
    if not colon or not path.endswith(".py"):
        known = ", ".join(VERSIONS)
        raise RoomError(f"no room {name!r}: the versions are {known}; a room of your own is path/to/file.py:Class")
    return load(Path(path), class_name)


def load(path: Path, class_name: str) -> Callable[[], Room]:
    if not path.is_file():
        raise RoomError(f"no file {path}")
    spec = importlib.util.spec_from_file_location(f"room_in_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their own module up there
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what the file prints is not what was asked for
            spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise RoomError(f"{path} does not run: {type(error).__name__}: {error}") from error
    room = getattr(module, class_name, None)
    if not callable(room):
        raise RoomError(f"no class {class_name!r} in {path}")
    require_room(room, f"{class_name} in {path}")
    return room


def require_room(thing, name: str) -> None:
    """Raises RoomError if `thing`, a class or an object, lacks what every room has."""
    if missing := [method for method in ("__aenter__", "__aexit__", "handle", "members") if not hasattr(thing, method)]:
        raise RoomError(f"{name} is not a room: it lacks {', '.join(missing)}")


def make(name: str, unlimited: bool = False) -> Room:
    """A new room called `name` (see `get`). `unlimited`: without its rate limit, if it has one."""
    room = get(name)
    try:
        return without_limit(room) if unlimited else room()
    except (Exception, SystemExit) as error:
        raise RoomError(f"cannot make a room of {name}: {type(error).__name__}: {error}") from error


def without_limit(room: Callable[..., Room]) -> Room:
    """A new room that this makes, without its rate limit, if it has one."""
    return room(limit=None) if "limit" in inspect.signature(room).parameters else room()


def new(room: "str | Callable[[], Room] | Room") -> Room:
    """A room object: a new one of a version ("v1"), of a class or of a function that makes one; or `room` itself."""
    if isinstance(room, str):
        room = get(room)
    return room() if isinstance(room, type) or not hasattr(room, "handle") else room


def name_of(room: Room) -> str:
    """What to call a room: its version, or else its class's own name."""
    return called(type(room))


def called(room: "str | Callable[[], Room]") -> str:
    """What to call the rooms that this makes."""
    if isinstance(room, str):
        return room
    room = room.func if isinstance(room, functools.partial) else room
    return next((name for name, version in VERSIONS.items() if room is version), getattr(room, "__name__", "a room"))
