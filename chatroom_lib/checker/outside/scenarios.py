"""The scenarios for a server that is tried from outside, in real time: those of scenarios.py that can be played so, in
some seconds each. How many people talk, how often, and how much they say follows what the server can carry.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate
from random import Random

from chatroom_lib.checker.scenarios import PACE
from chatroom_lib.clients.scenario import (
    Client,
    Scenario,
    flooder,
    frozen,
    late_joiner,
    leaving,
    listener,
    slow_reader,
    talker,
    vanishing,
)

FAST, HUMAN = 0.25, PACE  # seconds from one message of a person to the next, where anybody may talk so fast, or not
AT_FIRST = 0.3  # seconds in which those come who are there from the beginning
NONSENSE = "{]", b"\x00\xff"  # frames that no client should send
STRAGGLERS = 8.0  # seconds, at most, for what is still on its way when the last word has been said
HELLO = {"says": 1, "starts": 0.2, "size": 100}  # what a newcomer says
MUCH = 16 << 20  # characters that must be said before a server's memory is judged
BULK = 80 << 20  # characters that are said to people who do not read, at most, to see whether the memory grows
BULK_SECONDS = 5.0  # in which that is said
FASTEST = 1000  # messages a second that one of our own clients can say and hear besides


@dataclass(frozen=True)
class Load:
    """What people do in these scenarios."""

    people: int = 40  # who talk
    every: float = FAST  # seconds from one message of one of them to the next
    size: int = 4000  # characters in a long message
    longest: int = 4000  # that the server passes on, of those we have tried
    limited: bool = False  # the server lets nobody say more than a message every second or so
    slow: bool = False  # it takes seconds to pass on what one person says in one

    @property
    def too_little(self) -> str:
        """Why nobody can say so much that a server's memory would show; "" if somebody can."""
        if self.longest * FASTEST * BULK_SECONDS < MUCH:
            return f"in messages of {self.longest} characters too little can be said"
        return "the server limits how much one may say" if self.limited else "the server is slow" if self.slow else ""

    @property
    def a_second(self) -> float:
        """Messages a second, all together."""
        return self.people / self.every


Maker = Callable[[Random, Load], Scenario]
OUTSIDE_SCENARIOS: dict[str, Maker] = {}
OF_A_PROCESS: dict[str, Maker] = {}  # those that only say something if the server's process is known


def outside(function: Maker) -> Maker:
    OUTSIDE_SCENARIOS[function.__name__.strip("_").replace("_", " ")] = function
    return function


def talk(rng: Random, load: Load, seconds: float, size: int = 200, **changes) -> list[Client]:
    """People who talk for so long: each says something every `load.every` seconds."""
    names = ["Ann", "Cy", *(f"P{number}" for number in range(load.people))][: load.people]
    says = max(1, round(seconds / load.every))
    size = min(size, load.size)
    options = {"says": says, "every": load.every, "size": size, **changes}
    return [talker(name, **{"starts": 0.2 + rng.uniform(0, load.every), **options}) for name in names]


def played(rng: Random, seconds: float, *people: Client) -> Scenario:
    """Those without a time of their own come in the first moments, in random order."""
    people = [replace(each, joins=rng.uniform(0, AT_FIRST)) if each.joins is None else each for each in people]
    return Scenario(sorted(people, key=lambda client: client.joins), seconds + STRAGGLERS)


@outside
def healthy(rng: Random, load: Load) -> Scenario:
    """Many talk at the same time, two listen; all are healthy."""
    return played(rng, 8, *talk(rng, load, 8), listener("Di"), listener("Eve"))


@outside
def churn(rng: Random, load: Load) -> Scenario:
    """While many talk, twenty others join, say something, and leave, politely or not."""
    visitors = [visitor(f"V{number}", rng) for number in range(20)]
    return played(rng, 6, *talk(rng, load, 5.5), listener("Di"), *visitors)


