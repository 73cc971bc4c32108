"""The four guarantees about a history: kept by v6, broken by rooms that are wrong in one way each, and fair."""

import json
import random
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from chatroom_lib import Kill, Scenario, check, commuter, compare, frozen, listener, simulate, talker
from chatroom_lib.checker.guarantees import GROUPS, GUARANTEES, NO_PATH, judge
from chatroom_lib.checker.scenarios import SCENARIOS
from chatroom_lib.checker.scorecard import Grid, GuaranteeError, Score
from chatroom_lib.frames import frames
from chatroom_lib.history import History
from chatroom_lib.message import encode
from chatroom_lib.reference_rooms import AckAtOnce, CommitBehind, SyncNormal
from chatroom_lib.reference_rooms.history_room import HistoryRoom
from chatroom_lib.rooms import v5, v6
from tests.helpers import STORM, for_one_server
from tests.test_guarantees import trace_of

OF_A_HISTORY = [name for name, group in GROUPS.items() if group == "history"]
THE_FOUR = ["kept", "one-history", "said-once", "answered"]
FOR_HISTORIES = {name: SCENARIOS[name] for name in for_one_server(STORM)}
TO_RESUME = "slow reader and kill"  # a slow reader who cannot resume loses what was on the way when the server died

# ---------------------------------------------------------------- a good room, and the same room spoilt


class AcknowledgesEarly(v6.Room):
    """One message in so many it acknowledges before it is written down, with the number that it expects."""

    one_in = 8

    async def next_batch(self):
        batch = await super().next_batch()
        for number, (connection, message) in enumerate(batch, self.history.last + 1):
            if random.random() < 1 / self.one_in:
                self.deliver(connection, self.frame(self.acknowledgement(message, number), connection))
        return batch

    def frame(self, message, connection):
        return frames([encode(message).encode()], connection)

    def acknowledgement(self, message, number):
        return replace(message, seq=number)


class AcknowledgesEarlyWithoutNumber(AcknowledgesEarly):
    def acknowledgement(self, message, number):
        return message


class AcknowledgesAllEarly(AcknowledgesEarly):
    one_in = 1


class KnowsByContent(History):
    """It looks a message up by what it says, and passes on the id that it had first."""

    def write(self, messages, once):
        known = {
            (message.token, message.content): message for message in self.select(self.writer, "true ORDER BY seq DESC")
        }
        said_before = [known.get((message.token, message.content)) for message in messages]
        new = [message for message, before in zip(messages, said_before) if not before]
        first = {(message.token, message.content): message for message in reversed(new)}
        kept = super().write([*first.values()][::-1], False)
        known |= {(message.token, message.content): message for message in kept}
        return [known[message.token, message.content] for message in messages]


class Burns(History):
    """A number for each message, known or not, as SQLite's AUTOINCREMENT does with ON CONFLICT DO NOTHING."""

    drawn = 0

    def write(self, messages, once):
        self.drawn = max(self.drawn, self.newest())
        kept = []
        with self.transaction():
            for message in messages:
                self.drawn += 1
                key = message.token, message.id
                if not (entry := self.kept_as(key)):
                    entry = replace(message, seq=self.drawn)
                    row = entry.seq, entry.token, entry.content, entry.id, 0.0
                    self.writer.execute("INSERT INTO message VALUES (?, ?, ?, ?, ?)", row)
                    self.numbers[key] = entry.seq
                kept.append(entry)
        self.last = self.newest()
        return kept


class With(v6.Room):
    """v6 with another history."""

    history_class = History

    def __init__(self, path=None):
        super().__init__(path)
        self.history = self.history_class(path)


class DedupesByContent(With):
    history_class = KnowsByContent


class DedupesByContentUnderTheNewName(DedupesByContent):
    """The second time it hears its own words come back under the name that it gave them."""

    def acknowledge_again(self, batch, kept):
        again = [replace(message, id=said.id) for (_, said), message in zip(batch, kept)]
        super().acknowledge_again(batch, again)


