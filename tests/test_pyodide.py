"""Python for the browser, in Node: runs, verdicts and exercises are the same there, and what cannot be had says so."""

import ast
import json
import os
import runpy
import subprocess
from pathlib import Path

import pytest

from chatroom_lib import check, rooms, scenarios, simulate
from chatroom_lib.browser.dependencies import names_in, what_they_need
from chatroom_lib.checker.guarantees import judge
from chatroom_lib.checker.scenarios import needs_many_servers, needs_nats
from chatroom_lib.reference_rooms import REFERENCE_ROOMS
from chatroom_lib.rooms.requirements import takes
from tests.helpers import TIMEOUT_FACTOR, code_cells, for_one_server, pyodide_folder

ROOT = Path(__file__).parent.parent
SEED = 1
ROOMS = {**rooms.VERSIONS, **REFERENCE_ROOMS}
# How many steps a timeout of asyncio's takes depends on the version of Python, and so does when these do something. In
# RelayCore the order of messages is a race that depends on it, too.
PINGING = {name for name, room in ROOMS.items() if "ping_interval" in getattr(room, "server_options", {})}
ON_NATS = {name for name, room in ROOMS.items() if takes(room, "nats")}
PLAIN = "healthy", "churn", "frozen then dies", "slow reader", "late joiner", "stillborn"
KEPT = for_one_server("storm of 200", "lost disk")
SHARED = [name for name, each in scenarios.SCENARIOS.items() if needs_many_servers(each)]
FEW = "healthy", "frozen reader", "mass leave"
EXERCISES = {  # chapter -> checks of its first exercises
    "01": (
        *("check_only_the_dead_are_removed", "check_a_silent_room_forgets_who_left"),
        *("check_nobody_waits_for_the_frozen", "check_it_suits_the_team"),
    ),
    "02": ("check_newcomers_are_in_at_once", "check_the_room_survives_a_death", "check_the_price_of_patience"),
    "03": ("check_a_slip_is_forgiven",),
}
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pyodide"), pytest.mark.timeout(300 * TIMEOUT_FACTOR)]


def runs() -> list[tuple[str, str]]:
    """One for each room, and each scenario that fits it and is short."""
    found = []
    for name, room in ROOMS.items():
        if name == "RelayCore":
            continue
        found += [(name, scenario) for scenario in (KEPT if takes(room, "path") else PLAIN)]
        shared = SHARED if getattr(room, "many_servers", False) else ()
        found += [(name, each) for each in shared if name in ON_NATS or not needs_nats(scenarios.SCENARIOS[each])]
    return found


def solutions() -> list[tuple[str, str, tuple[str, ...]]]:
    folder = ROOT / "notebooks/solutions"
    return [(chapter, (folder / f"chapter_{chapter}.py").read_text(), checks) for chapter, checks in EXERCISES.items()]


def chapters() -> list[list[str]]:
    """The cells of each."""
    paths = sorted((ROOT / "notebooks").glob("*.ipynb"))
    return [[cell.source for cell in code_cells(path)] for path in paths]


def cells() -> list[str]:
    return [code for chapter in chapters() for code in chapter]


def imports() -> list[str]:
    """Those of all cells that need no kernel."""
    runnable = [code for chapter in chapters() for code, need in zip(chapter, what_they_need(chapter)) if not need]
    statements = [statement for code in runnable for statement in ast.parse(code).body]
    return sorted({ast.unparse(each) for each in statements if isinstance(each, ast.Import | ast.ImportFrom)})


def plain(answer: object) -> object:
    """As it comes back from JSON."""
    return json.loads(json.dumps(answer))


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> dict:
    pyodide, archive = pyodide_folder(), tmp_path_factory.mktemp("pyodide") / "library.zip"
    archive.write_bytes(runpy.run_path(str(ROOT / "docs/browser_runtime.py"))["library"]())
    code = (ROOT / "tests/pyodide_answers.py").read_text()
    asked = SEED, runs(), FEW, solutions(), cells(), imports()
    done = subprocess.run(
        ["node", ROOT / "tests/pyodide_runner.mjs", pyodide, archive],
        input=f"{code}\nimport json\nprint(json.dumps(await answers(*{asked!r})))\n",
        capture_output=True,
        text=True,
        env={**os.environ, "NODE_OPTIONS": ""},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_the_same_seed_gives_the_same_run_and_the_same_verdicts_in_a_browsers_python(answers):
    assert len(runs()) > 150
    for room, scenario in runs():
        trace = simulate(ROOMS[room], scenarios.SCENARIOS[scenario], SEED)
        here = plain({"digest": trace.digest(), "ending": trace.ending, "verdicts": judge(trace)})
        there = answers["runs"][f"{room}, {scenario}"]
        if room in PINGING | ON_NATS:
            for each in here, there:
                each["digest"], each["verdicts"] = None, {name: kept for name, (kept, _) in each["verdicts"].items()}
        assert here == there, (room, scenario)


def test_a_scorecard_is_the_same_in_a_browsers_python(answers):
    few = {name: scenarios.SCENARIOS[name] for name in FEW}
    card = check("v1.1", 2, scenarios=few, progress=False)
    assert answers["card"] == plain(card.as_dict())
    assert answers["shortest"] == card.shortest("no-leak", progress=False).digest()


def test_the_names_that_each_cell_of_the_book_makes_and_uses_are_the_same_in_a_browsers_python(answers):
    codes = cells()
    assert len(codes) > 200
    for code, there in zip(codes, answers["names"], strict=True):
        assert plain(list(map(sorted, names_in(code)))) == there, code


def test_what_cells_import_can_be_had_in_a_browsers_python(answers):
    assert "import time" in imports() and answers["imports"] == {}


def test_exercises_are_solved_in_a_browsers_python_and_one_that_needs_sockets_says_so(answers):
    *solved, (sockets, told) = answers["exercises"]
    assert [results for results, _ in solved] == [[True] * 4, [True] * 3]
    assert sockets == [False] and told.startswith("This exercise needs a Python of your own: run() needs sockets")


def test_every_name_can_be_imported_in_a_browsers_python_and_says_what_it_lacks_when_it_is_used(answers):
    assert answers["missing"] == []
    for name, told in answers["refused"].items():
        assert told and told.startswith(f"{name} needs ") and "browser" in told, name


def test_a_room_that_starts_a_thread_in_a_browsers_python_is_told_that_there_are_none(answers):
    (told,) = answers["thread"]
    assert told.startswith("a browser has no threads to start")


def test_what_ran_before_a_run_goes_on_after_it_in_a_browsers_python(answers):
    assert answers["afterwards"] == "the loop goes on"
