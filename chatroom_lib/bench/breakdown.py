"""What a server's time is spent on: which part of the work a stack frame belongs to."""

import os
from types import FrameType

from chatroom_lib.instrumentation.room_code import is_room_code

# The innermost frame that matches a row decides: a file, functions in it (none: every function), the part of the work.
PARTS = (
    ("asyncio/selector_events.py", ("write", "send", "_write_ready", "_write_send"), "write to sockets"),
    ("asyncio/selector_events.py", ("_read_ready__data_received",), "read from sockets"),
    ("selectors.py", (), "wait for sockets"),
    ("chatroom_lib/message.py", (), "decode and encode"),
    ("json/", (), "decode and encode"),
    ("websockets/frames.py", ("parse",), "take frames apart"),
    ("websockets/frames.py", (), "build frames"),
    ("websockets/protocol.py", ("send_text", "send_frame", "data_to_send"), "build frames"),
    ("websockets/asyncio/connection.py", ("send", "send_context", "send_data", "broadcast"), "build frames"),
    ("websockets/", (), "take frames apart"),
    ("asyncio/", (), "event loop, tasks, queues"),
    ("contextlib.py", (), "event loop, tasks, queues"),
    ("chatroom_lib/channels.py", (), "event loop, tasks, queues"),
)
ATTRIBUTED_TO_CALLER = ("state",)  # functions too small to be a part of their own
ROOM = "the room itself"
NAMES = (*dict.fromkeys(part for _, _, part in PARTS), ROOM)


def part_of(frame: FrameType | None) -> str:
    """The part of the work that is being done where the innermost frame of a stack is `frame`."""
    while frame:
        path, function = frame.f_code.co_filename.replace(os.sep, "/"), frame.f_code.co_name
        for file, functions, part in PARTS:
            if function in ATTRIBUTED_TO_CALLER:
                break
            if file in path and (not functions or function in functions):
                return part
        if is_room_code(frame.f_code.co_filename):
            return ROOM
        frame = frame.f_back
    return ROOM
