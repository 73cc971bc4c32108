"""Checks for chapter 07, in virtual time. Each counts what is kept, and says what is missing, and with which seeds."""

import asyncio
from functools import partial

from chatroom_lib import Scenario, Trace, commuter, guarantees, simulate, slow_reader, talker
from chatroom_lib.checker.guarantees import Verdict
from chatroom_lib.reference_rooms.resuming_room import ResumingRoom
from chatroom_lib.rooms import v7
from chatroom_lib.trace import numbers_gone
from exercises import exercise, found, is_a_reason, kept, no_errors

SEEDS = 24
KEEPS = 3  # messages, in the second exercise


def rides(rng) -> Scenario:
    """Three talk all the time, and Cy goes through one tunnel after the other."""
    talk = [commuter(name, says=40, every=0.06, size=20) for name in ("Ann", "Bob", "Eve")]
    begins = [0.3 + 0.45 * number + rng.uniform(0, 0.1) for number in range(5)]
    return Scenario([*talk, commuter("Cy", resumes=True, away=[(begin, begin + 0.25) for begin in begins])], 8)


def played(room, scenario, seeds: int = SEEDS) -> list[Trace]:
    traces = [simulate(partial(room, limit=None), scenario, seed) for seed in range(seeds)]
    for trace in traces:
        no_errors(trace)
    return traces


def broken(traces: list[Trace], name: str) -> list[tuple[int, Verdict]]:
    """The seeds with which a guarantee is broken, and the verdicts."""
    verdicts = [(trace.seed, guarantees.GUARANTEES[name](trace)) for trace in traces]
    return [(seed, verdict) for seed, verdict in verdicts if verdict.kept is False]


def with_all_seeds(traces: list[Trace], name: str):
    """A requirement: that a guarantee is broken with no seed."""
    wrong = broken(traces, name)
    seeds = ", ".join(str(seed) for seed, _ in wrong[:8]) + ", ..." * (len(wrong) > 8)
    evidence = f"with seed {wrong[0][0]} {wrong[0][1].evidence}" if wrong else ""
    return found(not wrong, f"broken with {len(wrong)} of {len(traces)} seeds ({seeds}): {evidence}")


# ---------------------------------------------------------------- the address book


class AddressBook(ResumingRoom):
    """A room that looks up everybody who joins, in a directory that takes some milliseconds."""

    looked_up = strangers = 0  # visits; messages sent to somebody who was not looked up yet

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.known = set()

    async def look_up(self, connection):
        await asyncio.sleep(0.008)
        self.known.add(connection)
        AddressBook.looked_up += 1

    def send(self, connections, message):
        resuming = (each for each in connections if "since=" in each.request.path)
        AddressBook.strangers += sum(each not in self.known for each in resuming)
        super().send(connections, message)


@exercise
def check_the_address_book(room: type) -> None:
    AddressBook.looked_up = AddressBook.strangers = 0
    traces = played(room, rides)
    visits = sum(len(trace.of("welcomed")) for trace in traces)
    kept(
        {
            "whoever comes back is looked up": found(AddressBook.looked_up >= visits, f"{AddressBook.looked_up} are"),
            "before they hear what is new": found(not AddressBook.strangers, "some hear it before"),
            "nobody has a hole": with_all_seeds(traces, "no-gap"),
            "nobody hears anything twice, or late": with_all_seeds(traces, "in-order"),
            "all are level within a second": with_all_seeds(traces, "catch-up"),
        }
    )


# ---------------------------------------------------------------- what is gone


def long_absence(rng) -> Scenario:
    """Six speak at once, again and again; Cy is away three times, for longer than the room keeps."""
    talk = [talker(name, says=40, every=0.05, size=20) for name in ("Ann", "Bob", "Di", "Eve", "Flo", "Gus")]
    begins = [0.5 * number + rng.uniform(0.2, 0.3) for number in range(3)]
    return Scenario([*talk, commuter("Cy", away=[(begin, begin + 0.2) for begin in begins], resumes=True)], duration=20)


@exercise
def check_what_is_gone_is_told(room: type) -> None:
    traces = played(partial(room, keep=KEEPS), long_absence)
    wrong = [told for trace in traces for told in told_and_missed(trace) if told[0] != told[1]]
    exact = f"Cy was told {ends(wrong[0][0])}, and had not heard {ends(wrong[0][1])}" if wrong else ""
    kept(
        {
            "Cy has no hole that he was not told": with_all_seeds(traces, "no-gap"),
            "he is told both ends, as they are": found(not wrong, exact),
            "and hears nothing twice, or late": with_all_seeds(traces, "in-order"),
        }
    )


def ends(numbers: list[int]) -> str:
    return f"{min(numbers)} to {max(numbers)}" if numbers else "none"


def told_and_missed(trace: Trace) -> list[tuple[list[int], list[int]]]:
    """For each time that Cy was told of gaps: the numbers that he was told, and those that he has not heard there."""
    found, last, told = [], 0, []
    for event in trace.of("told a gap", "heard", who="Cy"):
        if event.kind == "told a gap":
            told += numbers_gone(event)
        else:
            if told:
                found.append((told, list(range(last + 1, event.seq))))
            last, told = event.seq, []
    return found


# ---------------------------------------------------------------- three programs

MISSED = 400  # messages that are said while somebody is away
ASKS = {"since": {"resumes": True}, "last=20": {"path": "/chatroom?last=20"}, "last=1": {"path": "/chatroom?last=1"}}


@exercise
def check_the_programs(choice: type) -> None:
    answers = {name: getattr(choice, name) for name in ("prices", "office", "alarms")}
    for name, asks in answers.items():
        if asks not in ASKS:
            raise ValueError(f"{name} asks for one of {', '.join(ASKS)}, not {asks!r}")
    runs = {name: coming_back(asks) for name, asks in answers.items()}
    newest = {name: newest_after(trace) for name, trace in runs.items()}
    heard = {name: len(set(trace.heard("Cy"))) for name, trace in runs.items()}
    kept(
        {
            "the newest price is there within half a second": found(*within(newest["prices"], 0.5)),
            "somebody back in the office reads the newest within two": found(*within(newest["office"], 2)),
            "and sees what it is about: twenty messages": found(heard["office"] >= 20, f"now {heard['office']}"),
            "no alarm is missing": found(heard["alarms"] == MISSED, f"{MISSED - heard['alarms']} of {MISSED} are"),
            "a reason, in why": found(is_a_reason(choice.why), "five words or more"),
        }
    )


def coming_back(asks: str) -> Trace:
    """Cy joins, is away while 400 messages are said, and comes back with a phone that takes 20 messages a second."""
    ann = talker("Ann", says=MISSED, starts=1, every=0.01, size=20)
    cy = slow_reader("Cy", pause=0.05, returns=True, away=[(0.5, 6)], **ASKS[asks])
    trace = simulate(partial(v7.Room, limit=None), Scenario([ann, cy], duration=60))
    no_errors(trace)
    return trace


def newest_after(trace: Trace) -> float:
    """Seconds from coming back to the newest message."""
    back = trace.of("joined", who="Cy")[-1].time
    times = [event.time - back for event in trace.of("heard", who="Cy") if event.message == f"Ann {MISSED}"]
    return min(times, default=float("inf"))


def within(seconds: float, most: float) -> tuple[bool, str]:
    return seconds <= most, f"after {seconds:.1f} s"
