"""What the checks behind the exercises have in common."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "notebooks"


@pytest.fixture
def exercises(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import exercises

    return exercises


def test_a_check_counts_up_and_names_all_that_is_missing(exercises, capsys):
    def breaks():
        raise exercises.NotYet("with seed 3 Cy is")

    @exercises.exercise
    def check(room):
        exercises.kept({"all is heard": lambda: None, "nobody is evicted": breaks, "nobody waits": breaks})

    assert check(object) is False
    assert capsys.readouterr().out == (
        "Not yet: 1 of 3 kept. Missing:\n  nobody is evicted: with seed 3 Cy is\n  nobody waits: with seed 3 Cy is\n"
    )


def test_a_check_of_which_all_is_kept_is_solved(exercises, capsys):
    check = exercises.exercise(lambda room: exercises.kept({"all is heard": lambda: None}))
    assert check(object) is True and capsys.readouterr().out == "Solved.\n"


def test_what_is_no_verdict_is_not_counted(exercises, capsys):
    check = exercises.exercise(lambda room: exercises.kept({"it runs": lambda: 1 / 0}))
    assert check(object) is False and "the room does not run: ZeroDivisionError" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("policy, patience", [("wait", 60), ("keep", 60), ("evict", 10), ("evict", 200)])
def test_a_team_on_phones_is_not_suited_by(policy, patience, exercises, capsys):
    from exercises.chapter_01 import PolicyRoom, check_it_suits_the_team

    room = type("Room", (PolicyRoom,), {"policy": policy, "patience": patience})
    assert not check_it_suits_the_team(room)
    assert "of 5 kept. Missing:" in capsys.readouterr().out
