"""A room as bytes, for another process that makes its own of them."""

import contextlib
import os
import sys
from collections.abc import Iterable

import cloudpickle

from chatroom_lib.rooms.handler import is_handler, without_partial
from chatroom_lib.rooms.loader import RoomSpec, display_name
from chatroom_lib.rooms.requirements import RoomError
from chatroom_lib.rooms.versions import VERSIONS
from chatroom_lib.runtime.console import describe


def packed(room: RoomSpec, *more, code_of: Iterable = ()) -> bytes:
    """`(room, *more)`, for `cloudpickle.loads`. The code of what is in `code_of` goes along, as the room's does.

    Raises RoomError if they cannot go to another process.
    """
    name = display_name(room)
    try:
        if isinstance(room, str) and room not in VERSIONS:
            room = os.path.abspath(room)  # a room may change its folder
        with everything_by_value(room, *code_of):
            return cloudpickle.dumps((room, *more))
    except Exception as error:  # whatever the objects that the room refers to may raise
        raise RoomError(
            f"{name} cannot be sent to another process to be tried: {describe(error)}. "
            "Let it refer to nothing that runs or is open, or put it into a file and name that: path/to/file.py:NAME"
        ) from error


@contextlib.contextmanager
def everything_by_value(*things):
    """Send along the code of modules that another process could not import by their name, and of those of handlers:
    what is in their globals is to be new in each run."""
    handlers = {module_of(thing) for thing in things if is_handler(thing)}
    names = {module_of(thing) for thing in things} - {None, "__main__"}
    names = {name for name in names if name in handlers or not importable(name.partition(".")[0])}
    sent = [sys.modules[name] for name in names if name in sys.modules]
    for module in sent:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in sent:
            cloudpickle.unregister_pickle_by_value(module)


def module_of(thing) -> str | None:
    return getattr(without_partial(thing), "__module__", None)


def importable(name: str) -> bool:
    """Would `import` find this module, if it were not loaded yet?"""
    return any(finder.find_spec(name, None) for finder in sys.meta_path if hasattr(finder, "find_spec"))
