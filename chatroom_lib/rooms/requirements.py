"""What a room must have, and what it may ask of the server: each check raises RoomError, which says what is wrong."""

import asyncio
import inspect
from collections.abc import Callable, Mapping

import websockets

from chatroom_lib.rooms.handler import Handler, what_is_wrong_with, without_partial
from chatroom_lib.rooms.versions import Room

ASKED_FOR = ("path", "keep", "nats")  # what a run can give a room
METHODS = ("__aenter__", "__aexit__", "handle", "members")  # what every room has
SET_BY_THE_SERVER = ("handler", "host", "port", "process_request", "create_connection")  # of the options there are


class RoomError(ValueError):
    """There is no such room. The text says what was looked for and what there is."""


def require_handler(handler: Handler, name: str) -> None:
    """Raises RoomError unless it can be called with a connection alone."""
    if wrong := what_is_wrong_with(handler):
        raise RoomError(f"{name} is not a handler: {wrong}")


def missing_methods(room: object) -> list[str]:
    return [method for method in METHODS if not hasattr(room, method)]


def require_methods(room: object, name: str) -> None:
    """Raises RoomError if a room, or its class, lacks what every room has."""
    if missing := missing_methods(room):
        raise RoomError(f"{name} is not a room: it lacks {', '.join(missing)}")


def require_server_options(room: Room, name: str) -> None:
    """Raises RoomError for `server_options` that `websockets.serve` does not take, or a room may not set."""
    own = getattr(room, "server_options", {})
    if not isinstance(own, Mapping):
        raise RoomError(f"{name}.server_options must be a dictionary, not {own!r:.80}")
    takers = websockets.serve, asyncio.BaseEventLoop.create_server  # the former hands the latter what it does not know
    known = {name for taker in takers for name in inspect.signature(taker).parameters} - {*SET_BY_THE_SERVER}
    if unknown := [name for name in own if name not in known]:
        raise RoomError(
            f"{name}.server_options: a room cannot set {', '.join(map(repr, unknown))}; it can set what "
            "websockets.serve takes: ping_interval, ping_timeout, compression, max_size, write_limit, ..."
        )


def takes(factory: Callable[..., Room], parameter: str) -> bool:
    try:
        return parameter in inspect.signature(factory).parameters
    except ValueError:  # it does not say what it takes
        return False


def require_no_arguments(factory: Callable[..., Room], name: str, **given) -> None:
    """Raises RoomError unless a class or a function can be called without saying more than is `given`."""
    try:
        inspect.signature(factory).bind(**given)
    except TypeError as error:
        raise RoomError(f"cannot make a room of {name}: {error}; {how_to_make(factory, name)}") from None
    except ValueError:
        pass  # it does not say what it takes


def require_makeable(factory: Callable[..., Room], name: str) -> None:
    """Raises RoomError unless a run can make a room of this class or function: it may ask for a `path`, for how many
    messages to `keep` and for `nats`, the address of a NATS server, and for no more."""
    require_no_arguments(factory, name, **{asked: None for asked in ASKED_FOR if takes(factory, asked)})


def how_to_make(factory: Callable[..., Room], name: str) -> str:
    """What to write in place of a class or a function that takes arguments."""
    file, _, own = name.rpartition(":")
    if not isinstance(without_partial(factory), type):
        good = own if own.isidentifier() else "handler"
        return f"a function that makes a room takes none; a handler is async: async def {good}(websocket)"
    way = f"def make_room(): return {own}(...), in that file" if file else f"lambda: {own}(...)"
    return f"try a function that makes one: {way}"
