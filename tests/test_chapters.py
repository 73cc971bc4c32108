"""Every chapter runs from top to bottom; every exercise's starter fails its check, and its solution passes."""

import importlib.util
import re
from copy import deepcopy
from pathlib import Path

import nbformat
import pytest

from tests.helpers import TIMEOUT_FACTOR, code_cells

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "notebooks"
CHAPTERS = sorted(FOLDER.glob("[0-9A-Z]*_*.ipynb"))
MEASURING = ("05", "06", "08", "09", "99", "A")  # chapters that compare times of real servers
STATEFUL = re.compile(r"\b(serve|chat|dashboard)\(|\bServer\(|^class ", re.MULTILINE)
SHORTER = {  # what a reader runs -> as much of it as proves the same here
    "seeds=1000": "seeds=20",
    "schedule) for seed in range(10)]": "schedule) for seed in range(2)]",
    "for seed in range(50)]": "for seed in range(12)]",
    "unlucky > 20": "unlucky > 4",
    "for seed in range(100)": "for seed in range(10)",
    "set(range(100))": "set(range(10))",
    "stuck == 100": "stuck == 10",
    "scenario.lasting(60), seed) for seed in range(20)]": "scenario.lasting(60), seed) for seed in range(4)]",
    "[0, 0, 20]": "[0, 0, 4]",
    "seeds = range(12)": "seeds = range(5)",
    "seed) for seed in range(50))": "seed) for seed in range(8))",
    "in_flight=64, warm_up=0.2, seconds=0.5)": "in_flight=64, warm_up=0.1, seconds=0.3)",
    "seeds=20) for room": "seeds=1) for room",
    "seeds=20)": "seeds=3)",
    "seeds=5, scenarios=calm) for room in rooms]": "seeds=3, scenarios=calm) for room in rooms]",
    "seeds=5, scenarios=calm)": "seeds=1, scenarios=calm)",
    "check(room, seeds=3) for room": "check(room, seeds=1) for room",
    "crowd = 500": "crowd = 100",
    '("v7", "jitter"), ("v8", "told"))': '("v8", "told"))',
    "seeds=5)": "seeds=1)",
    "seeds=5, progress": "seeds=1, progress",
    "seeds=3, guarantees=three)": "seeds=1, guarantees=three)",
    "warm_up=0.2, seconds=0.8)": "warm_up=0.2, seconds=0.5)",
    "for room in steps] for _ in range(3)]": "for room in steps] for _ in range(1)]",
    "dict(tries=2, seconds=0.8, warm_up=0.2)": "dict(tries=1, seconds=0.4, warm_up=0.2)",
    "for _ in range(3):": "for _ in range(1):",
    'says=250, every=0.01, size=20) for name in ("Ann", "Bob", "Cy")]': (
        'says=150, every=0.01, size=20) for name in ("Ann", "Bob", "Cy")]'
    ),
    'late = listener("Eve", joins=6, ': 'late = listener("Eve", joins=3.5, ',
    "late], duration=8, kills=[Kill(at=1.5, ": "late], duration=4.5, kills=[Kill(at=1, ",
    "(500, 1000, 2000, 4000)": "(250, 1500)",
    "in_flight=n, seconds=0.7)": "in_flight=n, warm_up=0.2, seconds=0.3)",
    "rate=30, seconds=1)": "rate=30, warm_up=0.2, seconds=0.5)",
    "warm_up=0.3, seconds=0.5)": "warm_up=0.1, seconds=0.2)",
    "flights, both = (1, 8, 64)": "flights, both = (1, 64)",
    '("v1", "v1.1", "v2", "v3.1")}': '("v1", "v3.1")}',
    '"v4": "v4", "v7": "v7", "v8": "v8"}': '"v4": "v4"}',
    'for name in ("AckAtOnce", "v6"):': 'for name in ("v6",):',
    "OneThread, limit=None), rides, seed) for seed in range(20)]": (
        "OneThread, limit=None), rides, seed) for seed in range(4)]"
    ),
    "v4, limit=None), Scenario(people, duration=3))": "v4, limit=None), Scenario(people, duration=2.5))",
    'url, "3"]': 'url, "1.8"]',
    '"inside", 3)': '"inside", 1.8)',
    "asyncio.timeout(3)": "asyncio.timeout(1.8)",
    "max(ratios) > 0.5": "max(ratios) > 0.1",  # beside other tests
    "seeds=10, scenarios=mine)": "seeds=2, scenarios=mine)",
    "seeds=10, scenarios=away)": "seeds=2, scenarios=away)",
    'broken == 10)\n    claim("and whoever': 'broken == 2)\n    claim("and whoever',
    'card.scores["answered"].broken == 10)': 'card.scores["answered"].broken == 2)',
    "rate=1000, seconds=4)": "rate=1000, seconds=0.5)",
    "says=60, every=0.1, size=20, resumes=True)": "says=60, every=0.07, size=20, resumes=True)",
    'late_joiner("Zoe", 9.5, path': 'late_joiner("Zoe", 7, path',
    "duration=11, servers=3, kills=kills)": "duration=8, servers=3, kills=kills)",
}
each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def module(name: str, path: Path):
    spec = importlib.util.spec_from_file_location(name, path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


execute_notebooks = module("execute_notebooks", ROOT / "tools" / "execute_notebooks.py")


def chapter_to_run(path: Path) -> pytest.param:
    marks = [pytest.mark.exclusive] * path.name.startswith(MEASURING)
    return pytest.param(path, id=path.stem, marks=marks)


def exercise_of(cell) -> str | None:
    """The number of the exercise that a cell is the starter of."""
    return next((tag.removeprefix("exercise-") for tag in cell.metadata.get("tags", []) if "exercise-" in tag), None)


def runs_again(cell) -> bool:
    """Does a cell meet what an earlier run of it has left behind? Others do the same every time, with a server or in
    processes of their own."""
    stateful = cell.cell_type == "code" and STATEFUL.search(cell.source)
    return bool(stateful) and not re.search(r"bench\.|\b(check|live)\(", cell.source) and not exercise_of(cell)


def for_a_test(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A chapter whose stateful cells run twice each, and which measures and tries less."""
    cells = [copy for cell in notebook.cells for copy in ([cell, deepcopy(cell)] if runs_again(cell) else [cell])]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
        for long, short in SHORTER.items():
            cell.source = cell.source.replace(long, short)
    return nbformat.from_dict({**notebook, "cells": cells})


@pytest.mark.parametrize("path", [chapter_to_run(path) for path in CHAPTERS])
@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(300 * TIMEOUT_FACTOR)
def test_the_chapter_runs_from_top_to_bottom_and_what_holds_state_can_be_run_again(path, tmp_path):
    copy = tmp_path / path.name
    nbformat.write(for_a_test(nbformat.read(path, as_version=4)), copy)
    for cell in execute_notebooks.execute(copy).cells:
        if exercise_of(cell):
            assert cell.outputs[0].text.startswith("Not yet: ")


def test_there_are_cells_to_run_again_and_cells_to_shorten():
    cells = [cell for path in CHAPTERS for cell in nbformat.read(path, as_version=4).cells]
    assert sum(map(runs_again, cells)) > 15
    for long in SHORTER:
        assert any(long in cell.source for cell in cells), long


@each_chapter
def test_the_chapter_is_committed_with_its_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]
    execute_notebooks.require_publishable(path.name, notebook)


@each_chapter
def test_cells_are_short(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            lines = [line for line in cell.source.splitlines() if line]
            assert len(lines) <= 12 and max(map(len, lines)) <= 100, cell.source


@each_chapter
def test_links_lead_somewhere(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\((?!http)([^)]+)\)", cell.source):
                assert (FOLDER / target.partition("#")[0]).exists(), target


@each_chapter
def test_an_answer_is_folded_where_the_reader_is_to_predict_it_and_nowhere_else(path):
    cells = nbformat.read(path, as_version=4).cells
    for before, cell in zip([None, *cells], cells):
        if cell.cell_type == "code":
            asked = before and before.cell_type == "markdown" and "**Predict" in before.source
            tagged = execute_notebooks.PREDICTION in cell.metadata.get("tags", [])
            hidden = cell.metadata.get("jupyter", {}).get("outputs_hidden", False)
            assert bool(asked) == tagged == hidden, cell.source


@each_chapter
def test_a_chapter_claims_instead_of_asserting(path):
    code = [cell.source for cell in code_cells(path)]
    assert not [source for source in code if re.search(r"^\s*assert ", source, flags=re.MULTILINE)]
    sentences = [text for source in code for text in re.findall(r"^\s*claim\(f?\"(.*?)\"", source, flags=re.MULTILINE)]
    assert sentences and max(map(len, sentences)) <= 88


def exercises() -> list:
    return [
        pytest.param(path.name[:2], cell.source, number, id=f"{path.name[:2]}-exercise-{number}")
        for path in CHAPTERS
        for cell in nbformat.read(path, as_version=4).cells
        if (number := exercise_of(cell))
    ]


@pytest.mark.slow
@pytest.mark.parametrize("chapter, starter, number", exercises())
def test_the_solution_passes_the_check_that_the_starter_fails(chapter, starter, number, monkeypatch, capsys):
    monkeypatch.syspath_prepend(FOLDER)
    (name,) = re.findall(r"^(check_\w+)\(Room\)$", starter, flags=re.MULTILINE)
    check = getattr(importlib.import_module(f"exercises.chapter_{chapter}"), name)
    solutions = module(f"solutions_{chapter}", FOLDER / "solutions" / f"chapter_{chapter}.py")
    assert check(getattr(solutions, f"Room{number}")), capsys.readouterr().out


def test_there_is_an_exercise_to_test():
    assert len(exercises()) >= 3


def test_every_solution_belongs_to_an_exercise(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    for path in (FOLDER / "solutions").glob("chapter_*.py"):
        numbers = {e.values[2] for e in exercises() if e.values[0] == path.stem[-2:]}
        rooms = {name.removeprefix("Room") for name in vars(module(path.stem, path)) if name.startswith("Room")}
        assert rooms == numbers
