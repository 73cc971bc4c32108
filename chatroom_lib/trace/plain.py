"""A Trace as plain data, which JSON can carry to another process, and back."""

import builtins
import contextlib
import traceback
from collections import Counter
from dataclasses import astuple

from chatroom_lib.trace.records import Event, LeakReport, MemorySample, Use, Wait
from chatroom_lib.trace.trace import Trace

AS_THEY_ARE = ("room", "seed", "left_tasks", "duration", "schedule", "keepalive", "servers", "threads", "ending")


def to_plain(trace: Trace) -> dict:
    """All that a finished Trace consists of but its `clients`: lists, dictionaries, texts and numbers."""
    return {
        **{name: getattr(trace, name) for name in AS_THEY_ARE},
        "depths": trace.depths,
        "events": trace.events,
        "uses": [astuple(use) for use in trace.uses],
        "writes": dict(trace.writes),
        "pings": dict(trace.pings),
        "memory": trace.memory,
        "leak": trace.leak,
        "waits": [astuple(wait) for wait in trace.waits],
        "errors": [error_to_plain(error) for error in trace.errors],
        "exit_error": trace.exit_error and error_to_plain(trace.exit_error),
    }


def from_plain(data: dict, clients: tuple) -> Trace:
    """The Trace of `clients` from which `to_plain` made `data`. Its exceptions are stand-ins: see `stand_in`.

    Raises TypeError, ValueError or KeyError if `data` is of another shape.
    """
    return Trace(
        **{name: data[name] for name in AS_THEY_ARE},
        clients=clients,
        depths={name: [tuple(each) for each in changes] for name, changes in data["depths"].items()},
        events=[Event(*each) for each in data["events"]],
        uses=[Use(*each) for each in data["uses"]],
        writes=Counter(data["writes"]),
        pings=Counter(data["pings"]),
        memory=[MemorySample(*each) for each in data["memory"]],
        leak=data["leak"] and LeakReport(*data["leak"]),
        waits=[Wait(*each[:-1], needs=tuple(each[-1])) for each in data["waits"]],
        errors=[stand_in(*each) for each in data["errors"]],
        exit_error=data["exit_error"] and stand_in(*data["exit_error"]),
    )


def error_to_plain(error: BaseException) -> tuple:
    """The type, the text, the traceback, and of a group what is in it."""
    inside = getattr(error, "exceptions", ()) if isinstance(error, BaseExceptionGroup) else ()
    try:
        text = error.message if inside else str(error)
    except Exception:  # a room's own may fail to say what it is
        text = ""
    where = "".join(traceback.format_tb(error.__traceback__))
    return type(error).__name__, text, where, [error_to_plain(each) for each in inside]


def stand_in(kind: str, text: str, where: str, inside: list) -> Exception:
    """An exception that says what one in another process said: of the same built-in class if there is one, or else of
    a class of that name. A note contains the traceback."""
    if inside:
        error = ExceptionGroup(text, [stand_in(*each) for each in inside])
    else:
        error = built_in(kind, text) or type(kind, (Exception,), {})(text)
    if where:
        error.add_note(f"in the process that tried the room:\n{where}")
    return error


def built_in(kind: str, text: str) -> Exception | None:
    """The built-in exception of this class, if it says just `text`. (KeyError does not: it quotes.)"""
    known = getattr(builtins, kind, None)
    if isinstance(known, type) and issubclass(known, Exception):
        with contextlib.suppress(TypeError):  # UnicodeError's kin take more than a text
            if str(error := known(text)) == text:
                return error
    return None
