"""Where a server's time goes.

    profile("v4", clients=200, in_flight=8)      # {"write to sockets": 0.71, ...}, microseconds for each delivery

A sampling profiler: every millisecond of CPU time, or as often as the system's clock allows (every 4 ms, for
example), a signal looks where the program is. Unlike a profiler that notices every call, it hardly changes what it
looks at. The room runs on the main thread here, where signals arrive.
"""

import asyncio
import json
import os
import signal
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable

import cloudpickle

from chatroom_lib import rooms
from chatroom_lib.bench.entrants import Entrant
from chatroom_lib.bench.measurement import BenchError, measure
from chatroom_lib.room_code import is_room_code
from chatroom_lib.server import Server

EVERY = 0.001  # seconds
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
        entrant = Entrant(rooms.called(room), ("profile", f"{folder}/room", f"{folder}/samples"))
        measured = measure(entrant, clients, **options)
        with open(f"{folder}/samples") as file:
            samples = json.load(file)
    if not samples:
        raise BenchError("the server took less than a millisecond: load it longer")
    all_samples = sum(samples.values())
    counts = Counter(dict.fromkeys(NAMES, 0) | samples)  # also of what was never seen
    return {part: count / all_samples * measured.cpu_us for part, count in counts.most_common()}


# ---------------------------------------------------------------- in the server's process


def serve_profiled(path: str, output: str) -> None:
    """Serve the room in the file `path`; when the standard input ends, write what was seen to the file `output`."""
    with open(path, "rb") as file:
        room = cloudpickle.load(file)
    room = rooms.without_limit(rooms.get(room) if isinstance(room, str) else room)
    samples = Counter()
    signal.signal(signal.SIGPROF, lambda _, frame: samples.update([part_of(frame)]))
    asyncio.run(serve_until_input_ends(room))
    with open(output, "w") as file:
        json.dump(samples, file)


async def serve_until_input_ends(room) -> None:
    server = await Server(room).start()
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def wait_for_end():
        sys.stdin.read()
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=wait_for_end, daemon=True).start()
    print(f"serving at {server.url}", flush=True)
    signal.setitimer(signal.ITIMER_PROF, EVERY, EVERY)
    await ended.wait()
    signal.setitimer(signal.ITIMER_PROF, 0)
    await server.stop()