class BurnsNumbers(With):
    history_class = Burns


class ReusesNumbers(v6.Room):
    """Numbers begin anew with each start."""

    async def __aenter__(self):
        await super().__aenter__()
        self.before = self.history.last

    def broadcast(self, messages):
        super().broadcast([replace(message, seq=message.seq - self.before) for message in messages])


class ShowsNothing(v6.Room):
    async def catch_up(self, connection, messages):
        await super().catch_up(connection, 0)


class LeavesOutOne(v6.Room):
    """Of those whom it shows its history."""

    async def catch_up(self, connection, messages):
        find, self.history.after = self.history.after, self.some
        self.real = find
        try:
            await super().catch_up(connection, messages)
        finally:
            del self.history.after

    async def some(self, *arguments):
        return [message for message in await self.real(*arguments) if message.seq != 4]


class TellsOthersAgain(v6.Room):
    """Who said again what is known: everybody hears it once more."""

    def acknowledge_again(self, batch, kept):
        for connection in list(self.connections):
            super().acknowledge_again([(connection, message) for _, message in batch], kept)


class NeverAcknowledgesAgain(v6.Room):
    def acknowledge_again(self, batch, kept):
        pass


class GivesNumbersTwice(v6.Room):
    """To two messages that come at once."""

    def broadcast(self, messages):
        super().broadcast([replace(message, seq=messages[-1].seq) for message in messages])


class CountsFromZero(v6.Room):
    def broadcast(self, messages):
        super().broadcast([replace(message, seq=message.seq - 1) for message in messages])


SEEDS = range(3)
MUTANTS = [
    (AckAtOnce, "kept", ("restart",)),
    (CommitBehind, "kept", ("two kills",)),
    (CommitBehind, "one-history", ("two kills",)),
    (SyncNormal, "kept", ("power cut",)),
    (SyncNormal, "one-history", ("power cut",)),
    (AcknowledgesAllEarly, "kept", ("two kills",)),
    (DedupesByContent, "answered", ("restart",)),
    (DedupesByContent, "delivery", ("restart",)),
    (DedupesByContentUnderTheNewName, "one-history", ("restart",)),
    (DedupesByContentUnderTheNewName, "delivery", ("restart",)),
    (BurnsNumbers, "one-history", ("commuting",)),
    (ReusesNumbers, "one-history", ("restart",)),
    (ShowsNothing, "kept", ("restart",)),
    (LeavesOutOne, "kept", ("restart",)),
    (LeavesOutOne, "one-history", ("restart",)),
    (v5.Room, "said-once", ("commuting",)),
    (TellsOthersAgain, "said-once", ("commuting",)),
    (NeverAcknowledgesAgain, "answered", ("commuting",)),
    (GivesNumbersTwice, "one-history", ("restart",)),
    (CountsFromZero, "one-history", ("restart",)),
]


@pytest.fixture(scope="module")
def good():
    """Of v6: (scenario, seed) -> its verdicts."""
    return {(name, seed): judge(simulate("v6", SCENARIOS[name], seed)) for name in FOR_HISTORIES for seed in SEEDS}


def test_v6_keeps_everything_but_what_a_slow_reader_had_not_read_when_the_server_died(good):
    wrong = {(scenario, name) for (scenario, _), found in good.items() for name in found if found[name].kept is False}
    assert wrong == {(TO_RESUME, "delivery")}
    for name in THE_FOUR:
        assert sum(found[name].kept is True for found in good.values()) >= len(SEEDS), name


@pytest.mark.parametrize("room, guarantee, names", MUTANTS, ids=lambda value: getattr(value, "__name__", None))
def test_a_spoilt_room_is_found_out(good, room, guarantee, names):
    found = []
    for name in names:
        broken = [
            verdict for seed in SEEDS if not (verdict := judge(simulate(room, SCENARIOS[name], seed))[guarantee]).kept
        ]
        assert [verdict for verdict in broken if verdict.kept is False and verdict.evidence], name
        found += broken
    assert found


