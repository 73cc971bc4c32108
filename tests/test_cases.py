"""Rooms with the mistakes and the customs that people report, and the verdicts that they should get.

Each file in cases/ is about one pattern, and says in its docstring what is reported about it. Most of the rooms are a
change of the one in cases/plain.py.
"""

import re
from pathlib import Path

import pytest

from chatroom_lib import check
from chatroom_lib.checker.guarantees import GROUPS, GUARANTEES
from chatroom_lib.checker.scenarios import SCENARIOS
from chatroom_lib.rooms import RoomError

FOLDER = Path(__file__).parent / "cases"
ALWAYS, BOB = "also when everybody reads", "while Bob did not read"
WAITING = "prompt-join no-head-of-line-blocking"
UNHEARD = f"{WAITING} at-most-once total-order recovery"  # what may be if nobody understands anything
OF_A_HISTORY = {name for name, group in GROUPS.items() if group == "history"}  # which none of these rooms has
PRESENCE = {name for name, group in GROUPS.items() if group == "presence"}  # tested with those that ping
ABSENCE = "dark line", "slow but alive"  # which tell apart those that ping, or cut people off
NOT_SLOW = tuple(name for name in SCENARIOS if name not in ("slow reader", *ABSENCE))
WITH_ABSENCE = (*NOT_SLOW, *ABSENCE)
COMING_AND_GOING = "churn", "late joiner", "stillborn", "mass leave"
MEMORY = "late joiner", "frozen reader"
DEATH = "healthy", "churn", "frozen then dies"
SHUT_OUT = f"delivery {UNHEARD} bounded-memory no-false-alarm"  # or if nobody is let in


def case(breaks: str = "", may: str = "", keeps: str = "", seeds: int | None = None, scenarios=NOT_SLOW, **says: str):
    """What a room must break, what it may, and so what it must keep: the others. A limit (`rate-limit`) must be kept
    only where that is said. `seeds`: unless given, 1 for a room that breaks something, and 2 for one that does not.
    `says`: what the evidence for a guarantee must contain, as a regular expression."""
    must, either_way = set(breaks.split()), {*may.split(), "rate-limit"} - {*keeps.split()}
    assert must | either_way <= {*GUARANTEES}
    evidence = {name.replace("_", "-"): text for name, text in says.items()}
    seeds = seeds or (1 if must else 2)
    return must, {*GUARANTEES} - must - either_way - OF_A_HISTORY, seeds, scenarios, evidence


