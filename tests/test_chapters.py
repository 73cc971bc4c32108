"""Every chapter runs from top to bottom; every exercise's starter fails its check, and its solution passes."""

import importlib.util
import re
from copy import deepcopy
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parent.parent / "notebooks"
CHAPTERS = sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))
each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def module(name: str, path: Path):
    spec = importlib.util.spec_from_file_location(name, path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


execute = module("execute", FOLDER / "execute.py")


@each_chapter
@pytest.mark.real
@pytest.mark.timeout(300)
def test_the_chapter_runs_from_top_to_bottom_and_each_cell_can_be_run_again(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    notebook.cells = [copy for cell in notebook.cells for copy in (cell, deepcopy(cell))]
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
    nbformat.write(notebook, tmp_path / path.name)
    execute.execute(tmp_path / path.name)


@each_chapter
def test_the_chapter_is_committed_with_its_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]
    execute.check(path.name, notebook)


@each_chapter
def test_cells_are_short(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            lines = [line for line in cell.source.splitlines() if line]
            assert len(lines) <= 15 and max(map(len, lines)) <= 100, cell.source


@each_chapter
def test_links_lead_somewhere(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\((?!http)([^)]+)\)", cell.source):
                assert (FOLDER / target).exists(), target


def exercises() -> list:
    return [
        pytest.param(path.name[:2], cell.source, tag.removeprefix("exercise-"), id=f"{path.name[:2]}-{tag}")
        for path in CHAPTERS
        for cell in nbformat.read(path, as_version=4).cells
        for tag in cell.metadata.get("tags", [])
        if tag.startswith("exercise-")
    ]


@pytest.mark.parametrize("chapter, starter, number", exercises())
def test_the_starter_fails_and_the_solution_passes(chapter, starter, number, monkeypatch, capsys):
    monkeypatch.syspath_prepend(FOLDER)
    namespace = {}
    imports = nbformat.read(next(FOLDER.glob(f"{chapter}_*.ipynb")), as_version=4).cells[1].source
    exec(imports, namespace)
    exec(starter, namespace)
    assert capsys.readouterr().out.startswith("Not yet: ")
    check = next(value for name, value in namespace.items() if name.startswith("check_"))
    solutions = module(f"solutions_{chapter}", FOLDER / "solutions" / f"chapter_{chapter}.py")
    assert check(getattr(solutions, f"Room{number}")), capsys.readouterr().out


def test_there_is_an_exercise_to_test():
    assert len(exercises()) >= 3


def test_every_solution_belongs_to_an_exercise():
    for path in (FOLDER / "solutions").glob("chapter_*.py"):
        numbers = {e.values[2] for e in exercises() if e.values[0] == path.stem[-2:]}
        rooms = {name.removeprefix("Room") for name in vars(module(path.stem, path)) if name.startswith("Room")}
        assert rooms == numbers
