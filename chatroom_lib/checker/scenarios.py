"""The company that a room is tried in: functions of chance, each of which makes a Scenario.

Who joins first, who leaves when and how, all that is drawn from the seed. People speak at a human pace, so that a
room which limits them lets them speak; minutes of virtual time cost nothing. Nothing here goes beyond what can happen
to a room on a real network: no scenario adds a wait of its own inside the room or the library.
"""

from collections.abc import Callable, Mapping
from random import Random

from chatroom_lib.clients.scenario import (  # fmt: skip
    Client,
    Scenario,
    flooder,
    frozen,
    late_joiner,
    leaving,
    listener,
    slow_reader,
    talker,
    typist,
    vanishing,
)

PACE = 1.5  # seconds between two messages of one person

Maker = Callable[[Random], Scenario]
Scenarios = Mapping[str, Scenario | Maker]  # by their names
SCENARIOS: dict[str, Maker] = {}


def scenario(function: Maker) -> Maker:
    SCENARIOS[function.__name__.strip("_").replace("_", " ")] = function
    return function


def company(chance: Random, seconds: float, *people: Client) -> Scenario:
    """First, one after another and in any order, those who do not come at a time of their own; then the others.

    After `seconds` it ends, or as soon as nothing can happen any more. It is long enough for the slowest of the
    versions, v2, to say all there is to say.
    """
    in_any_order = chance.sample(people, len(people))
    return Scenario(sorted(in_any_order, key=lambda client: client.joins is not None), seconds)


def speaks(name: str, says: int, **changes) -> Client:
    return talker(name, says, **{"every": PACE, **changes})


@scenario
def healthy(chance: Random) -> Scenario:
    """Two talk at the same time, two listen; all are well."""
    return company(chance, 100, speaks("Ann", 8), speaks("Bob", 8), listener("Cy"), listener("Di"))


@scenario
def churn(chance: Random) -> Scenario:
    """While two talk, five others come, say something, and go, politely or not."""
    stay = speaks("Ann", 12), speaks("Bob", 12), listener("Cy")
    visitors = [visitor(name, chance) for name in ("Di", "Eve", "Fay", "Gus", "Hal")]
    return company(chance, 150, *stay, *visitors)


def visitor(name: str, chance: Random) -> Client:
    joins = chance.uniform(1, 14)
    goes = joins + chance.uniform(0.5, 5)
    how = chance.choice((leaving, vanishing))
    return how(name, goes, joins=joins, says=1, starts=0.2)


@scenario
def frozen_reader(chance: Random) -> Scenario:
    """Bob never reads, while two say 450 long things; Eve comes late."""
    talk = [speaks(name, 225, size=4000) for name in ("Ann", "Cy")]
    return company(chance, 500, *talk, frozen("Bob"), late_joiner("Eve", chance.uniform(110, 140)))


@scenario
def frozen_then_dies(chance: Random) -> Scenario:
    """Bob never reads, and is killed when many messages wait for him; others talk on."""
    talk = [speaks(name, 90, size=4000) for name in ("Ann", "Cy")]
    return company(chance, 600, *talk, frozen("Bob", vanishes=chance.uniform(104, 120)), listener("Di"))


@scenario
def slow_reader_(chance: Random) -> Scenario:
    """Bob reads, but slower than the others talk."""
    talk = [speaks(name, 170) for name in ("Ann", "Cy")]
    return company(chance, 2000, *talk, slow_reader("Bob", pause=5), listener("Di"))


@scenario
def flood(chance: Random) -> Scenario:
    """Flo says 150 things at once, while Pat types short lines as people do."""
    lines = "hi", "ok", "anyone here?", "yes", "no", "so, what about tonight?", "7?", "ok", "see you", "bye"
    pat = typist("Pat", *lines, joins=chance.uniform(0, 1))
    return company(chance, 500, flooder("Flo", 150, joins=chance.uniform(1, 2)), pat, listener("Cy"))


@scenario
def late_joiner_(chance: Random) -> Scenario:
    """Three talk without a pause; two more come in the middle."""
    talk = [speaks(name, 12) for name in ("Ann", "Bob", "Cy")]
    return company(chance, 150, *talk, *(late_joiner(name, chance.uniform(3, 14)) for name in ("Di", "Eve")))


@scenario
def stillborn(chance: Random) -> Scenario:
    """Six people die while they join, or right after."""
    births = [(name, chance.uniform(1, 12)) for name in ("Di", "Eve", "Fay", "Gus", "Hal", "Ida")]
    die = [vanishing(name, birth + chance.uniform(0, 0.008), joins=birth) for name, birth in births]
    return company(chance, 100, speaks("Ann", 10), speaks("Bob", 10), listener("Cy"), *die)


@scenario
def mass_leave(chance: Random) -> Scenario:
    """Everybody goes in the same moment, half of them without a word."""
    ends = [12 + chance.uniform(0, 0.01) for _ in range(6)]
    politely = [leaving(name, end, says=7, every=PACE) for name, end in zip(("Ann", "Bob", "Cy"), ends)]
    silently = [vanishing(name, end) for name, end in zip(("Di", "Eve", "Fay"), ends[3:])]
    return company(chance, 100, *politely, *silently)
