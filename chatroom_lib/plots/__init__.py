"""One function per figure. Each reads Traces, draws on `ax` (a new one, unless given) and returns it.

A version has one colour, the same in every figure: a hue for 1, 2, 3 and 4, and shades within it. The hues can be
told apart by colour-blind readers too.
"""

from chatroom_lib.plots.bench import parts, scaling, times
from chatroom_lib.plots.dashboard import vital_signs
from chatroom_lib.plots.lines import curves, depth, failed_sends, latency, pool_size, shares, waiting
from chatroom_lib.plots.style import ALARM, COLOURS, OTHER, QUIET, axes, end_label, hue, ink, keep_apart, pale
from chatroom_lib.plots.timeline import heard, passed, pool, space_time
from chatroom_lib.plots.waits import lock, wait_for

__all__ = [
    "ALARM",
    "COLOURS",
    "OTHER",
    "QUIET",
    "axes",
    "curves",
    "depth",
    "end_label",
    "failed_sends",
    "heard",
    "hue",
    "ink",
    "keep_apart",
    "latency",
    "lock",
    "pale",
    "parts",
    "passed",
    "pool",
    "pool_size",
    "scaling",
    "shares",
    "space_time",
    "times",
    "vital_signs",
    "wait_for",
    "waiting",
]
