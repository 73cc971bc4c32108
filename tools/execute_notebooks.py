"""Execute the chapters anew and save their outputs: `make notebooks`, or `python tools/execute_notebooks.py 01 02`.
Draw the figure on the front page anew, too.

Each runs in a kernel of its own, from top to bottom. If a cell fails, the chapter keeps its old outputs.
"""

import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from chatroom_lib.runtime.progress import progress_bar

ROOT = Path(__file__).parent.parent
NOTEBOOKS = ROOT / "notebooks"
README = ROOT / "README.md"
PREDICTION = "hide-output"  # the tag of a cell whose output the reader is to predict; the book folds it
LARGEST = 400_000  # bytes of a chapter with its outputs


class ChapterError(RuntimeError):
    """A chapter that does not run, or whose outputs cannot be published. The text says which and why."""


def chapters(numbers: list[str]) -> list[Path]:
    """The chapters with these numbers ("01"; "A" is an appendix), or all."""
    paths = sorted(NOTEBOOKS.glob("[0-9A-Z]*_*.ipynb"))
    for number in numbers:
        if not any(path.name.startswith(f"{number}_") for path in paths):
            raise ChapterError(
                f"no chapter {number}: there are {', '.join(path.name.partition('_')[0] for path in paths)}"
            )
    return [path for path in paths if not numbers or path.name.partition("_")[0] in numbers]


def execute(path: Path, progress=lambda done: None) -> nbformat.NotebookNode:
    """Run a chapter in a fresh kernel; returns it with its new outputs. Raises ChapterError if a cell fails.

    `progress` is called with the number of cells, texts included, after each code cell.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=240,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(NOTEBOOKS)}},
        on_cell_executed=lambda cell, cell_index, execute_reply: progress(cell_index + 1),
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
        if PREDICTION in cell.metadata.get("tags", []):
            fold(cell)
        for output in cell.get("outputs", []):
            if "text/html" in output.get("data", {}):  # a panel's transcript; there is no panel without its kernel
                output.data.pop("application/vnd.jupyter.widget-view+json", None)


def fold(cell: nbformat.NotebookNode) -> None:
    """Let JupyterLab show the outputs only on a click, or when the cell is run. In their place it shows the first line
    of the first, so that is an empty one."""
    cell.metadata["jupyter"] = {"outputs_hidden": True}
    cell.outputs.insert(0, nbformat.v4.new_output("display_data", {"text/html": "", "text/plain": ""}))


def require_publishable(name: str, notebook: nbformat.NotebookNode) -> None:
    """Raises ChapterError if the outputs are too large, or show a path of this machine."""
    text = nbformat.writes(notebook)
    if len(text.encode()) > LARGEST:
        raise ChapterError(f"{name} would be {len(text) // 1000} kB; at most {LARGEST // 1000}")
    for private in (str(Path.home()), str(ROOT), "/tmp/ipykernel"):
        if private in text:
            raise ChapterError(f"{name} would show a path of this machine: {private}")


def draw_front_page() -> None:
    """The figure in README.md, drawn by the example there."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    exec(example, {"print": lambda *_: None})
    plt.savefig(NOTEBOOKS / "figures" / "evicted.png", dpi=150)


def publish(path: Path) -> None:
    """Execute a chapter, and save it if it can be published."""
    cells = len(nbformat.read(path, as_version=4).cells)
    with progress_bar(path.stem, cells, "cells") as show:
        notebook = execute(path, show)
    require_publishable(path.name, notebook)
    nbformat.write(notebook, path)


def main() -> None:
    try:
        for path in chapters(sys.argv[1:]):
            publish(path)
        draw_front_page()
    except ChapterError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