CASES = {
    "plain.py:Plain": case(),
    # ------------------------------------------------------------ waiting for others
    "locks.py:HeldWhileSending": case(f"delivery admission {WAITING}", no_head_of_line_blocking=BOB),
    "locks.py:FreeWhileSending": case(
        "no-head-of-line-blocking no-false-alarm", scenarios=WITH_ABSENCE, no_head_of_line_blocking=BOB
    ),
    "locks.py:TakenTwice": case("delivery admission no-head-of-line-blocking recovery", may="prompt-join no-leak"),
    "deadlocks.py:HubAndClientWait": case("delivery no-head-of-line-blocking recovery", may="prompt-join no-leak"),
    "blocking_calls.py:LooksUpEachMessage": case(
        "admission no-head-of-line-blocking", may="delivery prompt-join bounded-memory",
        no_head_of_line_blocking=f"{ALWAYS}; the room blocked the event loop for 1.2 s in LooksUpEachMessage.hear",
    ),
    "blocking_calls.py:LooksUpQuickly": case(),
    "blocking_calls.py:LooksUpInAThread": case(
        WAITING, scenarios=("churn", "frozen then dies"), seeds=1, no_head_of_line_blocking=ALWAYS
    ),
    "blocking_calls.py:LooksUpQuicklyInAThread": case(scenarios=("churn", "frozen then dies"), seeds=1),
    "blocking_calls.py:LoadsAProfileAtTheDoor": case(
        f"admission {WAITING}", admission="let in at .*; the room blocked the event loop for 2 s",
        no_head_of_line_blocking=ALWAYS,
    ),
    "late_by_design.py:Moderated": case(WAITING, no_head_of_line_blocking=ALWAYS),
    "late_by_design.py:Ticks": case(),
    "eviction.py:ClosesPolitely": case(
        "no-head-of-line-blocking", may="delivery prompt-join no-false-eviction recovery", no_head_of_line_blocking=BOB
    ),
    "eviction.py:Aborts": case(),
    "eviction.py:ClosesInATask": case(),
    "heartbeats.py:Pings": case(
        WAITING, may="total-order no-false-eviction noticed no-false-alarm", scenarios=WITH_ABSENCE
    ),
    "heartbeats.py:PingsWithoutLimit": case(  # whoever waits for Bob does not read, not even the answers to pings
        "no-false-eviction no-head-of-line-blocking",
        may="delivery prompt-join total-order recovery no-leak noticed no-false-alarm", scenarios=WITH_ABSENCE,
    ),
    "heartbeats.py:AsksInItsOwnWords": case(
        "no-false-eviction no-false-alarm", may="delivery recovery noticed", scenarios=WITH_ABSENCE
    ),
    # ------------------------------------------------------------ tasks and queues
    "task_references.py:ForgetsItsWriters": case(
        "no-false-eviction", may=f"delivery {WAITING} recovery bounded-memory", no_false_eviction="went deaf"
    ),
    "task_references.py:KeepsItsWriters": case("bounded-memory"),
    "tasks_per_message.py:TaskForEachBroadcast": case(f"delivery {WAITING} bounded-memory", may="total-order"),
    "tasks_per_message.py:TaskForEachSend": case("bounded-memory"),
    "gather.py:RaisesForTheSpeaker": case("no-false-eviction recovery", may=f"delivery {WAITING} no-leak"),
    "gather.py:ToleratesTheDead": case(f"delivery {WAITING}", may="total-order"),
    "set_while_iterating.py:IteratesOverTheSet": case(
        "no-false-eviction no-crash", may=f"delivery {WAITING} total-order recovery", no_crash="changed size"
    ),
    "set_while_iterating.py:IteratesOverACopy": case(f"delivery {WAITING}", may="total-order"),
    "full_queues.py:DropsTheOldest": case("delivery", scenarios=tuple(SCENARIOS)),
    "full_queues.py:DropsTheNewest": case("delivery", scenarios=("healthy", "slow reader")),
    "full_queues.py:WaitsForSpace": case(f"delivery {WAITING} recovery", may="total-order"),
    "full_queues.py:SwallowsItsCancellation": case(
        "no-leak", scenarios=("healthy",), no_leak="leaves tasks: SwallowsItsCancellation.write"
    ),
    "cancel_and_receive.py:UsesBoth": case("bounded-memory"),
    "cancel_and_receive.py:UsesOneOfTwo": case("delivery", may="bounded-memory", scenarios=("flood", "healthy")),
    "worker_threads.py:SavesFirst": case(scenarios=("churn", "flood"), seeds=1),
    "worker_threads.py:PublishesFromTheThread": case(scenarios=("churn", "flood"), seeds=1),
    "polling.py:Polls": case(scenarios=("churn", "frozen then dies"), seeds=1),
    "polling.py:PollsOften": case(scenarios=("healthy", "churn"), seeds=1),
    # ------------------------------------------------------------ what is kept
    "history.py:OnTheListAfterwards": case("prompt-join", may="delivery"),
    "history.py:OnTheListBefore": case("at-most-once total-order"),
    "history.py:OnTheListAtOnce": case(),
    "history.py:Holds50": case(scenarios=MEMORY),
    "history.py:Holds400": case(may="bounded-memory", scenarios=MEMORY),
    "history.py:HoldsEverything": case("bounded-memory", scenarios=MEMORY),
    "helper_functions.py:HelpersRemember": case("no-leak bounded-memory", no_leak="retains the connections"),
    "helper_functions.py:MethodsRemember": case("no-leak bounded-memory"),
    "remembered_messages.py:RemembersDigests": case(may="bounded-memory", scenarios=MEMORY),
    "module_globals.py:Globals": case(f"delivery {WAITING}", may="total-order"),
    "class_attributes.py:Shared": case(scenarios=COMING_AND_GOING),
    "weak_set.py:Weak": case("bounded-memory"),
    "seats.py:PutsOutTheSilent": case("no-false-eviction no-false-alarm", may="delivery", scenarios=WITH_ABSENCE),
    "seats.py:KeepsSeats": case(scenarios=COMING_AND_GOING),
    "seats.py:KeepsSeatsByATimer": case(scenarios=COMING_AND_GOING),
    "seats.py:KeepsSeatsForEver": case(
        "no-leak", scenarios=COMING_AND_GOING, no_leak=r"5 tasks .* such as seats.py:\d+: await asyncio.Event"
    ),
    "keys.py:ByAddress": case("bounded-memory", scenarios=MEMORY),
    "keys.py:ByName": case("admission no-false-eviction", may="delivery prompt-join"),
    # ------------------------------------------------------------ who is let in, what may be said, and who hears it
    "at_the_door.py:RoomsByPath": case("bounded-memory"),
    "at_the_door.py:WantsAName": case("admission no-false-eviction", may=SHUT_OUT),
    "at_the_door.py:WantsASubprotocol": case("admission no-false-eviction", may=SHUT_OUT, scenarios=COMING_AND_GOING),
    "at_the_door.py:WantsAToken": case("admission no-false-eviction", may=SHUT_OUT, scenarios=COMING_AND_GOING),
    "limits.py:InItsOwnWords": case(
        "delivery", keeps="rate-limit", scenarios=("flood", *COMING_AND_GOING), delivery="never heard Flo"
    ),
    "limits.py:InOurWords": case(keeps="rate-limit", scenarios=("flood", *COMING_AND_GOING)),
    "limits.py:Closes": case(keeps="rate-limit", scenarios=("flood", *COMING_AND_GOING)),
    "limits.py:ReadsSlowly": case(keeps="rate-limit", scenarios=("flood", *COMING_AND_GOING)),
    "limits.py:TooLong": case("delivery", may=f"{WAITING} recovery", scenarios=DEATH),
    "limits.py:LettersOnly": case("delivery", may=UNHEARD, scenarios=DEATH),
    "not_to_the_speaker.py:ToTheOthers": case("delivery", delivery="(Ann|Bob) never heard (Ann|Bob)"),
    "not_to_the_speaker.py:WithAReceipt": case("delivery"),
    "notices.py:TellsWhoComes": case(),
    "notices.py:AndLosesSomething": case("delivery", may=f"{WAITING} recovery", scenarios=DEATH),
    "forms.py:MoreFields": case(scenarios=("flood", *COMING_AND_GOING)),
    "forms.py:Nested": case("delivery", may=UNHEARD, scenarios=DEATH),
    "forms.py:Binary": case("delivery", may=UNHEARD, scenarios=DEATH),
    "forms.py:Lines": case("delivery", may=UNHEARD, scenarios=DEATH),
    "forms.py:GivesNames": case(
        "delivery", may=f"{WAITING} at-most-once total-order", scenarios=DEATH
    ),
    "forms.py:LoginFirst": case("no-false-eviction", may=SHUT_OUT),
    "forms.py:Acknowledges": case("bounded-memory", scenarios=MEMORY),
    # ------------------------------------------------------------ shapes
    "handler_in_a_class.py:Wrapped": case("bounded-memory"),
    "handler_in_a_class.py:chat": case("bounded-memory", scenarios=MEMORY),
    "handler_in_a_class.py:make_wrapped": case("bounded-memory", scenarios=MEMORY),
    "shapes.py:ReceivesInALoop": case(scenarios=DEATH),
    "shapes.py:TaskGroups": case(scenarios=DEATH),
    "shapes.py:ContextVariables": case(scenarios=DEATH),
    "shapes.py:Prints": case(scenarios=DEATH),
}  # fmt: skip
QUICK = {
    "locks.py:HeldWhileSending", "blocking_calls.py:LoadsAProfileAtTheDoor", "task_references.py:ForgetsItsWriters",
    "history.py:OnTheListBefore", "seats.py:KeepsSeatsForEver", "not_to_the_speaker.py:ToTheOthers",
}  # fmt: skip


