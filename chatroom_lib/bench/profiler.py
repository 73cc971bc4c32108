"""Where a server's time goes.

    profile("v4", clients=200, in_flight=8)      # {"write to sockets": 0.71, ...}, microseconds for each delivery

A sampling profiler: every millisecond of CPU time, or as often as the system's clock allows (every 4 ms, for example),
a signal handler notes what the program is doing. Unlike a profiler that traces every call, it hardly changes what it
measures. The room runs on the main thread here, where signals are handled.
"""

import json
import tempfile
from collections import Counter

import cloudpickle

from chatroom_lib.bench.breakdown import NAMES
from chatroom_lib.bench.measurement import BenchError, measure
from chatroom_lib.bench.targets import Target
from chatroom_lib.rooms import RoomSpec, display_name


def profile(
    room: RoomSpec,
    clients: int = 200,
    *,
    in_flight: int = 8,
    rate: float = 0.0,
    warm_up: float = 0.5,
    seconds: float = 2.0,
) -> dict[str, float]:
    """The server's CPU time for one delivery, in microseconds, by what it is spent on, the largest part first.

    `room` is a version, "path/to/file.py:NAME", a room class, a function that makes a room, or a handler. The load is
    that of `measure`; with a `rate`, take in_flight=0.
    Raises ValueError for numbers that make no load, RoomError if there is no such room, and BenchError if nothing could
    be measured.
    """
    if not (in_flight or rate):
        raise ValueError("a profile needs a load: in_flight=8 or rate=100, for example")
    with tempfile.TemporaryDirectory(prefix="chatroom-profile-") as folder:
        with open(f"{folder}/room", "wb") as file:
            cloudpickle.dump(room, file)
        target = Target(display_name(room), ("profile", f"{folder}/room", f"{folder}/samples"))
        measured = measure(target, clients, in_flight=in_flight, rate=rate, warm_up=warm_up, seconds=seconds)
        with open(f"{folder}/samples") as file:
            samples = json.load(file)
    if not samples:
        raise BenchError("the server used less than a millisecond of CPU time: load it for longer")
    all_samples = sum(samples.values())
    counts = Counter(dict.fromkeys(NAMES, 0) | samples)  # also of parts that were never seen
    return {part: count / all_samples * measured.cpu_us for part, count in counts.most_common()}
