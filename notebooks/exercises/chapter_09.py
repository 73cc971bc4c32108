"""Checks for chapter 09, in virtual time. Each counts what is kept, and says what is missing."""

import asyncio
import random
from collections import Counter
from functools import partial
from random import Random

from chatroom_lib import Kill, Scenario, Trace, commuter, guarantees, listener, scenarios, simulate, talker
from chatroom_lib.reference_rooms import LocalFirst
from chatroom_lib.rooms import v9
from exercises import NotYet, everyone_hears_everything, exercise, found, is_a_reason, kept, no_errors


def played(room, scenario, seed: int) -> Trace:
    trace = simulate(room, scenario, seed)
    no_errors(trace)
    return trace


def gathering(rng: Random) -> Scenario:
    """Three talk at the same time, each at a server of their own, and at each somebody listens."""
    talk = [
        talker(name, at=[1 + 0.2 * number + rng.uniform(0, 0.004) for number in range(10)], size=20)
        for name in ("Ann", "Bob", "Cy")
    ]
    return Scenario([*talk, *map(listener, ("Di", "Eve", "Flo"))], duration=8, servers=3)


# ---------------------------------------------------------------- one story for all


class Relaying(LocalFirst):
    """LocalFirst: `accept` is called with each message of our own people, and `relay` with each that comes out of the
    history, also with our own. `self.send(self.connections, message)` sends one to all who are here."""


@exercise
def check_they_all_hear_one_story(room: type) -> None:
    made = partial(room, limit=None)
    traces = [played(made, gathering, seed) for seed in range(5)]

    def heard() -> None:
        for trace in traces:
            everyone_hears_everything(trace, trace.names, 30)

    def ordered() -> None:
        heard()
        for trace in traces:
            if crossed := trace.disagreements():
                one, other, first, second = crossed[0]
                raise NotYet(f"with seed {trace.seed} {one} hears {first} before {second}, and {other} after it")

    def numbered() -> None:
        heard()
        for trace in traces:
            if nameless := [event for event in trace.of("heard") if event.seq is None]:
                raise NotYet(f"{nameless[0].who} hears {nameless[0].message} without a number")

    kept(
        {
            "everybody hears everything, once": heard,
            "and all in one order": ordered,
            "each message with its number": numbered,
            "nothing is heard that a killed server takes along": partial(survives, room),
        }
    )


def survives(room: type) -> None:
    """Zoe asks a server that was not killed."""
    rounds = [commuter(name, at=[1 + number for number in range(6)], size=20) for name in ("Ann", "Bob", "Cy")]
    for seed in range(12):
        moment = 3 + Random(seed).uniform(0.001, 0.012)
        people = [*rounds, commuter("Zoe", joins=9, path="/chatroom?last=100")]
        trace = played(room, Scenario(people, duration=13, servers=3, kills=[Kill(moment, 1, server=1)]), seed)
        if lost := set(trace.first_heard(moment)) - set(trace.heard("Zoe")):
            raise NotYet(f"with seed {seed} somebody hears {min(lost)}, and Zoe, who asks later, does not find it")


# ---------------------------------------------------------------- ahead of the server


class Behind(v9.Room):
    """v9, whose processor has much else to do, and which does not wait when somebody comes who has heard more than it
    has sent."""

    async def follow(self):
        async for messages in self.history.follow(self.last):
            await asyncio.sleep(random.uniform(0.05, 0.7))
            self.broadcast(messages)

    async def catch_up_with(self, heard):
        pass


@exercise
def check_nobody_is_set_back(room: type) -> None:
    still = scenarios.SCENARIOS["one stands still"]
    traces = [played(room, still, seed) for seed in range(8)]
    wrong = Counter()
    evidence = {}
    for trace in traces:
        for name, verdict in guarantees.judge(trace).items():
            if verdict.kept is False:
                wrong[name] += 1
                evidence.setdefault(name, verdict.evidence)
    told, wait = from_the_future(room), longest_wait(room)
    kept(
        {
            "whoever is ahead of a server is not set back, and hears nothing twice": broken(
                "in-order", wrong, evidence
            ),
            "nor are they told that something is gone which is not": broken("no-gap", wrong, evidence),
            "and they hear all the rest": broken("delivery", wrong, evidence),
            "whoever is not ahead does not wait": found(
                wait < 0.3, f"Bob waits for {wait:.1f} s to be told where he is"
            ),
            "whoever says a number that nobody has given is welcomed all the same": found(told, "Bob waits for ever"),
        }
    )


def broken(name: str, wrong: Counter, evidence: dict):
    return found(not wrong[name], f"with {wrong[name]} of 8 seeds it is so: {evidence.get(name)}")


def longest_wait(room: type) -> float:
    """Seconds until somebody who comes back is told where he is, at one server, which he cannot be ahead of."""
    bob = commuter("Bob", away=[(1.5, 2), (3.2, 3.5)], resumes=True)
    trace = played(room, Scenario([talker("Ann", says=5, every=0.7), bob], duration=6), 1)
    told = [event.time for event in trace.of("welcomed", who="Bob")]
    return max((time - visit.joined for time, visit in zip(told, trace.visits()["Bob"])), default=float("inf"))


def from_the_future(room: type) -> bool:
    """Is somebody told where they are, who has heard a number of this history that it has not reached?"""
    look = played(room, Scenario([listener("Eve", path="/chatroom?since=:")], duration=5), 1)
    epoch = look.of("welcomed")[0].message  # the seed decides it
    bob = listener("Bob", joins=1, path=f"/chatroom?since={epoch}:1000000")
    return bool(played(room, Scenario([talker("Ann", says=5), bob], duration=5), 1).of("welcomed", who="Bob"))


# ---------------------------------------------------------------- how many servers


@exercise
def check_the_choice(room: type) -> None:
    costs = {
        "office": ("v8", "nobody there needs more than one process, and each further one is to be looked after"),
        "conference": ("v9", "one core does not carry them, and no second machine is needed for the others"),
        "exchange": ("v9.1", "when that machine burns, all stand still"),
    }
    given = {name: getattr(room, name, None) for name in costs}
    wrong = [
        f"{name} = {each!r}: choose v8, v9 or v9.1" for name, each in given.items() if each not in ("v8", "v9", "v9.1")
    ]
    if wrong:
        raise NotYet("; ".join(wrong))
    why = getattr(room, "why", "")
    kept(
        {f"{name} has the room that suits it": found(given[name] == good, cost) for name, (good, cost) in costs.items()}
        | {"you say why, in a sentence": found(is_a_reason(why), repr(why))}
    )
