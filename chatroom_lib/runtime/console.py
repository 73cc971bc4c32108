"""What the command line and the servers that a benchmark starts say, and how many cores they may use."""

import os
import sys


def complain(problem) -> None:
    if isinstance(problem, BaseException):
        problem = f"error in the room: {type(problem).__name__}: {problem}"
    print(f"chatroom: {problem}", file=sys.stderr, flush=True)


def usable_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
