"""What the command line and the servers that a benchmark starts say, and how many cores they may use."""

import contextlib
import os
import re
import sys

JOINERS = "\u200c\u200d"  # within words of some scripts, and within emoji


def complain(problem) -> None:
    if isinstance(problem, BaseException):
        problem = f"error in the room: {describe(problem)}"
    if sys.stderr:  # it may be closed, and it may be that nobody reads it
        with contextlib.suppress(OSError, ValueError):
            print(f"chatroom: {one_line(problem)}", file=sys.stderr, flush=True)


def describe(error: BaseException) -> str:
    """The type and the text of an exception, in one line. A room's own may fail to say what it is."""
    try:
        text = one_line(str(error))
    except Exception:
        text = ""
    return one_line(f"{type(error).__name__}: {text}" if text else type(error).__name__)


def one_line(text: str, longest: int = 200) -> str:
    """`text` as one printable line of at most `longest` characters: some of it may come from clients."""
    line = printable(" ".join(text[: 10 * longest].split()))
    return line if len(line) <= longest else line[: longest - 1] + "…"


def excerpt(frame: str | bytes, longest: int = 60) -> str:
    """The beginning of a frame in one printable line; b"..." if it is binary. Of a character that is repeated, six are
    shown."""
    start = frame[:10_000]
    text = start if isinstance(start, str) else repr(bytes(start))[2:-1]
    text = re.sub(r"(.)\1{6,}", r"\1\1\1\1\1\1", printable(" ".join(text.split())))
    return one_line(text, longest) if isinstance(start, str) else f'b"{one_line(text, longest - 3)}"'


def printable(text: str) -> str:
    """`text` without anything that moves a terminal's cursor, hides, or changes the direction of writing."""
    if text.isprintable():  # as almost all is
        return text
    return "".join(char if char.isprintable() or char in JOINERS else "\ufffd" for char in text)


def usable_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
