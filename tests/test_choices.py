"""The cases of the last chapter: each can be met in more than one way, and the reasons for a choice must be so."""

import importlib
from functools import partial
from pathlib import Path

import pytest

from chatroom_lib import rooms
from chatroom_lib.reference_rooms import BoundedBroadcast, GorillaHub, WebsocketsBroadcast

hub = rooms.resolve("v3.1")
NOTEBOOKS = Path(__file__).parent.parent / "notebooks"


@pytest.fixture
def checks(monkeypatch):
    monkeypatch.syspath_prepend(NOTEBOOKS)
    return importlib.import_module("exercises.chapter_99")


def choice(room, **because):
    """What a reader writes: a room with reasons."""
    made = partial(room)
    made.because = because
    return made


@pytest.mark.parametrize(
    "case, room",
    [
        ("ticker", choice(partial(hub, outbox_size=2), Ann="prompt", Bob="gaps")),
        ("ticker", choice(partial(hub, outbox_size=8), Ann="prompt", Bob="gaps")),
        ("office", choice(BoundedBroadcast, Di="evicted", Pat="prompt")),
        ("office", choice(rooms.resolve("v4"), Di="evicted", Pat="prompt")),
        ("office", choice(GorillaHub, Di="late", Pat="prompt")),
        ("lobby", choice(rooms.resolve("v3.2"), Flo="refused", Pat="refused")),
        ("lobby", choice(rooms.resolve("v4"), Flo="refused", Pat="prompt")),
    ],
)
def test_rooms_of_different_kinds_meet_a_case(checks, case, room, capsys):
    assert getattr(checks, f"check_the_{case}")(room)
    assert capsys.readouterr().out == "Solved.\n"


@pytest.mark.parametrize(
    "case, room, says",
    [
        ("ticker", choice(hub, Ann="prompt", Bob="gaps"), "more than 10 s old: 69 s"),
        ("ticker", choice(BoundedBroadcast, Ann="prompt", Bob="late"), "Cy saw 34 of 300"),
        ("ticker", choice(partial(GorillaHub, 4), Ann="prompt", Bob="evicted"), "Bob stays connected"),
        ("office", choice(hub, Di="gaps", Pat="prompt"), "never late: Di: gaps"),
        ("office", choice(WebsocketsBroadcast, Di="late", Pat="prompt"), "the room never holds more than 1.5 MB: 2."),
        ("office", choice(rooms.resolve("v3.2"), Di="gaps", Pat="refused"), "Pat, who types short lines, is not refus"),
        ("lobby", choice(rooms.resolve("v2-rw"), Flo="gaps", Pat="gaps"), "in within 50 ms"),
        ("lobby", choice(GorillaHub, Flo="prompt", Pat="prompt"), "200 of Flo's"),
        ("lobby", choice(rooms.resolve("v1"), Flo="late", Pat="late"), "harms nobody else: Bob, P0"),
    ],
)
def test_each_need_of_a_case_can_be_failed(checks, case, room, says, capsys):
    assert not getattr(checks, f"check_the_{case}")(room)
    assert says in capsys.readouterr().out


@pytest.mark.parametrize(
    "reasons", [{}, {"Flo": "refused"}, {"Flo": "refused", "Pat": "late"}, {"Flo": "?", "Pat": "?"}]
)
def test_a_fitting_room_for_reasons_that_are_not_so_does_not_pass(checks, reasons, capsys):
    assert not checks.check_the_lobby(choice(BoundedBroadcast, **reasons))
    assert capsys.readouterr().out.startswith(("Not yet: 3 of 5 kept", "Not yet: 4 of 5 kept"))
