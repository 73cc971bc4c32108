"""The three guarantees for those who resume: kept by v7, broken by rooms that are wrong in one way each, and fair."""

import asyncio
from dataclasses import replace

import pytest

from chatroom_lib import Scenario, check, commuter, listener, simulate, talker
from chatroom_lib.checker.guarantees import NO_POSITIONS, judge
from chatroom_lib.checker.scenarios import SCENARIOS
from chatroom_lib.history import History
from chatroom_lib.message import Gap, Position, encode_position, since_wanted
from chatroom_lib.reference_rooms import CatchUpToAll, JoinThenReplay, ReplayThenJoin
from chatroom_lib.reference_rooms.resuming_room import ResumingRoom
from chatroom_lib.rooms import v7
from tests.helpers import STORM, for_one_server
from tests.test_guarantees import trace_of

THE_THREE = ["no-gap", "in-order", "catch-up"]
FOR_HISTORIES = for_one_server(STORM)
SEEDS = range(3)


def broken_by(room, scenario, seeds=SEEDS) -> dict[str, str]:
    """The guarantees that a room breaks -> the first evidence."""
    found = {}
    for seed in seeds:
        for name, verdict in judge(simulate(room, SCENARIOS[scenario], seed)).items():
            if verdict.kept is False:
                found.setdefault(name, verdict.evidence)
    return found


# ---------------------------------------------------------------- a good room, and the same room spoilt


class StartsTooEarly(v7.Room):
    """It says where it is, and sends that message, too."""

    shift = -1

    async def tell(self, reader, position):
        await super().tell(reader, position)
        reader.position = max(0, position.seq + self.shift)


class StartsTooLate(StartsTooEarly):
    shift = 1


class LeavesOutTheLast(ResumingRoom):
    """Of what was missed."""

    async def replay(self, connection, position, level):
        await super().replay(connection, position, level - 1)


class CallsEveryFileTheSame(v7.Room):
    async def __aenter__(self):
        await super().__aenter__()
        self.history.epoch = "chat"
        return self


class NoGapTold(v7.Room):
    async def tell(self, reader, position):
        await super().tell(reader, self.told(position))

    def told(self, position: Position) -> Position:
        return replace(position, gap=None)


class GapTooShort(NoGapTold):
    by = -1

    def told(self, position):
        gap = position.gap
        return replace(position, gap=gap and Gap(gap.first, gap.last + self.by))


class GapTooLong(GapTooShort):
    by = 1


class GapToldLate(v7.Room):
    """A second later, when they have heard what follows."""

    async def tell(self, reader, position):
        await super().tell(reader, replace(position, gap=None))
        if position.gap:
            asyncio.create_task(self.tell_later(reader, position))

    async def tell_later(self, reader, position):
        await asyncio.sleep(1)
        await reader.connection.send(encode_position(position))


class SaysAllIsGone(v7.Room):
    """What somebody has missed it does not look for."""

    async def tell(self, reader, position):
        heard = since_wanted(reader.connection.request.path)
        gap = Gap(heard.seq + 1, self.last) if heard.epoch and heard.seq < self.last else None
        await super().tell(reader, Position(position.epoch, self.last, gap))


class NeverJoins(ResumingRoom):
    async def resume(self, connection, position):
        await self.replay(connection, position, self.last)


class JoinsLate(ResumingRoom):
    async def resume(self, connection, position):
        await self.replay(connection, position, self.last)
        await asyncio.sleep(2)
        self.connections[connection] = None


class OneMessageASecond(ResumingRoom):
    async def replay(self, connection, position, level):
        for number in range(position, level):
            await asyncio.sleep(1)
            await super().replay(connection, number, number + 1)