def test_every_guarantee_is_spoilt_at_least_once():
    assert set(THE_FOUR) <= {guarantee for _, guarantee, _ in MUTANTS}


@pytest.mark.slow
@pytest.mark.parametrize("room", [AcknowledgesEarly, AcknowledgesEarlyWithoutNumber])
def test_whoever_acknowledges_too_early_now_and_then_is_found_out(room):
    some = {name: SCENARIOS[name] for name in ("restart", "two kills", "power cut")}
    card = check(room, 12, scenarios=some, progress=False)
    assert card.scores["kept"].broken and "did not find it" in card.scores["kept"].evidence
    assert set(card.broken) <= {"kept", "one-history", "said-once"}


def test_only_a_power_cut_tells_that_a_commit_does_not_wait_for_the_medium():
    for name in set(FOR_HISTORIES) - {"power cut", TO_RESUME}:
        assert not [v.evidence for v in judge(simulate(SyncNormal, SCENARIOS[name], 0)).values() if v.kept is False]


def test_what_the_three_share_keeps_everything():
    card = check(HistoryRoom, 2, progress=False)
    assert [*card.broken] == ["delivery", "return"] and card.scores["delivery"].scenario == TO_RESUME
    assert card.untested == ["no-gap", "in-order", "catch-up", "isolation", "noticed", "no-false-alarm"]


# ---------------------------------------------------------------- where they are tried


def test_scenarios_for_histories_are_tried_only_with_rooms_that_take_a_path():
    some = {"healthy": SCENARIOS["healthy"], "again": FOR_HISTORIES["restart"]}
    without, with_path = (check(room, 2, scenarios=some, progress=False) for room in ("v4", "v6"))
    assert with_path.tried == ["healthy", "again"] and with_path.cells["kept", "again"].kept == 2
    assert without.tried == ["healthy"] and without.cells["delivery", "again"].untested == NO_PATH
    assert set(OF_A_HISTORY) <= set(without.untested)
    assert json.loads(json.dumps(without.as_dict()))["guarantees"]["kept"]["untested"] == NO_PATH
    assert simulate("v4", FOR_HISTORIES["restart"], 1).of("killed")  # if one asks for it


def test_the_tables_leave_out_what_was_not_tried_and_say_so_in_one_line():
    some = {"healthy": SCENARIOS["healthy"], "restart": SCENARIOS["restart"]}
    card = check("v4", 1, scenarios=some, progress=False)
    line = f"not tested: history ({NO_PATH})"
    for table in (card, compare(card, card)):
        assert (
            line in repr(table).splitlines()
            and "\nhistory" not in repr(table)
            and ">history<" not in table._repr_html_()
        )
    assert "restart" not in repr(card) and "restart" not in card._repr_html_()
    assert f"<b>not tested</b>: {line.partition(': ')[2]}" in card._repr_html_()
    both = compare(card, check("v6", 1, scenarios=some, progress=False))
    assert "\nhistory" in repr(both) and NO_PATH not in repr(both)


def test_a_table_of_all_scenarios_cuts_no_name():
    rows = {name: [Score()] * (len(SCENARIOS) + 1) for name in GUARANTEES}
    rows = {name: [Score(tested=200, broken=200)] * len(scores) for name, scores in rows.items()}
    grid = Grid("v6", 200, ["any", *SCENARIOS], rows)
    for width in (80, 100, 110, 140):
        console = Console(file=StringIO(), width=width, color_system=None)
        console.print(grid)
        text = console.file.getvalue()
        assert "\N{HORIZONTAL ELLIPSIS}" not in text and max(map(len, text.splitlines())) <= width
        assert all(word in text for name in SCENARIOS for word in name.split())


