"""How far a long run is: a bar on a terminal's standard error, or in a notebook below the cell while it runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from chatroom_lib.runtime.jupyter import in_a_notebook


@contextmanager
def progress_bar(title: str | None, total: float, unit: str = "runs") -> Iterator[Callable[[float], None]]:
    """`with progress_bar("v1", 200) as show: show(17)`. Nothing remains of it. No bar if `title` is None."""
    if title is None:
        yield lambda done: None
    elif in_a_notebook():
        with notebook_bar(title, total, unit) as show:
            yield show
    else:
        with terminal_bar(title, total, unit) as show:
            yield show


@contextmanager
def terminal_bar(title: str, total: float, unit: str):
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    count = TextColumn("{task.completed:,.0f}/{task.total:,.0f} " + f"{unit},")
    columns = TextColumn("{task.description}", markup=False), BarColumn(), count, TimeElapsedColumn()
    # No thread draws it: it would take time from what is measured meanwhile.
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, auto_refresh=False, disable=hidden) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.update(task, completed=done, refresh=True)


@contextmanager
def notebook_bar(title: str, total: float, unit: str):
    from html import escape

    from IPython.display import HTML, display

    def html(done: float) -> HTML:
        bar = f"<progress value={done:.0f} max={total:.0f}></progress>"
        return HTML(f"{escape(title)} {bar} {done:,.0f} of {total:,.0f} {unit}")

    handle = display(html(0), display_id=True)
    try:
        yield lambda done: handle.update(html(done))
    finally:
        handle.update(HTML(""))
