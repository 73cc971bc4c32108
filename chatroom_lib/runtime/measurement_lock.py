"""A process-wide lock: no dashboard draws while a measurement runs, so it cannot distort the result."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_changed = threading.Condition()
_windows = 0  # measurements running in this process
_drawings = 0  # drawings in progress


@contextmanager
def measured_window() -> Iterator[None]:
    """`with` this around what is measured. Waits until a drawing in progress is done."""
    global _windows
    with _changed:
        _windows += 1
        _changed.wait_for(lambda: not _drawings, timeout=1)
    try:
        yield
    finally:
        with _changed:
            _windows -= 1


@contextmanager
def drawing() -> Iterator[bool]:
    """`with` this around a drawing. False: not now, a measurement is running."""
    global _drawings
    with _changed:
        free = not _windows
        _drawings += free
    try:
        yield free
    finally:
        with _changed:
            _drawings -= free
            _changed.notify_all()
