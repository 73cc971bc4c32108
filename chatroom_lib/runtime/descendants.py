"""The processes that a process has started, and those that they have: to find them all, and to end them.

Whoever starts a program that may start others puts a mark into its environment, by which also those are found that have
left its session or lost their parent.
"""

import contextlib
import time
from collections.abc import Callable

import psutil


def descendants(number: int) -> list[psutil.Process]:
    """Of the process with this id."""
    with contextlib.suppress(psutil.Error):
        return psutil.Process(number).children(recursive=True)
    return []


def marked(variable: str, mark: str) -> list[psutil.Process]:
    """All processes in whose environment this variable has this value."""
    return [process for process in psutil.process_iter() if is_marked(process, variable, mark)]


def is_marked(process: psutil.Process, variable: str, mark: str) -> bool:
    try:
        return process.environ().get(variable) == mark and is_alive(process)
    except (psutil.Error, OSError):
        return False  # it has ended, or is somebody else's


def is_alive(process: psutil.Process) -> bool:
    """Does it still run? Asks without reaping it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def kill_all(find: Callable[[], list[psutil.Process]]) -> None:
    """End all processes that `find` finds, until there are none: they may be starting others."""
    for _ in range(5):
        found = find()
        if not found:
            return
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        latest = time.monotonic() + 0.2
        while any(map(is_alive, found)) and time.monotonic() < latest:
            time.sleep(0.005)
