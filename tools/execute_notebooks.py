"""Execute the chapters anew and save their outputs: `make notebooks`, or `python notebooks/execute.py 01 02`.
Draw the figure on the front page anew, too.

Each runs in a kernel of its own, from top to bottom. If a cell fails, the chapter keeps its old outputs.
"""

import re
import sys
from functools import partial
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

FOLDER = Path(__file__).parent
README = FOLDER.parent / "README.md"
LARGEST = 400_000  # bytes of a chapter with its outputs


class ChapterError(RuntimeError):
    """A chapter that does not run, or whose outputs cannot be published. The text says which and why."""


def chapters(numbers: list[str]) -> list[Path]:
    """The chapters with these numbers ("01"), or all."""
    paths = sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))
    for number in numbers:
        if not any(path.name.startswith(number) for path in paths):
            raise ChapterError(f"no chapter {number}: there are {', '.join(path.name[:2] for path in paths)}")
    return [path for path in paths if not numbers or path.name.startswith(tuple(numbers))]


def execute(path: Path, after_cell=lambda: None) -> nbformat.NotebookNode:
    """Run a chapter in a fresh kernel; returns it with its new outputs. Raises ChapterError if a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(FOLDER)}},
        on_cell_complete=lambda cell, cell_index: after_cell(),
    )
    try:
        client.execute()
    except CellExecutionError as error:
        raise ChapterError(f"{path.name} fails:\n{error}") from None
    tidy(notebook)
    return notebook


def tidy(notebook: nbformat.NotebookNode) -> None:
    """Leave nothing in the file that differs from run to run or machine to machine without a meaning."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {key: value for key, value in cell.metadata.items() if key == "tags"}
        if "outputs" in cell:  # but for progress bars that have done their work and are empty
            cell.outputs = [output for output in cell.outputs if output.get("data", {}).get("text/html") != ""]
        for output in cell.get("outputs", []):
            if "text/html" in output.get("data", {}):  # a panel's transcript; there is no panel without its kernel
                output.data.pop("application/vnd.jupyter.widget-view+json", None)


def check(name: str, notebook: nbformat.NotebookNode) -> None:
    text = nbformat.writes(notebook)
    if len(text.encode()) > LARGEST:
        raise ChapterError(f"{name} would be {len(text) // 1000} kB; at most {LARGEST // 1000}")
    for private in (str(Path.home()), str(FOLDER.parent), "/tmp/ipykernel"):
        if private in text:
            raise ChapterError(f"{name} would show a path of this machine: {private}")


def draw_front_page() -> None:
    """The figure in README.md, drawn by the example there."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    exec(example, {"print": lambda *_: None})
    plt.savefig(FOLDER / "figures" / "evicted.png", dpi=150)


def main() -> None:
    console = Console(stderr=True)
    columns = "{task.description}", BarColumn(), MofNCompleteColumn(), "cells,", TimeElapsedColumn()
    try:
        with Progress(*columns, console=console) as progress:
            for path in chapters(sys.argv[1:]):
                cells = sum(cell.cell_type == "code" for cell in nbformat.read(path, as_version=4).cells)
                task = progress.add_task(path.stem, total=cells)
                notebook = execute(path, partial(progress.advance, task))
                check(path.name, notebook)
                nbformat.write(notebook, path)
            draw_front_page()
    except ChapterError as error:
        console.print(str(error), markup=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
