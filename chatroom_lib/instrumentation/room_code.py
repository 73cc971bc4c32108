"""Which code is the room's, and which stands around it: one answer for traces, memory, profiles and the watchdog.

Around a room stand Python's standard library, `websockets`, and this package. Everything else is the room's: its own
file or notebook cell, whatever that imports, and the rooms that come with this package (without those that stand
around a handler or an ASGI application).
"""

import os
import sysconfig
from functools import cache
from pathlib import Path
from types import CodeType, FrameType

import websockets

PACKAGE = Path(__file__).parent.parent


def folders(*paths: "Path | str") -> tuple[str, ...]:
    return tuple(str(path) + os.sep for path in paths)


OURS, OUR_ROOMS = folders(PACKAGE), folders(PACKAGE / "rooms", PACKAGE / "reference_rooms")
AROUND_OTHERS = (str(PACKAGE / "rooms" / "handler.py"), *folders(PACKAGE / "rooms" / "asgi"))
WEBSOCKETS = folders(Path(websockets.__file__).parent)
STANDARD_LIBRARY = folders(*{sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}, Path(os.__file__).parent)
INSTALLED = folders(*{sysconfig.get_path(name) for name in ("purelib", "platlib")})  # may lie inside the former


@cache
def is_room_code(path: str) -> bool:
    """Is the code in the file `path`, as in `frame.f_code.co_filename`, the room's own?"""
    if path.startswith(OURS):
        return path.startswith(OUR_ROOMS) and not path.startswith(AROUND_OTHERS)
    if path.startswith(STANDARD_LIBRARY):
        return path.startswith(INSTALLED) and not path.startswith(WEBSOCKETS)
    return not path.startswith((*WEBSOCKETS, "<frozen "))


@cache
def is_written_for_the_room(path: str) -> bool:
    """Is it room code, and not that of an installed package which the room uses?"""
    return is_room_code(path) and (path.startswith(OUR_ROOMS) or not path.startswith(INSTALLED))


def place_in_room(frame: FrameType | None) -> str | None:
    """Where the room's innermost code stands, as "Room.handle, line 12"; None if none of it is on the stack."""
    while frame and not is_room_code(frame.f_code.co_filename):
        frame = frame.f_back
    return frame and f"{frame.f_code.co_qualname}, line {frame.f_lineno}"


def importing(frame: FrameType | None) -> str:
    """ "line 43 of room.py": where the room's innermost file that is being imported has got to; "" if none is."""
    while frame and not is_import_of_room_code(frame.f_code):
        frame = frame.f_back
    return f"line {frame.f_lineno} of {os.path.basename(frame.f_code.co_filename)}" if frame else ""


def is_import_of_room_code(code: CodeType) -> bool:
    path = code.co_filename
    return code.co_name == "<module>" and not path.startswith("<") and is_room_code(path)  # <string>: python -c
