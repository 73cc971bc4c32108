"""Figures with a line or a bar for each run."""

from chatroom_lib.plots.canvas import Axes, plain_numbers, whole_numbers
from chatroom_lib.plots.style import ALARM, axes, colour_of, end_label, keep_apart, label_rows, readable_on_white
from chatroom_lib.trace import Trace


def pool_size(*traces: Trace, ax: Axes | None = None) -> Axes:
    """The number of connections in the pool over time, a line for each run."""
    return lines(traces, Trace.pool_size, "connections in the pool", ax)


def sends_in_flight(*traces: Trace, ax: Axes | None = None) -> Axes:
    """The number of sends that have begun and not returned, a line for each run.

    Each keeps a task and a message alive.
    """
    return lines(traces, Trace.sends_in_flight, "sends in flight", ax)


def failed_sends(trace: Trace, ax: Axes | None = None) -> Axes:
    """The size of the pool, and below it for each message the number of its sends that failed: a cross each, or where
    there are more than 60 messages a line through them."""
    points = trace.failed_per_broadcast()
    ax = lines([trace], Trace.pool_size, "connections", ax, what=" in the pool", va="bottom" if points else "center")
    if points:
        style = "x" if len(points) <= 60 else ":"
        ax.plot(*zip(*points), style, color=ALARM, markersize=5, linewidth=2, clip_on=False, zorder=3)
        last = points[-1][1]
        end_label(ax, trace.duration, last, f"{last} failed sends\nper message", ALARM, va="top")
    return ax


def depth(*traces: Trace, what: str, ax: Axes | None = None) -> Axes:
    """How many messages are in a queue ("Bob's outbox"), or how many tasks wait for a lock or a channel, over time."""
    counted = "messages in" if any(what in trace.depths for trace in traces) else "tasks waiting for"
    return lines(traces, lambda trace: trace.depth(what), f"{counted} {what}", ax)


def lines(traces, points_of, ylabel: str, ax: Axes | None = None, what: str = "", va: str = "center") -> Axes:
    """A step line through `points_of(trace)` for each trace, with its room and last value at the end."""
    ax, labels = axes(ax), []
    for trace in traces:
        times, values = zip(*points_of(trace))
        last, colour = values[-1], colour_of(trace.room)
        ax.step((*times, trace.duration), (*values, last), where="post", color=colour, linewidth=2)
        labels.append(end_label(ax, trace.duration, last, f"{trace.room}: {last}{what}", colour, va))
    ax.set(xlabel="seconds", ylabel=ylabel, xlim=(0, max(trace.duration for trace in traces)))
    ax.set_ylim(bottom=0)
    whole_numbers(ax)
    keep_apart(labels)
    return ax


def curves(
    points: dict[str, list[tuple[float, float]]],
    xlabel: str,
    ylabel: str,
    ax: Axes | None = None,
    room: str | None = None,
    log=False,
) -> Axes:
    """A line through the (x, y) points of each name, with the name at its end: for sweeps over many runs.

    A line has the colour of the room of that name ("v3"); or all lines have the colour of `room`, whatever their names.
    With `log` both axes are logarithmic.
    """
    ax, labels = axes(ax), []
    for name, line in points.items():
        colour = colour_of(room or name)
        style = "o-" if len(line) <= 50 else "-"
        ax.plot(*zip(*line), style, color=colour, markersize=4, linewidth=2, clip_on=False)
        labels.append(end_label(ax, *line[-1], name, colour, va="center" if log else "bottom"))
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if log:
        logarithmic(ax, sorted({x for line in points.values() for x, _ in line}))
    else:
        ax.set_ylim(bottom=0, auto=True)  # a figure that shares this axis may need a higher limit
    keep_apart(labels)
    return ax


def logarithmic(ax, xs: list[float]) -> None:
    """Both axes, with a tick at each of `xs`, and numbers written out."""
    ax.set(xscale="log", yscale="log")
    ax.set_xticks(xs)
    plain_numbers(ax, "x")
    plain_numbers(ax, "y", subs=(1, 2, 5))
    ax.tick_params(axis="both", labelsize=8)


def shares(percents: dict[str, float], xlabel: str, ax: Axes | None = None) -> Axes:
    """A bar for each room, with its percentage (0 to 100) at the end."""
    ax = axes(ax, height=0.9 + 0.3 * len(percents))
    for row, (name, percent) in enumerate(percents.items()):
        colour = colour_of(name)
        ax.barh(-row, percent, height=0.7, color=colour)
        offset = dict(xytext=(4, 0), textcoords="offset points", va="center")
        ax.annotate(f"{percent:.1f} %", (percent, -row), color=readable_on_white(colour), **offset)
    label_rows(ax, dict(enumerate(percents)), len(percents))
    ax.set(xlabel=xlabel, xlim=(0, 100))
    return ax