def visitor(name: str, rng: Random) -> Client:
    joins = rng.uniform(0.5, 4)
    how = rng.choice((leaving, vanishing))
    return how(name, joins + rng.uniform(0.3, 1.5), joins=joins, **HELLO)


@outside
def late_joiner_(rng: Random, load: Load) -> Scenario:
    """Many talk without a pause; four more join in the middle."""
    late = [newcomer(name, rng.uniform(0.5, 3)) for name in ("Di", "Eve", "Fay", "Gus")]
    return played(rng, 5, *talk(rng, load, 4.5), *late)


def newcomer(name: str, joins: float) -> Client:
    return late_joiner(name, joins, **HELLO)


@outside
def stillborn(rng: Random, load: Load) -> Scenario:
    """Thirty people die while they join, or right after; and two send what no client should, and go."""
    births = [(f"S{number}", rng.uniform(0.5, 3)) for number in range(30)]
    die = [vanishing(name, birth + rng.uniform(0, 0.008), joins=birth) for name, birth in births]
    moments = zip(("Nat", "Ned"), NONSENSE, (rng.uniform(1, 2), rng.uniform(2, 3)))
    nonsense = [vanishing(name, time + 0.5, joins=time, first=frame) for name, frame, time in moments]
    return played(rng, 5, *talk(rng, load, 4), listener("Di"), *die, *nonsense)


@outside
def mass_leave(rng: Random, load: Load) -> Scenario:
    """Thirty leave in the same moment, half of them without a word, and the others talk on."""
    end = 2
    politely = [leaving(f"L{number}", end + rng.uniform(0, 0.01), **HELLO) for number in range(15)]
    silently = [vanishing(f"M{number}", end + rng.uniform(0, 0.01)) for number in range(15)]
    return played(rng, 5, *talk(rng, load, 4), listener("Di"), *politely, *silently)


@outside
def slow_reader_(rng: Random, load: Load) -> Scenario:
    """Bob reads more slowly than the others talk, and as fast as he can when they have stopped."""
    seconds = 5
    bob = slow_reader("Bob", pause=5 / load.a_second, hurries=seconds + 0.5)
    return played(rng, seconds + 10, *talk(rng, load, seconds, load.size), bob, listener("Di"))


@outside
def frozen_reader(rng: Random, load: Load) -> Scenario:
    """Bob and Dan never read, while many talk; Eve joins soon, and Fay when much waits for the two."""
    late = newcomer("Eve", rng.uniform(1, 2)), newcomer("Fay", rng.uniform(4, 5))
    return played(rng, 7, *talk(rng, load, 7, load.size), frozen("Bob"), frozen("Dan"), *late)


@outside
def frozen_then_dies(rng: Random, load: Load) -> Scenario:
    """Bob never reads, and is killed when much waits for him; the others talk on."""
    bob = frozen("Bob", vanishes=rng.uniform(4, 5))
    return played(rng, 8, *talk(rng, load, 8, load.size), bob, listener("Di"))


@outside
def flood(rng: Random, load: Load) -> Scenario:
    """Flo sends 150 messages at once, while Pat types short lines as people do."""
    lengths = [3, 3, 4, 3, 10, 3]  # of the lines, with the Enter
    at = list(accumulate(length / 4.3 for length in lengths))  # at the speed of `typist`
    pat = Client("Pat", at=at, size=20)
    return played(rng, 8, flooder("Flo", 150, joins=rng.uniform(1, 2)), pat, listener("Cy"), listener("Di"))


def bulk(rng: Random, load: Load) -> Scenario:
    """Four never read, while Ann says as much as goes into a few seconds: does the server keep it all?"""
    size = load.longest
    says = int(min(BULK / size, FASTEST * BULK_SECONDS))
    ann = talker("Ann", says, every=BULK_SECONDS / says, size=size)
    return played(rng, BULK_SECONDS, *(frozen(f"F{number}") for number in range(4)), ann, listener("Di"))


OF_A_PROCESS["bulk"] = bulk
