"""Workload generators: each draws a Scenario from a seeded `random.Random`.

Which client joins first, which leaves when and how, all that is drawn from the seed. People speak at a human pace, so
that a room with a rate limit lets them speak; minutes of virtual time cost nothing. Nothing here goes beyond what can
happen to a room on a real network: no scenario adds a wait of its own inside the room or the library.

The last thirteen are for rooms that keep a history: `check` tries them with those that take a `path`, or `nats`. The
last four of these are for several servers that share it, rooms that say `many_servers = True`; and "cut off" is for
those that take `nats`, since nothing comes between a server and a file.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random

from chatroom_lib.clients.scenario import (  # fmt: skip
    Client,
    Cut,
    Kill,
    Pause,
    Scenario,
    commuter,
    flooder,
    frozen,
    late_joiner,
    leaving,
    listener,
    slow_reader,
    talker,
    typist,
    unplugged,
    vanishing,
)
from chatroom_lib.trace import LOG

PACE = 1.5  # seconds between two messages of one person
TOGETHER = 0.01  # seconds within which people speak who speak at the same time
STRIKE = (0.004, 0.018)  # seconds after they begin: what they say is on its way then, or being written down
ALL = "/chatroom?last=1000"  # what somebody asks for who wants to know what has been said

Maker = Callable[[Random], Scenario]
Scenarios = Mapping[str, Scenario | Maker]  # by their names
SCENARIOS: dict[str, Maker] = {}


def scenario(function: Maker) -> Maker:
    SCENARIOS[function.__name__.strip("_").replace("_", " ")] = function
    return function


def for_histories(function: Maker) -> Maker:
    """A scenario that says nothing about rooms without a history."""
    vars(function)["needs_path"] = True
    return scenario(function)


def for_several_servers(function: Maker) -> Maker:
    """A scenario for rooms of which several may have one history."""
    vars(function)["needs_many_servers"] = True
    return for_histories(function)


def needs_many_servers(scenario: Scenario | Maker) -> bool:
    """Is it to be tried only with a room of which several may have one history?"""
    return getattr(scenario, "needs_many_servers", False)


def for_a_log(function: Maker) -> Maker:
    """A scenario for rooms whose servers share a log elsewhere."""
    vars(function)["needs_nats"] = True
    return for_several_servers(function)


def needs_nats(scenario: Scenario | Maker) -> bool:
    """Is it to be tried only with a room that takes `nats`, the address of a NATS server?"""
    return getattr(scenario, "needs_nats", False)


def needs_path(scenario: Scenario | Maker) -> bool:
    """Is it to be tried only with a room that takes a `path`, of the file in which it keeps its history, or `nats`?"""
    return getattr(scenario, "needs_path", False)


def in_random_order(rng: Random, seconds: float, *people: Client) -> Scenario:
    """Clients without a join time go first, in random order; the rest follow.

    The scenario ends after `seconds`, or as soon as nothing can happen any more. It is long enough for the slowest of
    the versions, v2, to pass everything on.
    """
    shuffled = rng.sample(people, len(people))
    return Scenario(sorted(shuffled, key=lambda client: client.joins is not None), seconds)


def speaks(name: str, says: int, **changes) -> Client:
    return talker(name, says, **{"every": PACE, **changes})


@scenario
def healthy(rng: Random) -> Scenario:
    """Two talk at the same time, two listen; all are healthy."""
    return in_random_order(rng, 100, speaks("Ann", 8), speaks("Bob", 8), listener("Cy"), listener("Di"))


@scenario
def churn(rng: Random) -> Scenario:
    """While two talk, five others join, say something, and leave, politely or not."""
    stay = speaks("Ann", 12), speaks("Bob", 12), listener("Cy")
    visitors = [visitor(name, rng) for name in ("Di", "Eve", "Fay", "Gus", "Hal")]
    return in_random_order(rng, 150, *stay, *visitors)


def visitor(name: str, rng: Random) -> Client:
    joins = rng.uniform(1, 14)
    goes = joins + rng.uniform(0.5, 5)
    how = rng.choice((leaving, vanishing))
    return how(name, goes, joins=joins, says=1, starts=0.2)


@scenario
def frozen_reader(rng: Random) -> Scenario:
    """Bob never reads, while two send 450 long messages; Eve joins when a few wait for him, and Fay when many do."""
    talk = [speaks(name, 225, size=4000) for name in ("Ann", "Cy")]
    late = late_joiner("Eve", rng.uniform(15, 30)), late_joiner("Fay", rng.uniform(110, 140))
    return in_random_order(rng, 500, *talk, frozen("Bob"), *late)


@scenario
def frozen_then_dies(rng: Random) -> Scenario:
    """Bob never reads, and is killed when many messages wait for him; the others talk on."""
    talk = [speaks(name, 90, size=4000) for name in ("Ann", "Cy")]
    return in_random_order(rng, 600, *talk, frozen("Bob", vanishes=rng.uniform(104, 120)), listener("Di"))


@scenario
def slow_reader_(rng: Random) -> Scenario:
    """Bob reads, but more slowly than the others talk."""
    talk = [speaks(name, 170) for name in ("Ann", "Cy")]
    return in_random_order(rng, 2000, *talk, slow_reader("Bob", pause=5), listener("Di"))


@scenario
def flood(rng: Random) -> Scenario:
    """Flo sends 150 messages at once, while Pat types short lines as people do."""
    lines = "hi", "ok", "anyone here?", "yes", "no", "so, what about tonight?", "7?", "ok", "see you", "bye"
    pat = typist("Pat", *lines, joins=rng.uniform(0, 1))
    return in_random_order(rng, 500, flooder("Flo", 150, joins=rng.uniform(1, 2)), pat, listener("Cy"))


@scenario
def late_joiner_(rng: Random) -> Scenario:
    """Three talk without a pause; two more join in the middle."""
    talk = [speaks(name, 12) for name in ("Ann", "Bob", "Cy")]
    return in_random_order(rng, 150, *talk, *(late_joiner(name, rng.uniform(3, 14)) for name in ("Di", "Eve")))


@scenario
def stillborn(rng: Random) -> Scenario:
    """Six people die while they join, or right after."""
    births = [(name, rng.uniform(1, 12)) for name in ("Di", "Eve", "Fay", "Gus", "Hal", "Ida")]
    die = [vanishing(name, birth + rng.uniform(0, 0.008), joins=birth) for name, birth in births]
    return in_random_order(rng, 100, speaks("Ann", 10), speaks("Bob", 10), listener("Cy"), *die)


@scenario
def mass_leave(rng: Random) -> Scenario:
    """Six leave in the same moment, half of them without a word; two more go when nothing moves any more."""
    ends = [12 + rng.uniform(0, 0.01) for _ in range(6)]
    politely = [leaving(name, end, says=7, every=PACE) for name, end in zip(("Ann", "Bob", "Cy"), ends)]
    silently = [vanishing(name, end) for name, end in zip(("Di", "Eve", "Fay"), ends[3:])]
    last = leaving("Gus", 80 + rng.uniform(0, 5)), vanishing("Hal", 80 + rng.uniform(0, 5))
    return in_random_order(rng, 100, *politely, *silently, *last)


@scenario
def dark_line(rng: Random) -> Scenario:
    """Bob's line goes dark while two talk, and Fay's and Gus's when nobody talks any more; nobody is told."""
    talk = [speaks(name, 40, size=4000) for name in ("Ann", "Cy")]
    bob = unplugged("Bob", rng.uniform(5, 20))
    late = [unplugged(name, rng.uniform(70, 90)) for name in ("Fay", "Gus")]
    return in_random_order(rng, 180, *talk, bob, *late, listener("Di"))


