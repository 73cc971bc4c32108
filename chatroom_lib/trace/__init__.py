"""What happened in a run: the records, the Trace, its space-time diagram, and its deadlocks."""

from chatroom_lib.trace.deadlock import cycle
from chatroom_lib.trace.records import (
    DISK_LOST,
    KINDS,
    LOG,
    Event,
    LeakReport,
    MemorySample,
    Use,
    Wait,
    label,
    numbers_gone,
    speaker,
)
from chatroom_lib.trace.trace import Trace, Visit, entered_at, opened_for, percentile

__all__ = [
    "DISK_LOST",
    "KINDS",
    "LOG",
    "Event",
    "LeakReport",
    "MemorySample",
    "Trace",
    "Use",
    "Visit",
    "Wait",
    "cycle",
    "entered_at",
    "label",
    "numbers_gone",
    "opened_for",
    "percentile",
    "speaker",
]