def test_what_is_about_a_history_is_required_of_a_room_without_one_only_by_name():
    card = check("v4", 1, scenarios={"healthy": SCENARIOS["healthy"]}, progress=False)
    card.require(but=["recovery", "bounded-memory", "no-leak", "rate-limit", "prompt-join", "no-head-of-line-blocking"])
    with pytest.raises(GuaranteeError, match="kept: not tested: the room takes no `path`"):
        card.require("kept")
    history = check("v6", 1, scenarios={"healthy": SCENARIOS["healthy"]}, progress=False)
    with pytest.raises(GuaranteeError, match="answered: not tested: the room passes no ids on"):
        history.require(but=["kept"])


def test_the_shortest_run_of_a_room_that_loses_something_has_few_messages_and_one_kill():
    twice = replace(SCENARIOS["power cut"](random.Random(0)), kills=[Kill(4, power=True), Kill(8, power=True)])
    trace = check(SyncNormal, 1, scenarios={"twice": twice}, progress=False).shortest("kept", progress=False)
    assert len(trace.of("said")) <= 2 and len(trace.of("killed")) == 1


# ---------------------------------------------------------------- the small print, on traces made by hand

ANN, BOB, CY = (commuter(name, says=9, joins=0) for name in ("Ann", "Bob", "Cy"))
ZOE = listener("Zoe", joins=50, path="/chatroom?last=1000")


def said(time, who, word, id=None, kind="said"):
    return time, kind, who, f"{who} {word}", None, id


def again(time, who, word, id):
    return said(time, who, word, id, "said again")


def heard(time, who, message, seq=None, id=None, kind="heard"):
    return time, kind, who, message, seq, id


def verdict(guarantee, *events, clients=(ANN, BOB, CY), **fields):
    trace = trace_of(*events, clients=clients, **fields)
    late = [client.name for client in clients if client.joins]
    trace.events = [event for event in trace.events if not (event.who in late and event.time == 0)]
    trace.events.sort(key=lambda event: event.time)
    return judge(trace)[guarantee]


KILL = [(10, "killed", "room"), (11, "started", "room")]
BACK = [
    event
    for name in ("Ann", "Bob", "Cy")
    for event in ((10.1, "lost", name), (12, "joined", name), (12, "entered", name))
]
COMES = [(50, "joined", "Zoe"), (50, "entered", "Zoe")]
FIVE = [
    event
    for n in range(1, 6)
    for event in (said(n, "Ann", n), heard(n + 0.1, "Ann", f"Ann {n}", n), heard(n + 0.1, "Bob", f"Ann {n}", n))
]


def replayed(*numbers, name="Zoe", time=50.1):
    return [heard(time, name, f"Ann {n}", n) for n in numbers]


@pytest.mark.parametrize(
    "numbers, kept",
    [
        ([1, 2, 3, 4, 5], True),
        ([3, 4, 5], True),  # the older ones have been forgotten
        ([5], True),
        ([], False),
        ([1, 2, 3, 4], False),
        ([1, 2, 4, 5], False),
    ],
)
@pytest.mark.parametrize("events", [FIVE, FIVE + KILL + BACK], ids=["no kill", "a kill"])
def test_a_replay_has_what_was_heard_before_but_for_what_is_forgotten(events, numbers, kept):
    found = verdict("kept", *events, *COMES, *replayed(*numbers), clients=(ANN, BOB, CY, ZOE))
    assert found.kept is kept, found
    if not numbers:
        killed = ", the server was killed at 10.000 s" if events is not FIVE else ""
        what = f"Ann heard Ann 5 (number 5) at 5.100 s{killed}"
        assert found.evidence == f"{what}, and Zoe, who asked for the history at 50.000 s, did not find it"


def test_an_empty_replay_is_none_also_if_something_new_is_said_then():
    new = [said(50.5, "Ann", 6), heard(50.6, "Zoe", "Ann 6", 6)]
    assert verdict("kept", *FIVE, *COMES, *new, clients=(ANN, BOB, CY, ZOE)).kept is False


