"""What chance and time are for a room in the simulation."""

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
    """The module `random` begins with this seed, and afterwards goes on as if nothing had been."""
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


class VirtualClocks:
    """While a thread runs a simulated loop, `time.time()` and its like tell it that loop's time, and all other threads
    the real one. (Who knows them by another name, as after `from time import time`, is told the real one, too.)"""

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
                setattr(time, name, partial(self.tell, real))
        try:
            yield
        finally:
            with self.lock:
                del self.loops[thread]
                for name, real in self.real.items() if not self.loops else ():
                    setattr(time, name, real)

    def tell(self, real) -> float:
        loop = self.loops.get(threading.get_ident())
        return loop.now if loop else real()


virtual_clocks = VirtualClocks()
