"""Checks for chapter 99, in virtual time. A choice is judged by what it does to the people of the case, and the reasons
for it by whether they are so. Taste is not judged: several rooms pass each case."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from chatroom_lib import (
    Scenario,
    Trace,
    flooder,
    frozen,
    late_joiner,
    listener,
    simulate,
    slow_reader,
    talker,
    typist,
    vanishing,
)  # fmt: skip
from chatroom_lib.checker.guarantees import most_within
from exercises import NotYet, exercise, kept, no_errors

FATES = ("prompt", "late", "gaps", "refused", "evicted")
SEEDS = range(3)


def fate(trace: Trace, name: str) -> str:
    """What a room does to somebody: the worst that happened to them in this run, one of FATES."""
    if name in trace.evicted() or trace.of("lost", who=name):
        return "evicted"
    if trace.of("refused", who=name):
        return "refused"
    if name not in trace.first("joined") or trace.missed()[name]:
        return "gaps"
    return "late" if latest(trace, [name]) > 1 else "prompt"


def latest(trace: Trace, names: Iterable[str]) -> float:
    """Seconds from saying to hearing, the most that any of them had to wait for anything."""
    return max((late for event, late in trace.latencies() if event.who in names), default=0.0)


class Need(NamedTuple):
    """What a case needs: `holds` of each run. `measured` says what was measured instead."""

    text: str
    measured: Callable[[Trace], str]
    holds: Callable[[Trace], bool]


class Case(NamedTuple):
    scenario: Scenario
    needs: list[Need]
    people: tuple[str, ...]  # whose fates a choice must foretell


def judge(case: Case, room: type) -> None:
    """Raises NotYet, with all that does not hold, unless the room meets the case's needs and the reasons are so."""
    traces = [simulate(room, case.scenario, seed) for seed in SEEDS]
    for trace in traces:
        no_errors(trace)
    because = getattr(room, "because", {})
    needs = {need.text: partial(require_need, need, traces) for need in case.needs}
    reasons = {f"because, {name}": partial(require_reason, name, because.get(name), traces) for name in case.people}
    kept(needs | reasons)


def require_need(need: Need, traces: list[Trace]) -> None:
    for trace in traces:
        if not need.holds(trace):
            raise NotYet(need.measured(trace))


def require_reason(name: str, told: str | None, traces: list[Trace]) -> None:
    measured = " or ".join(sorted({fate(trace, name) for trace in traces}))
    if told not in FATES:
        raise NotYet(f"say one of {', '.join(FATES)}")
    if measured != told:
        raise NotYet(f"you say {told}, measured: {measured}")


# ---------------------------------------------------------------- the price ticker

PRICE_WATCHERS = "Ann", "Cy"
FEED = talker("Feed", says=300, every=0.1, size=1000)
TICKER = Case(
    Scenario([FEED, listener("Ann"), listener("Cy"), slow_reader("Bob", pause=0.5)], duration=300),
    [
        Need(
            "Ann and Cy see every price within a second",
            lambda trace: (
                f"Cy saw {len(trace.heard('Cy'))} of {FEED.says}, up to {latest(trace, PRICE_WATCHERS):.0f} s late"
            ),
            lambda trace: len(trace.heard("Cy")) == FEED.says and latest(trace, PRICE_WATCHERS) <= 1,
        ),
        Need(
            "no price that Bob sees is more than 10 s old",
            lambda trace: f"{latest(trace, ['Bob']):.0f} s",
            lambda trace: latest(trace, ["Bob"]) <= 10,
        ),
        Need("Bob stays connected", lambda trace: "evicted", lambda trace: fate(trace, "Bob") != "evicted"),
    ],
    people=("Ann", "Bob"),
)


@exercise
def check_the_ticker(room: type) -> None:
    judge(TICKER, room)


# ---------------------------------------------------------------- the office chat

LINES = "hi", "ok", "anyone here?", "yes", "no", "lunch at 12?", "ok", "see you", "bye"
STAFF = "Ann", "Cy", "Pat"


