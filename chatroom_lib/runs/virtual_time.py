"""Time and randomness for a simulated room: on the thread of a run both follow the seed, on all others they are real.
There, too, it is noted what a room does to its files (room_files.py).

What a room calls is replaced where it looks for it: in the modules `time`, `datetime`, `os` and `random`, and, as a
name that was imported earlier (`from time import monotonic`), in the room's own modules.
"""

import contextlib
import datetime
import os
import random
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from types import ModuleType
from typing import TYPE_CHECKING

from chatroom_lib.instrumentation.room_code import INSTALLED, is_room_code
from chatroom_lib.runtime.platform import require_threads

if TYPE_CHECKING:
    from chatroom_lib.runs.event_loop import SimulationLoop

EPOCH = 1_767_225_600  # seconds: what `time.time()` returns as a run starts, 2026-01-01 00:00 UTC
running = threading.Lock()  # one run at a time in a process: there is one `random`, and one of each module
loops: dict[int, "SimulationLoop"] = {}  # thread -> the loop of the run that it belongs to


def here() -> "SimulationLoop | None":
    """The simulated loop on whose time this thread lives."""
    return loops.get(threading.get_ident())


# ---------------------------------------------------------------- what is replaced


def virtual(real: Callable, read: Callable[["SimulationLoop"], float]) -> Callable:
    """A clock: `read` on a simulated thread, `real` on others."""
    return lambda: read(loop) if (loop := here()) else real()


def sleep(real: Callable, seconds: float) -> None:
    if not (loop := here()):
        real(seconds)
    elif threading.get_ident() != loop.thread:
        loop.threads.sleep(seconds)
    elif any(loop.calling_for):
        loop.calls.sleep(seconds)
    else:
        loop.block(seconds)


def urandom(real: Callable, size: int) -> bytes:
    loop = here()
    return loop.random.randbytes(size) if loop else real(size)


def connect(real: Callable, *arguments, **options) -> sqlite3.Connection:
    loop = here()
    return loop.files.connect(real, *arguments, **options) if loop and loop.files else real(*arguments, **options)


def fsync(real: Callable, file) -> None:
    loop = here()
    return loop.files.fsync(real, file) if loop and loop.files else real(file)


def draw(name: str) -> Callable:
    """The function of that name of the module `random`, looked up in the class of its generator each time."""
    return lambda *arguments: getattr(random._inst, name)(*arguments)


REAL_DATE, REAL_DATETIME = datetime.date, datetime.datetime


class RealOrVirtual(type):
    """Of a class that stands for a real one: whatever is of the real one is of this one, too."""

    def __instancecheck__(cls, thing):
        return issubclass(type(thing), cls)

    def __subclasscheck__(cls, kind):
        real = real_class(cls)
        return issubclass(kind, real) if real is not cls else super().__subclasscheck__(kind)


class VirtualDate(REAL_DATE, metaclass=RealOrVirtual):
    """`datetime.date`, whose `today` follows the virtual clock. What it makes are plain dates."""

    def __new__(cls, *arguments, **options):
        return REAL_DATE.__new__(real_class(cls), *arguments, **options)

    @classmethod
    def today(cls):
        return real_class(cls).fromtimestamp(time.time())


class VirtualDatetime(REAL_DATETIME, metaclass=RealOrVirtual):
    """`datetime.datetime`, whose `now` follows the virtual clock. What it makes are plain datetimes."""

    def __new__(cls, *arguments, **options):
        return REAL_DATETIME.__new__(real_class(cls), *arguments, **options)

    @classmethod
    def now(cls, tz=None):
        return real_class(cls).fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls):
        return cls.now(datetime.UTC).replace(tzinfo=None)

    @classmethod
    def today(cls):
        return cls.now()


def real_class(kind: type) -> type:
    """What a class stands for: itself, if a room has made it from one of these two."""
    return kind.__base__ if kind in (VirtualDate, VirtualDatetime) else kind