@scenario
def slow_but_alive(rng: Random) -> Scenario:
    """Bob takes minutes to read what two say, in a few long messages or in many, for up to half a minute."""
    size, every, *pauses = rng.choice(((4000, PACE, 4, 6), (1000, 1.3, 2, 3.5)))
    talk = [speaks(name, 28_000 // size, size=size, every=every) for name in ("Ann", "Cy")]
    return in_random_order(rng, 300, *talk, slow_reader("Bob", pause=rng.uniform(*pauses)))


# ---------------------------------------------------------------- for rooms with a history


@for_histories
def commuting(rng: Random) -> Scenario:
    """Five go through tunnels, and come out while people speak; Di says one word again and again. Flo, Di and Hal say
    what they heard last; Gus, Eve and Zoe ask for all that was said."""
    rounds = 10
    talk = [together(name, rounds, rng, away=tunnels(rounds, rng)) for name in ("Ann", "Bob")]
    talk.append(together("Flo", rounds, rng, away=tunnels(rounds, rng), resumes=True))
    talk.append(together("Di", rounds, rng, away=tunnels(rounds, rng), texts=["ok"] * rounds, resumes=True))
    gus = commuter("Gus", away=tunnels(rounds, rng), path=ALL)
    hal = commuter("Hal", away=tunnels(rounds, rng), resumes=True)
    eve, zoe = reader("Eve", rng.uniform(4, 12)), reader("Zoe", 30)
    return in_random_order(rng, 60, *talk, listener("Cy"), gus, hal, eve, zoe)


@for_histories
def restart(rng: Random) -> Scenario:
    """While four talk, the server is killed, and started again."""
    return killed(rng, 8, (3, 7))


@for_histories
def two_kills(rng: Random) -> Scenario:
    """The same, twice."""
    return killed(rng, 14, (3, 7), (11, 13))


@for_histories
def power_cut(rng: Random) -> Scenario:
    """While four talk, the power is cut: what had not reached the disk is lost."""
    return killed(rng, 9, (3, 8), power=True)


@for_histories
def lost_disk(rng: Random) -> Scenario:
    """While four talk, the server is killed, and its files are lost."""
    return killed(rng, 9, (3, 8), disk=True)


@for_histories
def trimmed(rng: Random) -> Scenario:
    """The room keeps 12 messages. While three talk, Cy is away for longer than that, and Dan reads more slowly; Eve and
    Zoe ask for all that there is just after Cy has come back."""
    rounds = 40
    talk = [together(name, rounds, rng, size=4000) for name in ("Ann", "Bob", "Flo")]
    away = [(moment(number) + rng.uniform(*STRIKE), moment(number + 8)) for number in (rng.randint(2, 8), 20)]
    cy = commuter("Cy", away=away, resumes=True)
    dan = slow_reader("Dan", pause=rng.uniform(0.6, 1), returns=True, resumes=True)
    readers = [reader(name, until + 0.05) for name, (_, until) in zip(("Eve", "Zoe"), away)]
    return replace(in_random_order(rng, 120, *talk, cy, dan, *readers), keep=12)


@for_histories
def slow_reader_and_kill(rng: Random) -> Scenario:
    """Bob reads more slowly than the others talk, and the server is killed meanwhile."""
    talk = [together(name, 40, rng, size=4000) for name in ("Ann", "Cy", "Di")]
    bob = slow_reader("Bob", pause=rng.uniform(0.8, 1.2), returns=True, resumes=True)
    kill = Kill(moment(rng.randint(15, 30)) + rng.uniform(*STRIKE), rng.uniform(0.2, 1))
    return replace(in_random_order(rng, 200, *talk, bob), kills=[kill])


@for_histories
def mass_return(rng: Random) -> Scenario:
    """Three talk to twenty when the server is killed; all come back, and say what they heard last."""
    talk = [together(name, 8, rng, resumes=True) for name in ("Ann", "Bob", "Cy")]
    crowd = [commuter(f"P{number}", resumes=True) for number in range(20)]
    kill = Kill(moment(rng.randint(3, 6)) + rng.uniform(*STRIKE), rng.uniform(0.2, 1))
    return replace(in_random_order(rng, 40, *talk, *crowd), kills=[kill])


@for_histories
def storm_of_200(rng: Random) -> Scenario:
    """Two hundred are there when the server is stopped or killed. All come back, and nobody waits at the door for more
    than 1.5 s before they try again; to let one in keeps the server busy for 40 ms, on average. They leave at 52 s."""
    people = [commuter(f"P{number}", resumes=True, patience=1.5, leaves=52) for number in range(200)]
    politely = rng.random() < 0.5
    kill = Kill(rng.uniform(18, 19), back_after=1, politely=politely)
    return Scenario(people, duration=200, kills=[kill], handshake=0.08)


@for_several_servers
def three_servers(rng: Random) -> Scenario:
    """Commuting between three servers: whoever comes out of a tunnel goes on at another one."""
    return replace(commuting(rng), servers=3)


@for_several_servers
def one_of_three(rng: Random) -> Scenario:
    """While people at three servers talk, one of these is killed, and later another one. Both are started again, but
    people have gone on elsewhere."""
    scenario = killed(rng, 14, (3, 7), (11, 13))
    numbers = rng.sample(range(3), 2)
    kills = [replace(kill, server=number) for kill, number in zip(scenario.kills, numbers)]
    return replace(scenario, servers=3, kills=kills)


@for_several_servers
def one_stands_still(rng: Random) -> Scenario:
    """One of three servers stands still for some seconds while people talk at the others, and some of them come to it
    meanwhile. The room keeps 12 messages: more are said."""
    rounds, still, seconds = 14, rng.randrange(3), rng.uniform(4, 6)
    at = moment(rng.randint(3, 5)) + rng.uniform(*STRIKE)
    names = [*("Ann", "Bob", "Cy", "Di", "Eve", "Flo"), *(f"P{number}" for number in range(6))]
    people = []
    for number, name in enumerate(names):
        comes = name.startswith("P") and (number + 1) % 3 == still  # to the next server, which is that one
        leaves = at + rng.uniform(0.6, 1.6) if comes else at - 2
        away = [(leaves, leaves + rng.uniform(0.1, 0.8))] if name.startswith("P") else ()
        says = 0 if away or number % 3 == still else rounds
        people.append(together(name, says, rng, resumes=True, away=away))
    pause = Pause(at, seconds, still)
    return Scenario(people, duration=moment(rounds) + 12, servers=3, pauses=[pause], keep=12)


@for_a_log
def cut_off(rng: Random) -> Scenario:
    """While people at three servers talk, one of these is cut off from the log for some seconds. Later the log's own
    server is killed, and started again."""
    rounds = 22
    names = "Ann", "Bob", "Cy", "Di", "Eve", "Flo"  # two at each server
    talk = [together(name, rounds, rng, resumes=name in ("Ann", "Bob", "Cy")) for name in names]
    since = moment(rng.randint(3, 5)) + rng.uniform(*STRIKE)
    cut = Cut(since, since + rng.uniform(8, 10), rng.randrange(3))
    kill = Kill(moment(rng.randint(14, 16)) + rng.uniform(*STRIKE), rng.uniform(0.2, 3), server=LOG)
    end = moment(rounds) + 8
    return Scenario([*talk, reader("Zoe", end)], duration=end + 10, servers=3, cuts=[cut], kills=[kill])


def killed(rng: Random, rounds: int, *between: tuple[int, int], power: bool = False, disk: bool = False) -> Scenario:
    """Four talk, and come back when the server does, Bob and Di with what they heard last. Eve asks for all that was
    said then, and Zoe at the end.

    `between`: for each kill, the first and the last time that people speak at which it may be.
    """
    talk = [together(name, rounds, rng, resumes=name == "Bob") for name in ("Ann", "Bob", "Cy")]
    di = together("Di", rounds, rng, texts=["ok"] * rounds, resumes=True)
    moments = [moment(rng.randint(*numbers)) + rng.uniform(*STRIKE) for numbers in between]
    kills = [Kill(at, rng.uniform(0.2, 1), power, disk) for at in moments]
    end = moment(rounds) + 8
    back = kills[-1].at + kills[-1].back_after
    readers = reader("Eve", back + rng.uniform(0.1, 3)), reader("Zoe", end)
    return Scenario([*talk, di, *readers], duration=end + 30, kills=kills)


def moment(number: int) -> float:
    """When people speak for the first, the second, ... time: seconds from the start."""
    return 0.5 + PACE * number


def together(name: str, rounds: int, rng: Random, **changes) -> Client:
    """Speaks at these times, as others do, and comes back whenever its connection has ended."""
    joins = rng.uniform(0, 0.1)
    at = [moment(number) + rng.uniform(0, TOGETHER) - joins for number in range(rounds)]
    return commuter(name, joins=joins, at=at, **{"size": 100, **changes})


def tunnels(rounds: int, rng: Random) -> list[tuple[float, float]]:
    """Two, that begin while people speak."""
    first, second = rng.randrange(1, rounds // 2 - 1), rng.randrange(rounds // 2 + 1, rounds)
    begins = [moment(number) + rng.uniform(*STRIKE) for number in (first, second)]
    ends = [moment(number + 1) + rng.uniform(*STRIKE) for number in (first, second)]
    return list(zip(begins, ends))


def reader(name: str, joins: float) -> Client:
    return late_joiner(name, joins, path=ALL)
