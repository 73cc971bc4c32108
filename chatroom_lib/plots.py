"""One function per figure. Each reads Traces, draws on `ax` (a new one, unless given) and returns it.

A version has one colour, the same in every figure: a hue for 1, 2 and 3, and shades within it. The three hues can be
told apart by colour-blind readers too.
"""

import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator

from chatroom_lib.trace import Trace, percentile

COLOURS = {
    "v1": "#E08214",
    "v1.1": "#A6490A",
    "v2": "#4393C3",
    "v2-rw": "#08519C",
    "v3": "#5AAE61",
    "v3.1": "#1B7837",
    "v3.2": "#00441B",
}
OTHER = "#762A83"  # a room of one's own
QUIET = "#8C8C8C"  # what is not the point
ALARM = "#D6006E"  # dead, or put out


def colour_of(trace: Trace) -> str:
    return COLOURS.get(trace.room, OTHER)


def axes(ax=None, height: float = 3.0):
    if ax is None:
        _, ax = plt.subplots(figsize=(7, height), layout="constrained")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


# ---------------------------------------------------------------- a row for each client


def rows(trace: Trace, ax, title: str):
    """`ax` with a row for each client, the first on top, and a thin line for as long as it was connected."""
    ax = axes(ax, height=0.9 + 0.4 * len(trace.clients))
    places = {name: -index for index, name in enumerate(trace.names)}
    ax.set_yticks(list(places.values()), list(places))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set(xlabel="seconds", xlim=(0, trace.duration * 1.02), ylim=(0.5 - len(places), 0.5))
    ax.set_title(f"{trace.room}: {title}", loc="left", fontsize=10)
    gone = trace.gone()
    for event in trace.of("joined"):
        ax.hlines(places[event.who], event.time, gone.get(event.who, trace.duration), QUIET, linewidth=1)
    mark(ax, places, [(event.who, event.time) for event in trace.of("vanished")], "x")
    return ax, places


def mark(ax, places: dict[str, int], moments: list[tuple[str, float]], marker: str) -> None:
    """A sign for something bad, in the rows of those it happens to."""
    where = [time for _, time in moments], [places[name] for name, _ in moments]
    ax.plot(*where, marker, color=ALARM, markersize=8, markerfacecolor="none", markeredgewidth=2, zorder=5)


def heard(trace: Trace, ax=None):
    """Who heard what when: a dot for each message heard, a tick above the line for each message said.

    The thin line: connected. A cross: the connection is reset.
    """
    ax, places = rows(trace, ax, "who heard what when")
    said, dots = trace.of("said"), trace.of("heard")
    ax.plot([e.time for e in said], [places[e.who] + 0.28 for e in said], "|", color=QUIET, markersize=4)
    ax.plot([e.time for e in dots], [places[e.who] for e in dots], "o", color=colour_of(trace), markersize=3.5)
    return ax


def pool(trace: Trace, ax=None):
    """Who is in the room's pool: the thick bar. The thin line: connected. A circle: put out. A cross: reset."""
    ax, places = rows(trace, ax, "who is in the pool")
    for name, start, stop in trace.memberships():
        ax.barh(places[name], stop - start, left=start, height=0.45, color=colour_of(trace), alpha=0.55)
    mark(ax, places, list(trace.evicted().items()), "o")
    return ax


# ---------------------------------------------------------------- a line for each run


def pool_size(*traces: Trace, ax=None):
    """How many connections the pool holds over time, a line for each run."""
    ax = axes(ax)
    for trace in traces:
        sizes = trace.pool_size()
        steps(ax, trace, sizes, f"{trace.room}: {sizes[-1][1]}")
    return label_axes(ax, traces, "connections in the pool")


def errors(trace: Trace, ax=None):
    """The size of the pool, and for each message how many sends of it failed."""
    ax = pool_size(trace, ax=ax)
    ax.texts[-1].set(text=f"in the pool: {trace.pool_size()[-1][1]}", va="bottom")
    ax.set_ylabel("connections")
    if points := trace.errors_per_broadcast():
        ax.plot(*zip(*points), "x", color=ALARM, markersize=4)
        last = points[-1][1]
        end_label(ax, trace.duration, last, f"failed sends\nper message: {last}", ALARM, va="top")
    return ax


def waiting(*traces: Trace, ax=None):
    """How many sends have begun and not returned, a line for each run: each is a task and a message kept alive."""
    ax = axes(ax)
    for trace in traces:
        counts = trace.sends_under_way()
        steps(ax, trace, counts, f"{trace.room}: {counts[-1][1]}")
    return label_axes(ax, traces, "sends under way")


def steps(ax, trace: Trace, points: list[tuple[float, int]], text: str) -> None:
    times, values = zip(*points, (trace.duration, points[-1][1]))
    ax.step(times, values, where="post", color=colour_of(trace), linewidth=2)
    end_label(ax, trace.duration, values[-1], text, colour_of(trace))


def end_label(ax, x: float, y: float, text: str, colour: str, va: str = "center") -> None:
    """A label at the end of a line, in the line's own colour."""
    place = dict(xytext=(6, 0), textcoords="offset points", annotation_clip=False)
    ax.annotate(text, (x, y), color=colour, va=va, **place)


def label_axes(ax, traces, what: str):
    ax.set(xlabel="seconds", ylabel=what, xlim=(0, max(trace.duration for trace in traces)))
    ax.set_ylim(bottom=0)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    return ax


def latency(*traces: Trace, who: str | None = None, ax=None):
    """The share of messages that were heard within a time, a line for each run; one listener's, if `who` is given.

    The label has the median, the 99th percentile, and how many were never heard: losses flatter latency.
    """
    ax = axes(ax)
    for index, trace in enumerate(traces):
        delays = sorted(delay for event, delay in trace.latencies() if who in (None, event.who))
        lost = sum(len(missed) for name, missed in trace.owed().items() if who in (None, name))
        shares = [100 * (rank + 1) / len(delays) for rank in range(len(delays))]
        ax.step(delays, shares, where="post", color=colour_of(trace), linewidth=2)
        p50, p99 = (seconds(percentile(delays, percent)) if delays else "none" for percent in (50, 99))
        text = f"{trace.room}: p50 {p50}, p99 {p99}, lost {lost}"
        ax.text(0, 1.04 + 0.09 * (len(traces) - 1 - index), text, color=colour_of(trace), transform=ax.transAxes)
    ax.set(xscale="log", xlabel="seconds from saying to hearing", ylabel="% heard by then", ylim=(0, 102))
    return ax


def seconds(value: float) -> str:
    return f"{value:.2g} s" if value >= 0.1 else f"{1000 * value:.2g} ms"