@pytest.mark.parametrize(
    "room, guarantee, scenario, evidence",
    [
        (StartsTooEarly, "in-order", "commuting", "after number"),
        (StartsTooLate, "no-gap", "commuting", "and was not told that it is gone"),
        (LeavesOutTheLast, "no-gap", "commuting", "and was not told that it is gone"),
        (CallsEveryFileTheSame, "one-history", "lost disk", "number 1 was "),
        (CallsEveryFileTheSame, "in-order", "lost disk", "was set back to 0"),
        (NoGapTold, "no-gap", "trimmed", "was told to be at number"),
        (NoGapTold, "no-gap", "lost disk", "that this is another history"),
        (GapTooShort, "no-gap", "trimmed", "and was not told that it is gone"),
        (GapTooLong, "no-gap", "trimmed", "are gone, and"),
        (GapToldLate, "no-gap", "trimmed", "and was not told that it is gone"),
        (SaysAllIsGone, "no-gap", "commuting", "are gone, and"),
        (SaysAllIsGone, "no-gap", "restart", "are gone, and"),
        (NeverJoins, "delivery", "mass return", "never heard"),
        (JoinsLate, "no-gap", "commuting", "and was not told that it is gone"),
        (OneMessageASecond, "catch-up", "commuting", "had heard only up to"),
        (ReplayThenJoin, "no-gap", "commuting", "and was not told that it is gone"),
        (JoinThenReplay, "in-order", "commuting", "after number"),
        (CatchUpToAll, "in-order", "commuting", "after number"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_room_that_resumes_wrongly_is_found_out(room, guarantee, scenario, evidence):
    found = broken_by(room, scenario, range(12) if room in (ReplayThenJoin, CatchUpToAll) else SEEDS)
    assert evidence in found.get(guarantee, ""), found


class TellsOfTooMany(v7.Room):
    """Numbers that nobody will ever reach."""

    async def tell(self, reader, position):
        await super().tell(reader, position)
        await reader.connection.send(encode_position(Position(position.epoch, 10**15, Gap(1, 10**15))))


def test_a_gap_of_a_million_billion_is_judged_as_fast_as_another():
    assert broken_by(TellsOfTooMany, "commuting", [0]).keys() >= {"no-gap", "in-order"}


# ---------------------------------------------------------------- rooms that are right in another way


class SmallBuffer(v7.Room):
    def __init__(self, path=None, **options):
        super().__init__(path, buffer_size=4096, **options)


class NothingInMemory(v7.Room):
    def __init__(self, path=None, keep=100_000):
        super().__init__(path, keep=keep)
        self.history = History(path, keep)


class NewEpochAtEachStart(v7.Room):
    """Its names are not easily put into an address."""

    async def __aenter__(self):
        await super().__aenter__()
        self.history.epoch += f": %3A+&{self.history.last}"
        return self


class SlowToWelcome(ResumingRoom):
    async def catch_up(self, connection, messages):
        await asyncio.sleep(0.3)
        await super().catch_up(connection, messages)


@pytest.mark.parametrize("scenario", FOR_HISTORIES)
@pytest.mark.parametrize(
    "room", ["v7", SmallBuffer, NothingInMemory, NewEpochAtEachStart, SlowToWelcome, ResumingRoom], ids=str
)
def test_a_room_that_resumes_rightly_breaks_nothing(room, scenario):
    assert broken_by(room, scenario) == {}


def test_an_epoch_may_be_called_whatever_is_text():
    trace = simulate(NewEpochAtEachStart, SCENARIOS["restart"], 0)
    names = [event.message for event in trace.of("welcomed")]
    assert len(set(names)) == 2 and all(name.partition(":")[2].startswith(" %3A+&") for name in names)
    assert {event.message for event in trace.of("told a gap")} == {"to 0"}


def test_the_three_are_tested_in_all_scenarios_in_which_somebody_resumes():
    for scenario in FOR_HISTORIES:
        found = [judge(simulate("v7", SCENARIOS[scenario], seed)) for seed in SEEDS]
        assert all(any(verdicts[name].kept for verdicts in found) for name in THE_THREE), scenario


@pytest.mark.parametrize("room", ["v5", "v6"])
def test_of_a_room_that_tells_no_positions_they_are_not_tested(room):
    for scenario in FOR_HISTORIES:
        found = judge(simulate(room, SCENARIOS[scenario], 0))
        assert [found[name] for name in THE_THREE] == [(None, NO_POSITIONS)] * 3
    assert "delivery" in broken_by(room, "slow reader and kill")


@pytest.mark.slow
def test_check_finds_each_of_the_reference_rooms_out_in_commuting_alone():
    some = {"commuting": SCENARIOS["commuting"]}
    for room, guarantee in ((ReplayThenJoin, "no-gap"), (JoinThenReplay, "in-order"), (CatchUpToAll, "in-order")):
        assert guarantee in check(room, 12, scenarios=some, progress=False).broken


# ---------------------------------------------------------------- what is read from a Trace

BOB = commuter("Bob", joins=0, resumes=True)


def verdicts(*events, clients=("Ann", BOB, "Cy")) -> list[bool | None]:
    found = judge(trace_of(*events, clients=clients, duration=40))
    return [found[name].kept for name in THE_THREE]


def hears(name: str, *numbers: int, at: float = 1.0) -> list[tuple]:
    return [(at + number / 100, "heard", name, f"Ann {number}", number) for number in numbers]


def welcomed(at: float, epoch: str, seq: int, gap: str | None = None, name: str = "Bob") -> list[tuple]:
    told = [(at, "told a gap", name, gap, seq)] if gap else []
    return [(at, "welcomed", name, epoch, seq), *told]


RESTART = (2, "killed", "room"), (2.5, "started", "room")


def returns(at: float, name: str = "Bob") -> list[tuple]:
    return [(at - 1, "lost", name), (at, "joined", name), (at, "entered", name)]


@pytest.mark.parametrize(
    "events, no_gap",
    [
        ([*welcomed(1, "a", 3), *hears("Bob", 4, 5)], True),  # what was before somebody came may be what it likes
        ([*welcomed(1, "a", 3), *hears("Bob", 4, 6)], False),
        ([*welcomed(1, "a", 3), *hears("Bob", 5)], False),
        ([*welcomed(1, "a", 3), *hears("Bob", 4), *returns(3), *welcomed(3, "a", 4), *hears("Bob", 5, at=3)], True),
        ([*welcomed(1, "a", 3), *hears("Bob", 4), *returns(3), *welcomed(3, "a", 6), *hears("Bob", 7, at=3)], False),
        ([*welcomed(1, "a", 3), *hears("Bob", 4), *returns(3), *welcomed(3, "a", 6, "5 to 6")], True),
        ([*welcomed(1, "a", 3), *hears("Bob", 4), *returns(3), *welcomed(3, "a", 6, "5 to 5")], False),
        ([*welcomed(1, "a", 3), *hears("Bob", 4), *returns(3), *welcomed(3, "a", 6, "6 to 6")], False),
        ([*welcomed(1, "a", 3), *hears("Bob", 4), *returns(3), *welcomed(3, "b", 0)], False),
        ([*welcomed(1, "a", 3), *hears("Bob", 4), *RESTART, *returns(3), *welcomed(3, "b", 0, "to 0")], True),
        # without a restart no history begins
        ([*welcomed(1, "a", 3), *hears("Bob", 4), *returns(3), *welcomed(3, "b", 0, "to 0")], False),
        ([*welcomed(1, "a", 3), *hears("Bob", 4), *welcomed(2, "a", 6, "5 to 6"), *hears("Bob", 7, at=2)], True),
        ([*welcomed(1, "a", 3), *hears("Bob", 4), *welcomed(2, "a", 6, "5 to 6"), *hears("Bob", 6, at=2)], False),
    ],
)
def test_between_two_numbers_nothing_is_missing_that_was_not_told_to_be_gone(events, no_gap):
    assert verdicts(*events)[0] is no_gap


@pytest.mark.parametrize(
    "when, no_gap", [(3.02, True), (5, False)], ids=["what was on the way then", "what was given later"]
)
def test_what_was_told_to_be_gone_nobody_hears_who_comes_later(when, no_gap):
    told = [*welcomed(1, "a", 3), *hears("Bob", 4), *returns(3), *welcomed(3, "a", 6, "5 to 6")]
    assert verdicts(*told, *returns(when, "Cy"), *hears("Cy", 6, at=when + 1))[0] is no_gap


def test_what_is_gone_of_a_history_may_be_said_in_the_next():
    told = [*welcomed(1, "a", 3), *hears("Bob", 4), *returns(3), *welcomed(3, "a", 6, "5 to 6")]
    again = [(8, "killed", "room", "disk lost"), (9, "started", "room"), *returns(9.5), *welcomed(9.5, "b", 0, "to 0")]
    assert verdicts(*told, *again, *returns(10, "Cy"), *hears("Cy", 1, 2, 3, 4, 5, at=10))[0] is True
    hidden = welcomed(9.5, "b", 2, "to 2")  # but 1 and 2 of the next are there
    assert verdicts(*told, *again[:-2], *hidden, *returns(12, "Cy"), *hears("Cy", 1, 2, at=12))[0] is False


def test_an_own_message_may_come_again_in_its_old_place_and_no_other():
    own = (2, "heard", "Bob", "Bob 1", 3)
    theirs = (2, "heard", "Bob", "Ann 3", 3)
    before = [*welcomed(1, "a", 2), *hears("Bob", 3, 4)]
    assert [verdicts(*before, event)[1] for event in (own, theirs)] == [True, False]


def test_whoever_reads_slowly_has_the_time_to_read_what_was_missed():
    def kept(pause: float) -> bool | None:
        bob = commuter("Bob", joins=0, resumes=True, pause=pause)
        late = [(14.5, "heard", "Bob", "Ann 10", 10)]
        theirs, mine = hears("Cy", *range(1, 11)), welcomed(12, "a", 0)
        return verdicts(*theirs, *returns(12), *mine, *late, clients=("Ann", bob, "Cy"))[2]

    assert [kept(pause) for pause in (0, 0.1, 0.2)] == [False, False, True]


def test_nobody_resumes_in_a_room_in_which_nobody_asks():
    trace = simulate("v7", Scenario([talker("Ann", says=3), listener("Cy")]))
    assert not trace.of("welcomed") and judge(trace)["no-gap"] == (None, NO_POSITIONS)
