"""Time as it passes for one process: without the time in which it could have run, and others had the processor.

So a limit on it says the same on a quiet machine and on a busy one, of a process that computes and of one that waits.
"""

import os
import time

real_clock = time.monotonic  # also while a simulated run has replaced it


def own_time(process: int | None = None) -> float:
    """Seconds, from some moment in the past, for the process of this number, or for the calling one.

    It counts by the main thread. On systems other than Linux it is the monotonic clock.
    """
    return real_clock() - seconds_in_line(os.getpid() if process is None else process)


def seconds_in_line(process: int) -> float:
    """How long its main thread has waited for a processor. (`man 5 proc`; the second number, in nanoseconds.)"""
    try:
        with open(f"/proc/{process}/schedstat") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):  # there is no such file, or no such process any more
        return 0.0
