"""A scorecard: groups, reasons, JSON, guarantees of one's own, and its use in one's own tests."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from chatroom_lib import Scenario, check, compare, frozen, listener, talker
from chatroom_lib.checker.guarantees import GROUPS, GUARANTEES, KEPT, broken, untested
from chatroom_lib.checker.scorecard import GuaranteeError
from chatroom_lib.rooms import v1

ROOT = Path(__file__).parent.parent
quiet = partial(check, progress=False)
two = {"two": Scenario([talker("Ann", says=3), listener("Bob")], duration=30)}


@pytest.fixture(scope="module")
def card():
    return quiet("v1", seeds=2, scenarios={**two, "hangs": Scenario([talker("Ann"), frozen("Bob")], duration=30)})


# ---------------------------------------------------------------- what it says


def test_every_guarantee_belongs_to_a_group_and_the_tables_are_grouped(card):
    groups = ["safety", "waiting", "resources", "history", "presence"]
    assert set(GROUPS) == set(GUARANTEES) and list(dict.fromkeys(GROUPS.values())) == groups
    assert [name for name, _ in card.grid().groups()] == groups[:3]  # v1 has no history, and pings nobody
    in_them = [name for name in GUARANTEES if GROUPS[name] in groups[:3]]
    assert [name for _, rows in card.grid().groups() for name, _ in rows] == in_them
    lines = repr(compare(card, card)).splitlines()
    assert lines.index("safety") < lines.index("waiting") < lines.index("resources")
    assert ">safety</th>" in card._repr_html_()


def test_it_says_why_something_is_not_tested(card):
    assert card.scores["recovery"].untested == "no client died that did not read"
    assert "recovery: not tested: no client died that did not read" in repr(card)
    assert 'title="not tested: no client floods the room"' in card._repr_html_()


def test_its_json_has_every_cell_with_its_evidence_or_the_reason(card):
    document = json.loads(json.dumps(card.as_dict()))
    cells = document["cells"]["delivery"]
    assert cells["two"]["kept"] == 2 and cells["hangs"]["broken"] == 2 and "never heard" in cells["hangs"]["evidence"]
    assert document["cells"]["recovery"]["two"]["untested"] == "no client died that did not read"
    assert document["time_limit"] == 30 and document["schedule"] == "fifo"


# ---------------------------------------------------------------- in one's own tests


def test_what_is_kept_can_be_required(card):
    card.require("at-most-once", "no-crash")


def test_what_is_broken_or_not_tested_is_an_error_with_the_evidence(card):
    with pytest.raises(GuaranteeError, match=r"delivery: Ann never heard .* \(seed 0, hangs\)"):
        card.require("delivery")
    with pytest.raises(AssertionError, match="recovery: not tested: no client died that did not read"):
        card.require("recovery")
    with pytest.raises(GuaranteeError) as error:
        card.require(but=("delivery",))
    assert "delivery" not in str(error.value) and "\nno-head-of-line-blocking: " in str(error.value)


def test_a_room_that_turns_everybody_away_keeps_nothing_that_is_required():
    class Closed(v1.Room):
        async def handle(self, connection):
            await connection.close(1008, "closed")

    for scenarios in (two, None):
        card = quiet(Closed, seeds=1, scenarios=scenarios)
        assert {"admission", "no-false-eviction"} <= set(card.broken)
        with pytest.raises(GuaranteeError):
            card.require("delivery")


@pytest.mark.parametrize("arguments", [{"names": ["deliverey"]}, {"but": ["deliverey"]}])
def test_a_name_that_there_is_not_is_an_error(card, arguments):
    with pytest.raises(ValueError, match="no guarantee 'deliverey': there are delivery"):
        card.require(*arguments.get("names", ()), but=arguments.get("but", ()))


@pytest.mark.slow
def test_the_test_that_the_reference_shows_passes(tmp_path):
    reference = (ROOT / "docs" / "api.md").read_text()
    (example,) = [text for text in reference.split("```python\n") if text.startswith("# test_my_room.py")]
    (tmp_path / "test_my_room.py").write_text(example.partition("```")[0])
    (tmp_path / "my_room.py").write_text("from chatroom_lib.rooms.v4 import Room as MyRoom\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_room.py"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0 and " passed" in result.stdout, result.stdout


# ---------------------------------------------------------------- guarantees of one's own


def speaks_up(trace):
    """Ann speaks three times."""
    said = trace.of("said", who="Ann")
    if not said:
        return untested("Ann is not there")
    return KEPT if len(said) == 3 else broken(f"Ann spoke {len(said)} times")


def test_guarantees_of_ones_own_are_judged_like_the_others():
    silent = Scenario([listener("Bob")], duration=3)
    card = quiet("v1", seeds=1, scenarios={**two, "silent": silent}, guarantees={"speaks-up": speaks_up})
    assert list(card.scores) == ["speaks-up"] and card.scores["speaks-up"].kept == 1
    assert card.cells["speaks-up", "silent"].untested == "Ann is not there"
    assert "your own" in repr(card)


def test_they_can_be_replayed_and_shortened_and_stand_beside_the_others():
    mixed = {"no-crash": GUARANTEES["no-crash"], "speaks-up": speaks_up}
    five = {"five": Scenario([talker("Ann", says=5), listener("Bob")], duration=30)}
    card = quiet("v1", seeds=1, scenarios=five, guarantees=mixed)
    assert card.broken["speaks-up"].evidence == "Ann spoke 5 times" and card.kept == ["no-crash"]
    assert len(card.replay("speaks-up").of("said")) == 5 and len(card.shortest("speaks-up").of("said")) == 1
    assert list(compare(card, quiet("v1", seeds=1, scenarios=two)).rows)[:2] == ["no-crash", "speaks-up"]


@pytest.mark.parametrize(
    "guarantees, error, says",
    [
        (
            {"mine": lambda trace: trace.nothing},
            ValueError,
            "guarantee 'mine' cannot judge a run with seed 0: Attribut",
        ),
        ({"mine": lambda trace: True}, TypeError, "guarantee 'mine' cannot judge .* it returned True instead of KEPT"),
        ({"mine": "delivery"}, TypeError, "must be a dictionary, {name: function of a Trace}"),
        ([GUARANTEES["delivery"]], TypeError, "must be a dictionary"),
        ({}, ValueError, "no guarantee to judge"),
    ],
)
def test_a_mistake_in_them_is_told_and_not_booked_to_the_room(guarantees, error, says):
    with pytest.raises(error, match=says):
        quiet("v1", seeds=1, scenarios=two, guarantees=guarantees)


def test_a_run_that_fails_is_told_although_nobody_asked_for_no_crash():
    class Ends(v1.Room):
        async def handle(self, connection):
            os._exit(3)

    card = quiet(Ends, seeds=1, scenarios=two, guarantees={"delivery": GUARANTEES["delivery"]})
    with pytest.raises(GuaranteeError, match=r"not tested: the run failed: the room ended its process \(exit code 3\)"):
        card.require()
