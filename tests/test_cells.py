"""Cells that run in a reader's browser: which of them one needs, and what it shows."""

import asyncio

import pytest

from chatroom_lib.browser.cells import Chapter, Output
from chatroom_lib.browser.dependencies import names_in, what_they_need


def ran(chapter: Chapter, *codes: str) -> list[list[Output]]:
    async def in_turn():
        return [await chapter.run(index, code) for index, code in enumerate(codes)]

    return asyncio.run(in_turn())


# ---------------------------------------------------------------- what a cell needs


@pytest.mark.parametrize(
    ("code", "made", "used"),
    [
        ("import os.path as p\nfrom a import b", {"p", "b"}, set()),
        ("x = x + y", {"x"}, {"x", "y"}),
        ("people = [1]\nprint(people)", {"people"}, {"print"}),
        ("for each in runs:\n    last = each", {"each", "last"}, {"runs"}),
        ("server = await serve(room)", {"server"}, {"serve", "room"}),
        ("async with joining() as ann:\n    await ann.send(text)", {"ann"}, {"joining", "text"}),
        ("def f(a: int):\n    b = a\n    return b + c", {"f"}, {"int", "c"}),
        ("class Room(Base):\n    size = LIMIT", {"Room"}, {"Base", "LIMIT"}),
        ("lost = {seed: run(seed) for seed in seeds}", {"lost"}, {"run", "seeds"}),
        (
            "print([f(n) for n in found], {k: [v for v in row] for k, row in rows})",
            set(),
            {"print", "f", "found", "rows"},
        ),
        ("back[room], row[last.pop()].x = run()", {"back", "row", "last"}, {"back", "row", "last", "room", "run"}),
        ("for seed in seeds:\n    found[seed].append(run(seed))", {"seed", "found"}, {"seeds", "found", "run"}),
        ("found = []\nfound.append(1)\nlen(found.items)", {"found"}, {"len"}),
        ("def note(seed):\n    found.append(seed)", {"note"}, {"found"}),
        ("this is no Python", set(), set()),
    ],
)
def test_the_names_that_a_cell_makes_and_uses(code, made, used):
    assert names_in(code) == (made, used)


CODES = ["import math", "x = 1", "y = x + 1", "x = 10", "print(y)", "math.sqrt(x)"]


def test_a_cell_needs_those_whose_names_it_uses_and_theirs():
    chapter = Chapter()
    assert [chapter.needed(CODES, index) for index in (0, 2, 4, 5)] == [[0], [1, 2], [1, 2, 4], [0, 3, 5]]


def test_what_has_run_as_it_stands_is_not_run_again():
    chapter = Chapter()
    ran(chapter, *CODES[:3])
    assert chapter.needed(CODES, 4) == [4]
    assert chapter.needed(["import math", "x = 2", *CODES[2:]], 2) == [1, 2]  # one was edited
    ran(chapter, *CODES[:4])  # x is another cell's now
    assert chapter.needed(CODES, 2) == [1, 2]


def test_a_cell_that_has_failed_is_run_again():
    chapter = Chapter()
    ran(chapter, "x = 1 / 0")
    assert chapter.needed(["x = 1 / 0", "x"], 1) == [0, 1]


def test_which_cells_need_a_kernel_and_which_run_live():
    codes = ["server = await serve('v1')", "trace = await live('v1', people)", "trace.heard('Ann')", "print(server)"]
    assert what_they_need([*codes, "simulate('v1', people)"]) == ["kernel", "live", "live", "kernel", ""]
    assert what_they_need(CODES, [3]) == ["", "", "", "kernel", "", "kernel"]  # a tag may say so, too


# ---------------------------------------------------------------- what it shows


def test_a_cell_shows_what_it_prints_and_then_its_last_value():
    (outputs,) = ran(Chapter(), "print('one')\n'<b>'")
    assert outputs == [("text", "one\n"), ("value", "'<b>'\n")]


@pytest.mark.parametrize("code", ["x = 1", "1;", "None", "def f(): pass", "", "# nothing"])
def test_a_cell_without_a_last_value_shows_nothing(code):
    assert ran(Chapter(), code) == [[]]


def test_names_outlive_their_cell_and_await_may_stand_anywhere():
    first = "import asyncio\nasync def two(): return 2\nx = await two()"
    assert ran(Chapter(), first, "x + await two()")[1] == [("value", "4\n")]


def test_an_error_says_in_which_line_and_keeps_what_was_printed():
    (outputs,) = ran(Chapter(), "print('before')\n\nx = missing\n")
    assert outputs == [
        ("text", "before\n"),
        ("error", "cell 1, line 3: x = missing\nNameError: name 'missing' is not defined"),
    ]


def test_code_that_is_no_python_is_an_error_of_its_own():
    ((output,),) = ran(Chapter(), "for")
    assert output.kind == "error" and output.content.endswith("SyntaxError: invalid syntax")


def test_an_html_representation_is_told_apart_from_text():
    code = "class Table:\n    def _repr_html_(self): return '<table></table>'\nTable()"
    assert ran(Chapter(), code) == [[("html", "<table></table>")]]


def test_a_room_that_raises_or_exits_ends_its_cell_only():
    outputs = ran(Chapter(), "raise SystemExit(3)", "1")
    assert outputs[0][0].kind == "error" and outputs[1] == [("value", "1\n")]
