"""What is an ASGI application, and what is something else."""

import inspect
from collections.abc import Callable

from chatroom_lib.rooms.asgi.room import App
from chatroom_lib.rooms.handler import handler_name, is_handler, refuses, without_partial
from chatroom_lib.rooms.requirements import RoomError
from chatroom_lib.runtime.console import one_line


def is_application(thing: object) -> bool:
    """Can it be called with scope, receive and send?"""
    if isinstance(thing, type) and not hasattr(thing, "__await__"):
        return False
    return callable(thing) and takes(thing, 3)


def is_certainly_one(thing: object) -> bool:
    """Is it an application and no handler?"""
    return is_handler(thing) and is_application(thing) and not takes(thing, 1)


def takes(thing: Callable, count: int) -> bool:
    try:
        return not refuses(inspect.signature(thing), count)
    except (TypeError, ValueError):  # it does not say what it takes
        return False


def make(function: object, name: str) -> App:
    """What a function without arguments makes. Raises RoomError unless that is an application."""
    wanted = (
        "it would take scope, receive and send, or no arguments if it makes one (a room of another kind is "
        "path/to/file.py:NAME)"
    )
    if isinstance(function, type) or not callable(function) or not takes(function, 0):
        raise RoomError(f"{name} is no ASGI application: {wanted}")
    app = function()
    if inspect.iscoroutine(app):
        app.close()  # or Python would say that nobody has awaited it
    if not is_application(app):
        raise RoomError(f"what {name} makes is no ASGI application, but {one_line(repr(app), 80)}")
    return app


def name_of(app: object) -> str:
    return handler_name(without_partial(app))
