"""The figure of a running server."""

import math
from typing import TYPE_CHECKING

from chatroom_lib.plots.canvas import whole_numbers
from chatroom_lib.plots.style import ALARM, axes, colour_of, readable_on_white

if TYPE_CHECKING:  # a server that runs is watched with matplotlib only
    from matplotlib.figure import Figure

LOSS_COUNTERS = "dropped", "evicted", "refused"  # attributes in which a room may count them


def short_number(value: float) -> str:
    """12, 1,250 or 0.5"""
    return f"{value:,.0f}" if value == int(value) or value >= 10 else f"{value:.1f}"


def dashboard_figure(room: str, samples: list) -> "Figure":
    """A small panel for each metric that a dashboard has read, with its last value above and its highest at the axis.

    A gap: the dashboard paused.
    Not a pyplot figure, since those belong to the main thread.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1.4))
    figure.subplots_adjust(left=0.05, right=0.99, bottom=0.28, top=0.85, wspace=0.25)
    titles = list(dict.fromkeys(title for sample in samples for title in sample.metrics))
    times = [sample.time for sample in samples]
    for ax, title in zip(figure.subplots(1, len(titles), sharex=True, squeeze=False)[0], titles):
        values = [sample.metrics.get(title, math.nan) for sample in samples]
        colour = ALARM if title in LOSS_COUNTERS else colour_of(room)
        axes(ax).plot(times, values, color=colour, drawstyle="steps-post")
        last = next((time, value) for time, value in zip(times[::-1], values[::-1]) if not math.isnan(value))
        ax.plot(*last, "o", color=colour, markersize=4)
        ax.set_title(f"{short_number(last[1])} {title}", loc="left", fontsize=8, color=readable_on_white(colour))
        highest = max(1, *(value for value in values if not math.isnan(value)))
        ax.set(xlim=(0, max(10, times[-1])), ylim=(0, 1.1 * highest))
        ax.set_yticks([0, highest], ["0", short_number(highest)])
        whole_numbers(ax, "x", 3)
        ax.tick_params(labelsize=7)
        ax.set_xlabel("seconds", fontsize=7, labelpad=1)
    return figure