def test_an_acknowledgement_is_no_beginning_of_a_replay():
    asks = commuter("Ann", says=9, joins=0, path="/chatroom?last=2")
    events = [
        *FIVE,
        (9, "away", "Ann"),
        (12, "joined", "Ann"),
        again(12.1, "Ann", 1, "a"),
        heard(12.2, "Ann", "Ann 1", 1, "a"),
    ]
    events[0] = said(1, "Ann", 1, "a")
    for shown, kept in (([4, 5], True), ([], False)):
        assert verdict("kept", *events, *replayed(*shown, name="Ann", time=12.3), clients=(asks, BOB, CY)).kept is kept


def test_whoever_is_told_that_it_is_said_is_told_so_for_ever():
    told = [
        said(6, "Ann", 6, "a"),
        heard(6.1, "Ann", "Ann 6", None, "a"),
        heard(6.1, "Ann", "Ann 6", None, "a", "acknowledged"),
    ]
    named = [(*event[:5], f"id {event[0]}") if event[1] == "said" else event for event in FIVE]
    named = [(*event[:5], f"id {event[4]}") if event[1] == "heard" and len(event) > 5 else event for event in named]
    shown = [(*event[:5], f"id {event[4]}") for event in replayed(1, 2, 3, 4, 5)]
    people = ANN, BOB, CY, ZOE
    lost = verdict("kept", *named, *told, *KILL, *BACK, *COMES, *shown, clients=people)
    assert lost.kept is False and lost.evidence.startswith(
        "Ann heard Ann 6 at 6.100 s, the server was killed at 10.000 s"
    )
    assert verdict(
        "kept", *named, *told, *KILL, *BACK, *COMES, *shown, heard(50.2, "Zoe", "Ann 6", 6, "a"), clients=people
    ).kept


@pytest.mark.parametrize(
    "clients, events",
    [
        ((ANN, BOB, CY), FIVE),  # nobody asks
        ((ANN, BOB, CY, ZOE), COMES),  # there is nothing to find
        ((ANN, BOB, CY, ZOE), [*FIVE, *COMES, (50.5, "lost", "Zoe"), (50.4, "killed", "room")]),  # gone at once
        ((ANN, BOB, CY, replace(ZOE, pause=5)), [*FIVE, *COMES]),  # it reads slowly
        ((ANN, BOB, CY, ZOE), [(*event[:4], None, *event[5:]) for event in [*FIVE, *COMES]]),  # no numbers
    ],
)
def test_where_nobody_can_look_nothing_is_found(clients, events):
    found = verdict("kept", *(event[:3] if len(event) < 5 else event for event in events), clients=clients)
    assert found.kept is None and found.evidence


def test_a_number_is_one_message_for_ever():
    other = [*FIVE, *KILL, *BACK, said(13, "Bob", 1), heard(13.1, "Cy", "Bob 1", 5)]
    says = "number 5 was Ann 5 to Ann at 5.100 s, the server was killed at 10.000 s, and Bob 1 to Cy at 13.100 s"
    assert verdict("one-history", *other).evidence == says
    same = [said(1, "Ann", "ok", "a"), said(2, "Ann", "ok", "b")]
    twice = heard(1.1, "Bob", "Ann ok", 1, "a"), heard(2.1, "Cy", "Ann ok", 1, "b")
    assert "and another Ann ok to Cy" in verdict("one-history", *same, *twice).evidence


