"""How many people fit: an open load that grows with the room, and a limit on how long they wait.

found = capacity("v4", (500, 1000, 2000))    # each says something every ten seconds
found.people                                 # the largest of these rooms whose p99 was below 200 ms
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from chatroom_lib.bench.load_generator import Measurement
from chatroom_lib.bench.measurement import BenchError, measure
from chatroom_lib.bench.targets import Target
from chatroom_lib.rooms import RoomSpec

EVERY = 10.0  # seconds from one message of a person to the next
LIMIT_MS = 200.0  # p99, from which on a room is too slow
SIZES = (300, 400, 500, 600, 700, 800, 1000, 1200, 1400, 1700, 2000, 2400, 2800, 3400, 4000, 4800, 5600, 6800, 8000)


@dataclass
class Capacity:
    """What was tried, the smallest room first."""

    limit_ms: float = LIMIT_MS
    tried: list[Measurement] = field(default_factory=list)  # the best of each size; only the last can be too slow
    too_many: int | None = None  # the first size that did not fit; None: all of them did

    @property
    def people(self) -> int:
        """The largest size that fits; 0 if none does."""
        return max((result.clients for result in self.tried if fits(result, self.limit_ms)), default=0)

    @property
    def points(self) -> list[tuple[int, float]]:
        """(people, p99 in milliseconds) of each size."""
        return [(result.clients, result.p99_ms) for result in self.tried if result.p99_ms]

    def __str__(self):
        return f"{self.people:,} fit" + (f", {self.too_many:,} do not" if self.too_many else "; more were not tried")


def capacity(
    target: Target | RoomSpec,
    sizes: Iterable[int] = SIZES,
    *,
    every: float = EVERY,
    limit_ms: float = LIMIT_MS,
    tries: int = 3,
    warm_up: float = 0.5,
    seconds: float = 1.5,
) -> Capacity:
    """Put `target` under the open load of ever more people, until they do not fit.

    `sizes`: numbers of clients, in ascending order. Each says something every `every` seconds, so `n` of them are owed
    n * n / every deliveries a second. They fit if in one of `tries` runs nothing is lost and p99 is below `limit_ms`:
    what else a machine does can only make people wait longer. `warm_up`, `seconds`: as for `measure`.

    A size for which nothing can be measured does not fit. Raises ValueError for numbers that make no load, RoomError
    if there is no such target.
    """
    found = Capacity(limit_ms)
    for people in sizes:
        best = best_of(tries, target, people, limit_ms, rate=people / every, warm_up=warm_up, seconds=seconds)
        found.tried += [best] if best else []
        if not best or not fits(best, limit_ms):
            found.too_many = people
            break
    return found


def best_of(tries: int, target: Target | RoomSpec, people: int, limit_ms: float, **load) -> Measurement | None:
    """The try with the lowest p99, and no more of them than it takes to fit. None if nothing could be measured."""
    best = None
    for _ in range(tries):
        try:
            result = measure(target, people, **load)
        except BenchError:
            continue
        if best is None or rank(result) < rank(best):
            best = result
        if fits(best, limit_ms):
            break
    return best


def fits(result: Measurement, limit_ms: float) -> bool:
    return not result.lost and result.p99_ms is not None and result.p99_ms < limit_ms


def rank(result: Measurement) -> tuple[bool, float]:
    return bool(result.lost), result.p99_ms or float("inf")
