"""Finds a room by what names it: a version, "path/to/file.py:Name", a class, a function, or a room itself."""

import asyncio
import contextlib
import functools
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import websockets

from chatroom_lib.rooms.versions import VERSIONS, Room
from chatroom_lib.runtime.console import describe

RoomSpec = str | Callable[..., Room]  # a version or "path/to/file.py:Name"; a class, or a function that makes a room
METHODS = ("__aenter__", "__aexit__", "handle", "members")  # what every room has
SET_BY_THE_SERVER = ("handler", "host", "port", "process_request", "create_connection")  # of the options there are


class RoomError(ValueError):
    """There is no such room. The text says what was looked for and what there is."""


def resolve(spec: RoomSpec) -> Callable[..., Room]:
    """The class that `spec` names, or the class or function that it is: call it to make a room.

    Raises RoomError if there is none, and for a room object: it is one room, and cannot be made again.
    """
    if isinstance(spec, str):
        return VERSIONS[spec] if spec in VERSIONS else load(spec)
    if isinstance(spec, type):
        require_methods(spec, spec.__name__)
    elif hasattr(spec, "handle") or not callable(spec):
        raise RoomError(
            f"{spec!r:.80} cannot be tried: each run needs a new room, so name the class, or a function that makes one"
        )
    return spec


def create(spec: RoomSpec | Room, unlimited: bool = False) -> Room:
    """A new room of this `spec`; a room object is returned as it is. `unlimited`: without its rate limit, if it has
    one.

    Raises RoomError if there is no such room, or if it cannot be made.
    """
    if hasattr(spec, "handle") and not isinstance(spec, type):
        return spec
    factory = resolve(spec)
    try:
        room = factory(limit=None) if unlimited and takes_a_limit(factory) else factory()
    except (Exception, SystemExit) as error:
        raise RoomError(f"cannot make a room of {display_name(spec)}: {describe(error)}") from error
    require_methods(room, f"what {display_name(spec)} makes")
    require_server_options(room)
    return room


def display_name(spec: RoomSpec | Room) -> str:
    """What to call a room, or the rooms that this makes: the version, or else the name of the class or function."""
    if isinstance(spec, str):
        return spec
    factory = spec.func if isinstance(spec, functools.partial) else spec
    if hasattr(factory, "handle") and not isinstance(factory, type):
        factory = type(factory)
    versions = {version: name for name, version in VERSIONS.items()}
    return versions.get(factory) or getattr(factory, "__name__", "a room")


def takes_a_limit(factory: Callable[..., Room]) -> bool:
    return "limit" in inspect.signature(factory).parameters


def require_methods(room: object, name: str) -> None:
    """Raises RoomError if a room, or its class, lacks what every room has."""
    if missing := [method for method in METHODS if not hasattr(room, method)]:
        raise RoomError(f"{name} is not a room: it lacks {', '.join(missing)}")


def require_server_options(room: Room) -> None:
    """Raises RoomError for `server_options` that `websockets.serve` does not take, or a room may not set."""
    own = getattr(room, "server_options", {})
    if not isinstance(own, Mapping):
        raise RoomError(f"{display_name(room)}.server_options must be a dictionary, not {own!r:.80}")
    takers = websockets.serve, asyncio.BaseEventLoop.create_server  # the former hands the latter what it does not know
    known = {name for taker in takers for name in inspect.signature(taker).parameters} - {*SET_BY_THE_SERVER}
    if unknown := [name for name in own if name not in known]:
        raise RoomError(
            f"{display_name(room)}.server_options: a room cannot set {', '.join(map(repr, unknown))}; it can set what "
            "websockets.serve takes: ping_interval, ping_timeout, compression, max_size, write_limit, ..."
        )


def require_no_arguments(factory: Callable[..., Room], name: str) -> None:
    """Raises RoomError unless a class or a function can be called without saying more."""
    try:
        inspect.signature(factory).bind()
    except TypeError as error:
        raise RoomError(f"cannot make a room of {name}: {error}; try a function that makes one") from None
    except ValueError:
        pass  # it does not say what it takes


def load(spec: str) -> Callable[..., Room]:
    """Run the file of "path/to/file.py:Name", and return what is called so in it: a class, or a function that makes a
    room. The file finds its neighbours, as it does when Python runs it."""
    path, name = split(spec)
    if (folder := str(path.parent.absolute())) not in sys.path:
        sys.path.insert(0, folder)
    factory = getattr(run_file(path), name, None)
    if not callable(factory):
        raise RoomError(f"no class {name!r} in {path}")
    if isinstance(factory, type):
        require_methods(factory, f"{name} in {path}")
    return factory


def split(spec: str) -> tuple[Path, str]:
    """The file and the name in "path/to/file.py:Name". Raises RoomError if there is no such file; it is not run."""
    file, colon, name = spec.rpartition(":")
    path = Path(file)
    if not colon or path.suffix != ".py":
        known = ", ".join(VERSIONS)
        raise RoomError(f"no room {spec!r}: the versions are {known}; a room of your own is path/to/file.py:Class")
    if not path.is_file():
        raise RoomError(f"no file {path}")
    return path, name


def run_file(path: Path) -> ModuleType:
    found = importlib.util.spec_from_file_location(f"room_in_{path.stem}", path)
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module  # dataclasses look their own module up there
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what the file prints is not what was asked for
            found.loader.exec_module(module)
    except (KeyboardInterrupt, RoomError):
        raise
    except BaseException as error:
        raise RoomError(f"{path} does not run: {describe(error)}") from error
    return module