@pytest.mark.parametrize(
    "numbers, kept", [([1, 2, 3], True), ([4, 5], True), ([1, 3], False), ([2, 1], False), ([1, 2, 2], False)]
)
def test_numbers_follow_one_another_in_each_visit(numbers, kept):
    talk = [said(n / 10, "Ann", n) for n in range(1, 6)]
    events = [*talk, *(heard(1 + place, "Bob", f"Ann {n}", n) for place, n in enumerate(numbers))]
    assert verdict("one-history", *events).kept is kept
    away = [(1.5, "away", "Bob"), (1.6, "joined", "Bob")]  # whoever was away may have missed some
    assert verdict("one-history", *events, *away).kept is (numbers != [1, 2, 2])
    ousted = [(90, "removed", "Bob"), (91, "lost", "Bob")]
    assert verdict("one-history", *events, *ousted).kept


def test_an_acknowledgement_and_a_page_are_no_step_back():
    talk = [*FIVE, (9, "away", "Ann"), (12, "joined", "Ann"), again(12.1, "Ann", 2, "a")]
    talk[3] = said(2, "Ann", 2, "a")
    back = [heard(12.2, "Ann", "Ann 2", 2, "a"), said(13, "Bob", 1), said(14, "Bob", 2)]
    live = [heard(13.1, "Ann", "Bob 1", 6), heard(13.2, "Ann", "Ann 2", 2, "a"), heard(14.1, "Ann", "Bob 2", 7)]
    assert verdict("one-history", *talk, *back, *live).kept
    assert verdict("one-history", *talk, *back, *live[:1], heard(13.2, "Ann", "Bob 2", 8)).kept is False
    page = replace(BOB, first='{"before": 4}')
    events = [*FIVE, *(heard(6, "Bob", f"Ann {n}", n) for n in (1, 2, 3))]
    assert verdict("one-history", *events, clients=(ANN, page, CY)).kept
    assert verdict("one-history", *events).kept is False


ONCE = [said(1, "Ann", 1, "a"), heard(1.1, "Bob", "Ann 1", 1, "a"), again(5, "Ann", 1, "a")]


@pytest.mark.parametrize(
    "more, kept",
    [
        ([heard(5.1, "Ann", "Ann 1", 1, "a")], True),  # the acknowledgement
        ([heard(5.1, "Ann", "Ann 1", 2, "a")], False),
        ([heard(5.1, "Cy", "Ann 1", 2, "a")], False),
        ([heard(5.1, "Bob", "Ann 1", 1, "a")], False),
        ([(3, "away", "Bob"), (4, "joined", "Bob"), heard(5.1, "Bob", "Ann 1", 1, "a")], True),  # a replay
    ],
)
def test_what_is_said_again_is_one_message(more, kept):
    assert verdict("said-once", *ONCE, *more).kept is kept


def test_whether_it_is_said_once_cannot_be_told_without_ids_or_if_nobody_says_it_again():
    relay = [ONCE[0], heard(1.1, "Bob", "Ann 1", None, "a"), ONCE[2], heard(5.1, "Bob", "Ann 1", None, "a")]
    for events in (ONCE[:2], [ONCE[0], ONCE[1][:5], ONCE[2]], relay):  # the last passes on frames as they are
        assert verdict("said-once", *events).kept is None


@pytest.mark.parametrize(
    "more, kept",
    [
        ([], False),
        ([heard(5, "Ann", "Ann ok", 2, "b", "acknowledged")], True),
        ([heard(5, "Ann", "Ann ok", None, "b", "refused")], True),
        ([(9, "away", "Ann")], None),  # it does not come back
        ([(9, "away", "Ann"), (99.5, "joined", "Ann")], None),  # it may still come
        ([(9, "away", "Ann"), (90, "joined", "Ann"), again(90, "Ann", "ok", "b")], False),
    ],
)
def test_whoever_stays_is_answered_and_of_two_that_look_the_same_each(more, kept):
    talk = [
        said(1, "Ann", "ok", "a"),
        heard(1.1, "Ann", "Ann ok", 1, "a"),
        heard(1.1, "Ann", "Ann ok", 1, "a", "acknowledged"),
    ]
    found = verdict("answered", *talk, said(2, "Ann", "ok", "b"), *more, ending="time is up")
    assert found.kept is kept, found


