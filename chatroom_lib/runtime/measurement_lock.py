"""Nobody draws while somebody measures: a dashboard at work beside a measurement would be part of what is measured."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_changed = threading.Condition()
_windows = 0  # measurements under way in this process
_drawings = 0  # drawings under way


@contextmanager
def measured_window() -> Iterator[None]:
    """`with` this around what is measured. Waits until a drawing that is under way is done."""
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
    """`with` this around a drawing. False: not now, somebody measures."""
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
