"""One function per figure. Each reads Traces, draws on `ax` (matplotlib Axes; new ones by default) and returns it.
Where there is no matplotlib, as in a browser, the Axes are our own, and make SVG (canvas.py).

Each version has one colour in every figure: a hue for each of 1, 2, 3 and 4, and shades within it. Colour-blind
readers can distinguish the hues too.
"""

from chatroom_lib.plots.bench import breakdown, ratios, scaling, waiting
from chatroom_lib.plots.canvas import panels
from chatroom_lib.plots.dashboard import dashboard_figure
from chatroom_lib.plots.latency import latency
from chatroom_lib.plots.lines import curves, depth, failed_sends, pool_size, sends_in_flight, shares
from chatroom_lib.plots.orders import orders
from chatroom_lib.plots.resume import resume
from chatroom_lib.plots.storm import storm
from chatroom_lib.plots.style import (
    ALARM,
    COLOURS,
    MUTED,
    OTHER,
    axes,
    colour_of,
    end_label,
    keep_apart,
    pale,
    readable_on_white,
)
from chatroom_lib.plots.timeline import heard, passed, pool, space_time
from chatroom_lib.plots.waits import lock, wait_for
from chatroom_lib.plots.writing import writing

__all__ = [
    "ALARM",
    "COLOURS",
    "MUTED",
    "OTHER",
    "axes",
    "breakdown",
    "colour_of",
    "curves",
    "dashboard_figure",
    "depth",
    "end_label",
    "failed_sends",
    "heard",
    "keep_apart",
    "latency",
    "lock",
    "orders",
    "pale",
    "panels",
    "passed",
    "pool",
    "pool_size",
    "ratios",
    "readable_on_white",
    "resume",
    "scaling",
    "sends_in_flight",
    "shares",
    "space_time",
    "storm",
    "wait_for",
    "waiting",
    "writing",
]