# ---------------------------------------------------------------- the others are fair to those who come back


def test_what_is_said_just_before_a_kill_or_a_tunnel_need_not_arrive():
    for moment, kept in ((9.5, True), (8.5, False)):
        talk = [*FIVE[:3], *(heard(1.1, name, "Ann 1", 1) for name in ("Bob", "Cy")), said(moment, "Ann", 2)]
        assert verdict("delivery", *talk, *KILL, *BACK).kept is kept
        tunnels = [event for name in ("Ann", "Bob", "Cy") for event in ((10, "away", name), (12, "joined", name))]
        assert verdict("delivery", *talk, *tunnels).kept is kept


def test_what_is_said_twice_and_heard_once_is_told_so():
    talk = [said(1, "Ann", "ok"), said(2, "Ann", "ok"), *(heard(3, name, "Ann ok") for name in ("Ann", "Bob", "Cy"))]
    assert verdict("delivery", *talk).evidence == "Ann heard Ann ok only 1 of the 2 times that it was said"


RETURN = [(3, "away", "Bob"), (4, "joined", "Bob")]


@pytest.mark.parametrize(
    "more, kept",
    [
        ([heard(5, "Bob", "Ann 1", 1)], False),
        ([*RETURN, heard(5, "Bob", "Ann 1", 1)], True),  # history, with its number
        ([*RETURN, heard(5, "Bob", "Ann 1")], False),
        ([*RETURN, heard(5, "Bob", "Ann 1", 2)], False),
        ([again(4, "Ann", 1, "a"), heard(5, "Bob", "Ann 1", 2)], True),  # another guarantee's
    ],
)
def test_a_replay_and_what_was_said_again_are_no_duplicates(more, kept):
    talk = [said(1, "Ann", 1, "a"), heard(1.1, "Bob", "Ann 1", 1), heard(1.1, "Cy", "Ann 1", 1)]
    assert verdict("at-most-once", *talk, *more).kept is kept
    asks = replace(BOB, first='{"before": 4}')
    assert verdict("at-most-once", *talk, heard(5, "Bob", "Ann 1", 1), clients=(ANN, asks, CY)).kept


def test_what_was_said_again_has_no_place_in_an_order_nor_a_time():
    order = [said(1, "Ann", 1, "a"), said(2, "Cy", 1, "c"), heard(1.1, "Bob", "Ann 1"), heard(2.1, "Bob", "Cy 1")]
    order += [heard(2.1, "Di", "Cy 1"), heard(6, "Di", "Ann 1")]
    di = commuter("Di", joins=0)
    assert verdict("total-order", *order, clients=(ANN, BOB, CY, di)).kept is False
    assert not verdict("total-order", *order, again(5, "Ann", 1, "a"), clients=(ANN, BOB, CY, di)).evidence.startswith(
        "Bob"
    )


def test_whoever_had_just_reached_the_server_that_was_killed_was_not_disconnected_by_the_room():
    late = commuter("Di", joins=9)
    events = [
        *KILL,
        *BACK,
        (10.001, "joined", "Di"),
        (10.002, "lost", "Di"),
        (12, "joined", "Di"),
        (12, "entered", "Di"),
    ]
    assert verdict("no-false-eviction", *events, clients=(ANN, BOB, CY, late)).kept
    gone = [(20.001, "joined", "Di"), (20.001, "entered", "Di"), (20.002, "lost", "Di")]
    assert verdict("no-false-eviction", *KILL, *BACK, *gone, clients=(ANN, BOB, CY, late)).kept is False


def test_nobody_is_deaf_who_was_not_there():
    talk = [said(9.5 + n / 10, "Ann", n) for n in range(3)] + [heard(9.9, "Cy", f"Ann {n}") for n in range(3)]
    assert verdict("no-false-eviction", *talk, *KILL, *BACK).kept