def failed_staff(trace: Trace) -> list[str]:
    """Who stays, reads and misses something, and who of the prompt readers is late or evicted."""
    bad = {"Di": ("gaps",)} | dict.fromkeys(STAFF, ("late", "gaps", "evicted"))
    return [name for name, fates in bad.items() if fate(trace, name) in fates]


def megabytes(trace: Trace) -> float:
    """The most that the room held at any moment, in its objects and in buffers."""
    return max((sample.bytes + sample.buffered for sample in trace.memory), default=0) / 1e6


OFFICE = Case(
    Scenario(
        [
            *(talker(name, says=225, every=1.5, size=4000) for name in ("Ann", "Cy")),
            typist("Pat", *LINES), slow_reader("Di", pause=1.5), frozen("Bob"),
        ],
        duration=2000,
    ),
    [
        Need(
            "nobody who stays has gaps; Ann, Cy and Pat stay, and are never late",
            lambda trace: ", ".join(f"{name}: {fate(trace, name)}" for name in failed_staff(trace)),
            lambda trace: not failed_staff(trace),
        ),
        Need(
            "Pat, who types short lines, is not refused",
            lambda trace: f"{len(trace.of('refused', who='Pat'))} refused",
            lambda trace: not trace.of("refused", who="Pat"),
        ),
        Need(
            "the room never holds more than 1.5 MB",
            lambda trace: f"{megabytes(trace):.1f} MB",
            lambda trace: megabytes(trace) <= 1.5,
        ),
    ],
    people=("Di", "Pat"),
)  # fmt: skip


@exercise
def check_the_office(room: type) -> None:
    judge(OFFICE, room)


# ---------------------------------------------------------------- the game lobby

COMING = {f"P{number}": 5 + 2.5 * number for number in range(10)}  # name -> when they join
PLAYERS = "Ann", "Pat"


def slowest_door(trace: Trace) -> float:
    """Seconds from joining to being in the pool, the most that anybody waited."""
    entered = trace.first("entered")
    return max(entered.get(name, trace.duration) - time for name, time in trace.first("joined").items())


def of_flo_within_10_s(trace: Trace) -> int:
    """The most messages of Flo's that Ann heard within 10 s."""
    return most_within([e.time for e in trace.of("heard", who="Ann") if e.message.startswith("Flo ")], 10)


def harmed(trace: Trace) -> list[str]:
    """Who is still in the pool after their crash, and who of the healthy missed something or was evicted."""
    ghosts = [name for name in trace.in_pool() if name in trace.gone()]
    return ghosts + [name for name in PLAYERS if fate(trace, name) not in ("prompt", "refused")]


def players() -> list:
    """Half of those who come crash after four seconds."""
    half = [late_joiner(name, time) for name, time in COMING.items() if int(name[1:]) % 2]
    return half + [vanishing(n, time + 4, joins=time) for n, time in COMING.items() if not int(n[1:]) % 2]


LOBBY = Case(
    Scenario(
        [
            talker("Ann", says=30, every=1.5), typist("Pat", *LINES, *LINES, *LINES),
            frozen("Bob", vanishes=25), flooder("Flo", says=200, starts=1), *players(),
        ],
        duration=120,
    ),
    [
        Need(
            "whoever comes is in within 50 ms",
            lambda trace: f"{slowest_door(trace):.2f} s",
            lambda trace: slowest_door(trace) <= 0.05,
        ),
        Need(
            "nobody hears more than 100 messages of one player within 10 s",
            lambda trace: f"{of_flo_within_10_s(trace)} of Flo's",
            lambda trace: of_flo_within_10_s(trace) <= 100,
        ),
        Need(
            "whoever crashes is out of the room, and harms nobody else",
            lambda trace: ", ".join(harmed(trace)),
            lambda trace: not harmed(trace),
        ),
    ],
    people=("Flo", "Pat"),
)  # fmt: skip


@exercise
def check_the_lobby(room: type) -> None:
    judge(LOBBY, room)
