"""Seeded randomness and virtual time for a simulated room."""

import contextlib
import random
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chatroom_lib.runs.event_loop import SimulationLoop


@contextlib.contextmanager
def seeded(seed: int):
    """The module `random` starts from this seed, and afterwards continues as if nothing had happened."""
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


class VirtualClocks:
    """On a thread that runs a simulated loop `time.time`, `monotonic` and `perf_counter` return virtual time; other
    threads see real time. `*_ns`, `datetime` and names imported earlier (`from time import time`) are not patched."""

    NAMES = ("time", "monotonic", "perf_counter")

    def __init__(self):
        self.real = {name: getattr(time, name) for name in self.NAMES}
        self.loops, self.lock = {}, threading.Lock()  # thread -> the loop it runs

    @contextlib.contextmanager
    def running(self, loop: "SimulationLoop"):
        thread = threading.get_ident()
        with self.lock:
            self.loops[thread] = loop
            for name, real in self.real.items():
                setattr(time, name, partial(self.read, real))
        try:
            yield
        finally:
            with self.lock:
                del self.loops[thread]
                for name, real in self.real.items() if not self.loops else ():
                    setattr(time, name, real)

    def read(self, real) -> float:
        loop = self.loops.get(threading.get_ident())
        return loop.now if loop else real()


virtual_clocks = VirtualClocks()
