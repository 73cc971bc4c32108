"""Processes that end with the one that has started them, also when that is killed. On Linux; elsewhere they go on.

python parent.py PROGRAM ARGUMENT ...     runs the program so
"""

import contextlib
import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # in Linux's <sys/prctl.h>


def end_with_parent() -> None:
    """This process gets a SIGKILL when the thread ends that has started it."""
    set_in_kernel(PR_SET_PDEATHSIG, signal.SIGKILL)


def stay_the_ancestor() -> None:
    """Of all processes that are started from here, also when their own parent ends: so they can be found."""
    set_in_kernel(PR_SET_CHILD_SUBREAPER, 1)


def set_in_kernel(option: int, value: int) -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value)


def ending_with_us(program: str, *arguments: str) -> list[str]:
    """The command that runs this program so."""
    return [sys.executable, __file__, program, *arguments]


if __name__ == "__main__":
    end_with_parent()
    os.execv(sys.argv[1], sys.argv[1:])