READINGS = {
    "time": lambda loop: EPOCH + loop.now,
    "monotonic": lambda loop: loop.now,
    "perf_counter": lambda loop: loop.now,
}
REPLACED = [  # (module, name, real, what takes its place)
    *((time, name, real, virtual(real, read)) for name, read in READINGS.items() for real in [getattr(time, name)]),
    *(
        (time, f"{name}_ns", real, virtual(real, lambda loop, read=read: int(1e9 * read(loop))))
        for name, read in READINGS.items()
        for real in [getattr(time, f"{name}_ns")]
    ),
    (time, "sleep", time.sleep, partial(sleep, time.sleep)),
    *((random, name, getattr(random, name), draw(name)) for name in ("random", "getrandbits", "seed")),
    (os, "urandom", os.urandom, partial(urandom, os.urandom)),  # `uuid4` calls it
    (random, "_urandom", os.urandom, partial(urandom, os.urandom)),  # and `secrets` this
    (os, "fsync", os.fsync, partial(fsync, os.fsync)),
    (sqlite3, "connect", sqlite3.connect, partial(connect, sqlite3.connect)),
    (datetime, "datetime", REAL_DATETIME, VirtualDatetime),
    (datetime, "date", REAL_DATE, VirtualDate),
]
BY_REAL = {id(real): replacement for _, _, real, replacement in REPLACED}


def own_modules() -> list[ModuleType]:
    """The modules of readers: those of no package that is installed, `__main__` included."""
    return list(map(sys.modules.__getitem__, own_module_names(tuple(sys.modules))))


@lru_cache(maxsize=1)
def own_module_names(loaded: tuple[str, ...]) -> list[str]:
    paths = {name: getattr(sys.modules[name], "__file__", None) for name in loaded}
    return [
        name
        for name, path in paths.items()
        if name == "__main__" or (path and is_room_code(path) and not path.startswith(INSTALLED))
    ]


def replace_all() -> list[tuple]:
    """Put the replacements in their places; returns (namespace, name, real) of each."""
    places = [(vars(module), name, real) for module, name, real, _ in REPLACED]
    for module in own_modules():
        names = vars(module)
        places += [(names, name, value) for name, value in list(names.items()) if id(value) in BY_REAL]
    for names, name, real in places:
        names[name] = BY_REAL[id(real)]
    return places


# ---------------------------------------------------------------- one run


class RunsRandom(random.Random):
    """The class of the module's own generator during a run, whose thread draws from the run's generator instead.

    (No super(): on another thread a run may end between a call and its end.)
    """

    def random(self):
        return loop.draws.random() if (loop := here()) else random.Random.random(self)

    def getrandbits(self, k):
        return loop.draws.getrandbits(k) if (loop := here()) else random.Random.getrandbits(self, k)

    def seed(self, *arguments):
        return loop.draws.seed(*arguments) if (loop := here()) else random.Random.seed(self, *arguments)


class VirtualTime:
    """What a run's thread sees of time and chance."""

    @contextlib.contextmanager
    def running(self, loop: "SimulationLoop") -> Iterator[None]:
        """This thread runs `loop`: waits for an earlier run in this process to end."""
        with running, self.virtual_on_this_thread(loop):
            loop.thread = threading.get_ident()
            start_thread = threading.Thread.start
            places = replace_all()
            random._inst.__class__ = RunsRandom
            threading.Thread.start = lambda thread: self.start(start_thread, thread)
            try:
                yield
            finally:
                threading.Thread.start = start_thread
                random._inst.__class__ = random.Random
                for names, name, real in places:
                    names[name] = real

    @contextlib.contextmanager
    def virtual_on_this_thread(self, loop: "SimulationLoop") -> Iterator[None]:
        thread = threading.get_ident()
        loops[thread] = loop
        try:
            yield
        finally:
            del loops[thread]

    def start(self, start_thread: Callable, thread: threading.Thread) -> None:
        if loop := here():
            require_threads()
            loop.threads.adopt(thread, self)
        start_thread(thread)


virtual_time = VirtualTime()
