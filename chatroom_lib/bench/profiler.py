"""Where a server's time goes.

    profile("v4", clients=200, in_flight=8)      # {"write to sockets": 0.71, ...}, microseconds for each delivery

A sampling profiler: every millisecond of CPU time, or as often as the system's clock allows (every 4 ms, for
example), a signal looks where the program is. Unlike a profiler that notices every call, it hardly changes what it
looks at. The room runs on the main thread here, where signals arrive.
"""

import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable

import cloudpickle

from chatroom_lib import rooms
from chatroom_lib.bench.measurement import BenchError, measure
from chatroom_lib.bench.targets import Target
from chatroom_lib.instrumentation.room_code import is_room_code

# The innermost function on the stack that one of these knows says what is being done: a file, functions in it or all.
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
PASSED_OVER = ("state",)  # small enough to belong to whoever calls them
ROOM = "the room itself"
NAMES = (*dict.fromkeys(part for _, _, part in PARTS), ROOM)


def part_of(frame) -> str:
    while frame:
        path, function = frame.f_code.co_filename.replace(os.sep, "/"), frame.f_code.co_name
        for where, functions, part in PARTS:
            if function in PASSED_OVER:
                break
            if where in path and (not functions or function in functions):
                return part
        if is_room_code(frame.f_code.co_filename):
            return ROOM
        frame = frame.f_back
    return ROOM


def profile(room: "str | Callable", clients: int = 200, **options) -> dict[str, float]:
    """Microseconds of CPU time for each delivery, by what they are spent on, the most first.

    `room` is a version, a file and class, or a room class. `options` are those of `measure`.
    Raises BenchError, or RoomError if there is no such room.
    """
    with tempfile.TemporaryDirectory(prefix="chatroom-profile-") as folder:
        with open(f"{folder}/room", "wb") as file:
            cloudpickle.dump(room, file)
        target = Target(rooms.display_name(room), ("profile", f"{folder}/room", f"{folder}/samples"))
        measured = measure(target, clients, **options)
        with open(f"{folder}/samples") as file:
            samples = json.load(file)
    if not samples:
        raise BenchError("the server took less than a millisecond: load it longer")
    all_samples = sum(samples.values())
    counts = Counter(dict.fromkeys(NAMES, 0) | samples)  # also of what was never seen
    return {part: count / all_samples * measured.cpu_us for part, count in counts.most_common()}