@pytest.mark.parametrize("moment, kept", [(9.9, False), (10.01, True), (10.5, True), (11.02, True), (12, False)])
def test_whoever_finds_no_server_was_not_turned_away(moment, kept):
    eve = listener("Eve", joins=moment)
    events = [said(1, "Ann", 1), *KILL, *BACK, (moment, "shut out", "Eve", "OSError")]
    for guarantee in ("admission", "prompt-join"):
        assert (verdict(guarantee, *events, clients=(ANN, BOB, CY, eve)).kept is not False) is kept


@pytest.mark.parametrize("guarantee", ["prompt-join", "no-head-of-line-blocking"])
def test_what_was_lost_on_its_way_and_said_again_is_not_late(guarantee):
    people = ANN, BOB, listener("Eve", joins=2), frozen("Fay", joins=0)
    talk = [said(1, "Ann", 1), (2, "joined", "Eve"), (2, "entered", "Eve"), said(3, "Ann", 2, "a")]
    late = [(3.1, "away", "Ann"), (6, "joined", "Ann"), *(heard(6.1, name, "Ann 2") for name in ("Bob", "Eve"))]
    early = [heard(1.1, name, "Ann 1") for name in ("Bob",)]
    assert verdict(guarantee, *talk, *early, *late, clients=people).kept is False
    assert verdict(guarantee, *talk, *early, *late, again(6, "Ann", 2, "a"), clients=people).kept is not False


def test_a_death_is_not_blamed_for_a_kill():
    ann, bob = talker("Ann", joins=0, at=(1, 5, 30)), frozen("Bob", joins=0, vanishes=3)
    talk = []
    for n in (1, 5):
        talk += [said(n, "Ann", n), said(n, "Ann", n, kind="accepted")]
        talk += [heard(n + 0.1, name, f"Ann {n}") for name in ("Ann", "Cy")]
    kill = [(10, "killed", "room"), (10.1, "lost", "Ann"), (10.1, "lost", "Cy"), (11, "started", "room")]
    events = [*talk, (3, "vanished", "Bob")]
    people = ann, bob, listener("Cy", joins=0)
    assert verdict("recovery", *events, *kill, clients=people).kept
    assert verdict("recovery", *events, (10.1, "removed", "Ann"), clients=people).kept is False


def test_whom_a_kill_has_disconnected_is_no_leak_and_a_history_in_a_file_takes_no_memory():
    talk = [talker(name, 160, every=0.5, size=2000) for name in ("Ann", "Cy")]
    kills = [Kill(at=70, back_after=0.5)]
    back = [commuter(name, says=60, starts=75, every=0.5, size=2000) for name in ("Di", "Eve")]
    trace = simulate(lambda path: v6.Room(path, limit=None), Scenario([*talk, frozen("Bob"), *back], 150, kills), 1)
    found = judge(trace)
    assert found["no-leak"].kept and found["bounded-memory"].kept and found["no-crash"].kept


def test_whoever_says_at_once_what_could_not_be_said_before_does_not_type():
    slow = [said(n, "Ann", n, f"{n}") for n in (1, 2, 3)]
    burst = [*slow, again(3.1, "Ann", 1, "1"), again(3.2, "Ann", 2, "2")]
    refused = heard(3.3, "Ann", "Ann 2", None, "2", "refused")
    paced = commuter("Ann", joins=0, at=(1, 2, 3))
    assert verdict("rate-limit", *slow, refused, clients=(paced, BOB)).kept is False
    assert verdict("rate-limit", *burst, refused, clients=(paced, BOB)).kept is None


def test_what_is_shown_of_a_history_is_not_late():
    trace = simulate("v6", SCENARIOS["commuting"], 1)
    assert max(delay for event, delay in trace.latencies() if event.who in ("Eve", "Zoe")) < 0.1
    assert len(trace.heard("Zoe")) == 40