def tiered(room: str):
    return pytest.param(room, marks=[] if room in QUICK else pytest.mark.slow)


@pytest.mark.parametrize("room", [*map(tiered, CASES)])
def test_a_room_breaks_what_it_must_and_nothing_that_it_must_not(room):
    breaks, keeps, seeds, scenarios, says = CASES[room]
    chosen = {name: SCENARIOS[name] for name in scenarios}
    card = check(f"{FOLDER}/{room}", seeds, scenarios=chosen, processes=1, progress=False)
    evidence = {name: score.problem for name, score in card.broken.items()}
    assert card.failed == {} and set(evidence) & {*breaks, *keeps} == breaks, evidence
    assert OF_A_HISTORY <= {*card.untested}
    if {*NOT_SLOW} <= {*scenarios}:
        assert keeps - PRESENCE <= {*card.kept}, card.untested
    for guarantee, text in says.items():
        assert re.search(text, evidence[guarantee])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Asynchronous", "AList", "Nothing", "Names"])
def test_wrong_members_are_named(name):
    healthy = {"healthy": SCENARIOS["healthy"]}
    card = check(f"{FOLDER}/wrong_members.py:{name}", 1, scenarios=healthy, processes=1, progress=False)
    assert set(card.broken) == {"no-crash"} and "members() must list connections" in card.scores["no-crash"].evidence


@pytest.mark.slow
def test_a_file_that_runs_its_server_when_imported_is_told_what_to_write():
    with pytest.raises(RoomError, match='put what runs for long below `if __name__ == "__main__":`'):
        check(f"{FOLDER}/runs_when_imported.py:Room", 1, processes=1, progress=False)


def test_every_room_in_the_folder_has_its_verdicts():
    files = {room.partition(":")[0] for room in CASES} | {"wrong_members.py", "runs_when_imported.py"}
    assert files == {path.name for path in FOLDER.glob("*.py")}
