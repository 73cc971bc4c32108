"""Finds a room by what names it: a version, "path/to/file.py:Name", a class, a function that makes a room, a handler,
or a room itself."""

import contextlib
import functools
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from chatroom_lib.rooms.asgi import asgi
from chatroom_lib.rooms.asgi.kinds import is_certainly_one
from chatroom_lib.rooms.asgi.room import AsgiRoom
from chatroom_lib.rooms.handler import (
    Handler,
    HandlerRoom,
    handler_name,
    is_handler,
    makes_handlers,
    without_partial,
)
from chatroom_lib.rooms.requirements import (
    RoomError,
    missing_methods,
    require_handler,
    require_methods,
    require_no_arguments,
    require_server_options,
    takes,
)
from chatroom_lib.rooms.versions import VERSIONS, Room
from chatroom_lib.runtime.console import describe

# A version or "path/to/file.py:Name"; a class, or a function that makes a room; a handler.
RoomSpec = str | Callable[..., Room] | Handler


def resolve(spec: RoomSpec) -> Callable[..., Room]:
    """What makes rooms of this `spec` when it is called: the class that it names, or the class or function that it is.
    For a handler, it makes rooms around it.

    Raises RoomError if there is none, and for a room object: it is one room, and cannot be made again.
    """
    if isinstance(spec, str):
        return VERSIONS[spec] if spec in VERSIONS else load(spec)
    if is_room_object(spec) or not callable(spec):
        raise RoomError(
            f"{spec!r:.80} cannot be tried: each run needs a new room, so name the class, or a function that makes one"
        )
    return factory_of(spec, display_name(spec))


def factory_of(thing: Callable, name: str) -> Callable[..., Room]:
    """What makes rooms: a class or a function does, and a room around a handler can be made. Raises RoomError."""
    if is_certainly_one(thing):
        return asgi(thing)
    if is_handler(thing):
        require_handler(thing, name)
        return functools.partial(HandlerRoom, thing)
    if isinstance(thing, type) and not makes_handlers(thing):
        require_methods(thing, name)
    return thing


def create(
    spec: RoomSpec | Room,
    unlimited: bool = False,
    path: str | None = None,
    keep: int | None = None,
    nats: str | None = None,
) -> Room:
    """A new room of this `spec`; a room object is returned as it is. `unlimited`: without its rate limit, if it has
    one. `path`: of the file in which it keeps what it must not lose, if it has one; `keep`: how many messages, if it
    can be told; `nats`: the address of the NATS server that it shares with others, if it does.

    Raises RoomError if there is no such room, or if it cannot be made.
    """
    if is_room_object(spec):
        return spec
    factory, name = resolve(spec), display_name(spec)
    given: dict[str, object] = {"limit": None} if unlimited and takes(factory, "limit") else {}
    asked = {"path": path, "keep": keep, "nats": nats}
    given |= {name: value for name, value in asked.items() if value is not None and takes(factory, name)}
    require_no_arguments(factory, name, **given)
    try:
        made = factory(**given)
    except RoomError:
        raise
    except (Exception, SystemExit) as error:
        raise RoomError(f"cannot make a room of {name}: {describe(error)}") from error
    room = as_room(made, name)
    require_server_options(room, display_name(room))
    return room


def as_room(made: object, name: str) -> Room:
    """What the class or function of that name has made: a room, or a handler, around which one is made. Raises
    RoomError."""
    if inspect.iscoroutine(made):
        made.close()  # or Python would say that nobody has awaited it
        raise RoomError(f"what {name} makes is a coroutine: a function that makes a room must not be async")
    if missing_methods(made) and is_handler(made):
        require_handler(made, f"what {name} makes")
        return HandlerRoom(made)
    require_methods(made, f"what {name} makes")
    return made


def is_room_object(thing: object) -> bool:
    return hasattr(thing, "handle") and not isinstance(thing, type)


def display_name(spec: RoomSpec | Room) -> str:
    """What to call a room, or the rooms that this makes: the version, or else the name of the class or function."""
    if isinstance(spec, str):
        return spec
    if isinstance(spec, HandlerRoom):
        return handler_name(spec.handler)
    if isinstance(spec, AsgiRoom):
        return spec.name
    if isinstance(spec, functools.partial) and spec.func is HandlerRoom:
        return handler_name(spec.args[0])
    factory = type(spec) if is_room_object(spec) else without_partial(spec)
    versions = [name for name, version in VERSIONS.items() if version is factory]
    return versions[0] if versions else handler_name(factory)


def load(spec: str) -> Callable[..., Room]:
    """Run the file of "path/to/file.py:Name", and return what makes rooms of the class, the function or the handler
    that is called so in it. The file finds its neighbours, as it does when Python runs it."""
    path, name = split(spec)
    if (folder := str(path.parent.absolute())) not in sys.path:
        sys.path.insert(0, folder)
    thing = getattr(run_file(path), name, None)
    if is_certainly_one(thing):
        return asgi(spec)  # which runs the file anew for each room
    if is_room_object(thing):
        raise RoomError(f"{name} in {path} is one room; name its class, or a function that makes one")
    if not callable(thing):
        raise RoomError(f"no class {name!r} in {path}, nor a function")
    return factory_of(thing, f"{name} in {path}")


def split(spec: str) -> tuple[Path, str]:
    """The file and the name in "path/to/file.py:Name". Raises RoomError if there is no such file; it is not run."""
    file, colon, name = spec.rpartition(":")
    path = Path(file)
    if not colon or path.suffix != ".py":
        known = ", ".join(VERSIONS)
        raise RoomError(f"no room {spec!r}: the versions are {known}; a room of your own is path/to/file.py:NAME")
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
