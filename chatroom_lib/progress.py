"""How far a long run is: a bar on a terminal's standard error, or in a notebook below the cell while it runs."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(title: str | None, total: int) -> Iterator[Callable[[int], None]]:
    """`with progress_bar("v1", 200) as show: show(17)`. Nothing remains of it. No bar, if `title` is None."""
    if title is None:
        yield lambda done: None
    elif in_a_notebook():
        with notebook_bar(title, total) as show:
            yield show
    else:
        with terminal_bar(title, total) as show:
            yield show


@contextmanager
def terminal_bar(title: str, total: int):
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

    console = Console(stderr=True)
    columns = "{task.description}", BarColumn(), MofNCompleteColumn(), "runs,", TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.update(task, completed=done)


@contextmanager
def notebook_bar(title: str, total: int):
    from html import escape

    from IPython.display import HTML, display

    def html(done: int) -> HTML:
        return HTML(f"{escape(title)} <progress value={done} max={total}></progress> {done:,} of {total:,} runs")

    handle = display(html(0), display_id=True)
    try:
        yield lambda done: handle.update(html(done))
    finally:
        handle.update(HTML(""))


def in_a_notebook() -> bool:
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell is not None and hasattr(shell, "kernel")
