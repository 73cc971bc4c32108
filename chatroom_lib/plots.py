"""One function per figure. Each reads Traces, draws on `ax` (a new one, unless given) and returns it.

A version has one colour, the same in every figure: a hue for 1, 2, 3 and 4, and shades within it. The hues can be
told apart by colour-blind readers too.
"""

import math
from collections import Counter

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from chatroom_lib.clients import NEVER, Client
from chatroom_lib.story import Story, Way
from chatroom_lib.trace import Trace, percentile
from chatroom_lib.vitals import LOSSES, shown
from chatroom_lib.waiting import Graph, name_of

COLOURS = {
    "v1": "#E08214",
    "v1.1": "#A6490A",
    "v2": "#4393C3",
    "v2-rw": "#08519C",
    "v3": "#5AAE61",
    "v3.1": "#1B7837",
    "v3.2": "#00441B",
    "v4": "#5020F0",
}
OTHER = "#762A83"  # a room of one's own
QUIET = "#949494"  # what is not the point
ALARM = "#A3004F"  # dead, or put out


def colour_of(trace: Trace) -> str:
    return COLOURS.get(trace.room, OTHER)


def pale(colour: str) -> list[float]:
    """The colour, mixed with as much white."""
    return [(1 + part) / 2 for part in to_rgb(colour)]


def ink(colour: str) -> str:
    """The colour, so dark that it can be read on white: the contrast is 4.5 at least (WCAG 2.2)."""
    rgb = np.array(to_rgb(colour))
    while 1.05 / (0.05 + luminance(rgb)) < 4.5:
        rgb = 0.95 * rgb
    return to_hex(rgb)


def luminance(rgb) -> float:
    """How bright a colour looks, from 0 to 1."""
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)


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
    label_rows(ax, dict(enumerate(map(row_label, trace.clients))), len(places))
    ax.set_xlim(0, trace.duration * 1.02)
    ax.set_title(f"{trace.room}: {title}", loc="left", fontsize=10)
    gone = trace.gone()
    for event in trace.of("joined"):
        ax.hlines(places[event.who], event.time, gone.get(event.who, trace.duration), QUIET, linewidth=1)
    mark(ax, places, [(event.who, event.time) for event in trace.of("vanished")], "x")
    return ax, places


def label_rows(ax, labels: dict[int, str], count: int) -> None:
    """`count` rows, the first (0) on top, over time."""
    ax.set_yticks([-row for row in labels], list(labels.values()))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set(xlabel="seconds", ylim=(0.5 - count, 0.5))


def row_label(client: Client) -> str:
    if client.prompt:
        return client.name
    return f"{client.name}, who\n{'does not read' if client.pause == NEVER else 'reads slowly'}"


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
        ax.barh(places[name], stop - start, left=start, height=0.45, color=pale(colour_of(trace)), zorder=2)
    mark(ax, places, list(trace.evicted().items()), "o")
    return ax


def passed(traces: dict[str, Trace], who: str, ax=None):
    """What became of what `who` said, a row for each run: a dot for what was passed on, a cross for what was not."""
    ax = axes(ax, height=0.9 + 0.3 * len(traces))
    for row, trace in enumerate(traces.values()):
        refused = {event.message for event in trace.of("refused", who=who)}
        times = {event.message: event.time for event in trace.of("said", who=who)}
        dots = [time for message, time in times.items() if message not in refused]
        ax.plot([times[message] for message in refused], [-row] * len(refused), "x", color=ALARM, markersize=5)
        ax.plot(dots, [-row] * len(dots), "o", color=colour_of(trace), markersize=5)
    label_rows(ax, dict(enumerate(traces)), len(traces))
    ax.set_title(f"What becomes of what {who} says", loc="left", fontsize=10)
    return ax


def space_time(trace: Trace, ax=None):
    """Every message on its way: a line for each client and one, in the middle, for the room; slanted lines from who
    says it to the room, and from there to who hears it. Time runs to the right, and not to scale: each moment at which
    something happens has a place of its own. For up to 6 clients and 20 messages.

    The thick bar: in the pool. A stub that ends in a cross: the room has read this message while this client was in its
    pool, and has never begun to send it. A broken line: sent, and never heard. In the colour of alarm: overtaken by a
    message that the room read later. Grey: refused. A large cross: the connection is reset. A circle: put out.
    """
    story = Story(trace)
    above = (len(trace.names) + 1) // 2
    heights = {name: above - index - (index >= above) for index, name in enumerate(trace.names)}
    ax = axes(ax, height=1.2 + 0.55 * (len(heights) + 1))
    colour, end = colour_of(trace), len(story.moments)
    for name, start, stop in trace.memberships():
        span = story.place(start), story.place(stop) if stop < trace.duration else end
        ax.hlines(heights[name], *span, pale(colour), linewidth=7, zorder=1)
    gone = trace.gone()
    for name, time in trace.first("joined").items():
        until = story.place(gone[name]) if name in gone else end
        ax.hlines(heights[name], story.place(time), until, QUIET, linewidth=1)
    ax.hlines(0, 0, end, QUIET, linewidth=3)
    for way in story.spoken:
        slant(ax, way, (heights[way.who], 0), QUIET if way.message in story.refused else colour)
    for way in story.passed_on:
        slant(ax, way, (0, heights[way.who]), ALARM if way in story.overtaken else colour)
    for way in story.withheld:
        stub = 0.3 if heights[way.who] > 0 else -0.3
        ax.plot([way.start] * 2, [0, stub], "-x", color=ALARM, linewidth=1, markersize=4, markevery=[1])
    for event in trace.of("said"):
        place, number = (story.place(event.time), heights[event.who]), event.message.partition(" ")[2]
        side = dict(xytext=(0, 6), va="bottom") if heights[event.who] > 0 else dict(xytext=(0, -6), va="top")
        ax.annotate(number, place, textcoords="offset points", fontsize=7, ha="center", **side)
    bad = [("x", [(event.who, event.time) for event in trace.of("vanished")]), ("o", list(trace.evicted().items()))]
    for marker, moments in bad:
        mark(ax, heights, [(name, story.place(time)) for name, time in moments], marker)
    ax.set_yticks([0, *heights.values()], ["the room", *map(row_label, trace.clients)])
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    places = range(0, end, max(1, end // 6))
    ax.set_xticks(places, [f"{story.moments[place]:.3f}" for place in places])
    ax.set(xlabel="seconds, not to scale", xlim=(-1, end + 1), ylim=(min(heights.values()) - 0.6, above + 0.6))
    ax.set_title(f"{trace.room}: every message on its way", loc="left", fontsize=10)
    return ax


def slant(ax, way: Way, heights: tuple[float, float], colour: str) -> None:
    """From the line of the one who sends to that of the one who receives; if it never arrives, half of the way."""
    start, end = heights
    if way.stop is None:
        ax.plot((way.start, way.start + 1), (start, (start + end) / 2), ":", color=colour, linewidth=0.9, zorder=3)
    else:
        ax.plot((way.start, way.stop), (start, end), "-o", color=colour, linewidth=0.9, markersize=2.5, markevery=[1])


# ---------------------------------------------------------------- a line for each run


def pool_size(*traces: Trace, ax=None):
    """How many connections the pool holds over time, a line for each run."""
    return lines(traces, Trace.pool_size, "connections in the pool", ax)


def waiting(*traces: Trace, ax=None):
    """How many sends have begun and not returned, a line for each run: each is a task and a message kept alive."""
    return lines(traces, Trace.sends_under_way, "sends under way", ax)


def failed_sends(trace: Trace, ax=None):
    """The size of the pool, and a cross for each message: how many sends of it failed."""
    points = trace.failed_per_broadcast()
    va = "bottom" if points else "center"  # the label of the crosses goes below
    ax = lines([trace], Trace.pool_size, "connections", ax, what=" in the pool", va=va)
    if points:
        every = max(1, len(points) // 40)
        ax.plot(*zip(*points), "x", color=ALARM, markersize=5, markevery=every, clip_on=False, zorder=3)
        last = points[-1][1]
        end_label(ax, trace.duration, last, f"{last} failed sends\nper message", ALARM, va="top")
    return ax


def depth(*traces: Trace, what: str, ax=None):
    """How many messages are in a queue ("Bob's outbox"), or how many tasks wait for a lock or a channel, over time."""
    counted = "messages in" if any(what in trace.depths for trace in traces) else "tasks waiting for"
    return lines(traces, lambda trace: trace.depth(what), f"{counted} {what}", ax)


def lines(traces, points_of, ylabel: str, ax=None, what: str = "", va: str = "center"):
    """A step line through `points_of(trace)` for each trace, with its room and last value at the end."""
    ax, labels = axes(ax), []
    for trace in traces:
        times, values = zip(*points_of(trace))
        last, colour = values[-1], colour_of(trace)
        ax.step((*times, trace.duration), (*values, last), where="post", color=colour, linewidth=2)
        labels.append(end_label(ax, trace.duration, last, f"{trace.room}: {last}{what}", colour, va))
    ax.set(xlabel="seconds", ylabel=ylabel, xlim=(0, max(trace.duration for trace in traces)))
    ax.set_ylim(bottom=0)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    keep_apart(labels)
    return ax


def end_label(ax, x: float, y: float, text: str, colour: str, va: str = "center"):
    """A label at the end of a line, in the line's own colour."""
    place = dict(xytext=(6, 0), textcoords="offset points", annotation_clip=False)
    return ax.annotate(text, (x, y), color=ink(colour), va=va, **place)


def keep_apart(labels: list, gap: float = 12) -> None:
    """Move labels up, so that each is `gap` points above the one below. The limits of the axes must be set."""
    height = {label: label.axes.transData.transform(label.xy)[1] * 72 / label.figure.dpi for label in labels}
    lowest = -math.inf
    for label in sorted(labels, key=height.get):
        lowest = max(height[label], lowest + gap)
        label.set_position((6, lowest - height[label]))


def curves(
    points: dict[str, list[tuple[float, float]]], xlabel: str, ylabel: str, ax=None, room: str | None = None, log=False
):
    """A line through the (x, y) points of each name, with the name at its end: for sweeps over many runs.

    The lines have the colours of the rooms called so ("v3"); or all that of one `room`, and names of their own.
    With `log` both axes are logarithmic.
    """
    ax, labels = axes(ax), []
    for name, places in points.items():
        colour = hue(room or name)
        style = "o-" if len(places) <= 50 else "-"
        ax.plot(*zip(*places), style, color=colour, markersize=4, linewidth=2, clip_on=False)
        labels.append(end_label(ax, *places[-1], name, colour, va="center" if log else "bottom"))
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if log:
        logarithmic(ax, sorted({x for places in points.values() for x, _ in places}))
    else:
        ax.set_ylim(bottom=0, auto=True)  # a figure that shares this axis may have more to show
    keep_apart(labels)
    return ax


def logarithmic(ax, xs: list[float]) -> None:
    """Both axes, with a tick at each of `xs`, and numbers written out."""
    ax.set(xscale="log", yscale="log")
    ax.set_xticks(xs)
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter("{x:,.10g}")
        axis.set_minor_locator(NullLocator())
    ax.tick_params(axis="both", labelsize=8)


def shares(percents: dict[str, float], xlabel: str, ax=None):
    """A bar for each room, with its number at the end: the percentage of something."""
    ax = axes(ax, height=0.9 + 0.3 * len(percents))
    for row, (name, percent) in enumerate(percents.items()):
        colour = COLOURS.get(name, OTHER)
        ax.barh(-row, percent, height=0.7, color=colour)
        place = dict(xytext=(4, 0), textcoords="offset points", va="center")
        ax.annotate(f"{percent:.1f} %", (percent, -row), color=ink(colour), **place)
    label_rows(ax, dict(enumerate(percents)), len(percents))
    ax.set(xlabel=xlabel, xlim=(0, 100))
    return ax


def latency(*traces: Trace, who: str | None = None, ax=None):
    """The share of messages that were heard within a time, a line for each run; one listener's, if `who` is given.

    The label has the median, the 99th percentile, and how many were never heard: losses flatter latency.
    """
    ax = axes(ax)
    for index, trace in enumerate(traces):
        delays = sorted(delay for event, delay in trace.latencies() if who in (None, event.who))
        lost = sum(len(missed) for name, missed in trace.missed().items() if who in (None, name))
        shares = [100 * (rank + 1) / len(delays) for rank in range(len(delays))]
        ax.step(delays, shares, where="post", color=colour_of(trace), linewidth=2)
        p50, p99 = (seconds(percentile(delays, percent)) if delays else "none" for percent in (50, 99))
        text = f"{trace.room}: p50 {p50}, p99 {p99}, lost {lost}"
        ax.text(0, 1.04 + 0.09 * (len(traces) - 1 - index), text, color=ink(colour_of(trace)), transform=ax.transAxes)
    heard = f"% of messages {who or 'all'} heard by then"
    ax.set(xscale="log", xlabel="seconds from saying to hearing", ylabel=heard, ylim=(0, 102))
    return ax


def seconds(value: float) -> str:
    return f"{value:.2g} s" if value >= 0.1 else f"{1000 * value:.2g} ms"


# ---------------------------------------------------------------- who waits


def lock(trace: Trace, what: str = "lock", ax=None):
    """A row for each task that asked for the lock, the first on top: pale while it waits, full while it holds."""
    uses, colour = trace.uses_of(what), colour_of(trace)
    ax = axes(ax, height=0.9 + 0.2 * len(uses))
    for row, use in enumerate(uses):
        waited_until = next((end for end in (use.got, use.given_up) if end is not None), trace.duration)
        released = trace.duration if use.released is None else use.released
        ax.barh(-row, waited_until - use.asked, left=use.asked, height=0.7, color=pale(colour))
        if use.got is not None:
            ax.barh(-row, released - use.got, left=use.got, height=0.7, color=colour, edgecolor=colour)
    usual = Counter(use.doing for use in uses).most_common(1)[0][0]
    named = [row for row, use in enumerate(uses) if len(uses) <= 16 or use.doing != usual]
    label_rows(ax, {row: name_of(uses[row].who, uses[row].doing) for row in named}, len(uses))
    ax.set_xlim(0, trace.duration * 1.02)
    ax.set_title(f"{trace.room}: who waits for the {what}, and who holds it", loc="left", fontsize=10)
    return ax


def wait_for(trace: Trace, ax=None):
    """The wait-for graph at the end of the run: an arrow from each blocked task to whom it waits for, with what lies
    between the two. A cycle is drawn in the colour of alarm; rounded: a person.
    """
    graph = Graph(trace.waits)
    columns = graph.columns()
    ax = axes(ax, height=0.7 + 0.7 * max(map(len, columns), default=1))
    ax.axis("off")
    ax.set(xlim=(-0.4, max(len(columns), 3) - 0.6), ylim=(0, 1))
    verdict = "a cycle" if graph.circle else "no cycle" if columns else "nobody is blocked"
    ax.set_title(f"{trace.room}: who waits for whom? {verdict}", loc="left", fontsize=10)
    boxes = {}
    for x, column in enumerate(columns):
        for row, node in enumerate(column):
            boxes[node] = box(ax, x, 1 - (row + 0.5) / len(column), graph, node, pale(colour_of(trace)))
    for (start, end), text in graph.edges.items():
        arrow(ax, boxes[start], boxes[end], text, ALARM if {start, end} <= set(graph.circle) else QUIET)
    return ax


def box(ax, x: float, y: float, graph: Graph, node, colour):
    if graph.is_person(node):
        look = dict(boxstyle="round,pad=0.5,rounding_size=0.9", facecolor="none", edgecolor=QUIET)
    else:
        look = dict(boxstyle="square,pad=0.4", facecolor=colour, edgecolor="none")
    return ax.text(x, y, graph.label(node), ha="center", va="center", fontsize=9, bbox=look)


def arrow(ax, start, end, text: str, colour: str) -> None:
    """From box to box, or in a loop over one box; the text beside its middle."""
    (x1, y1), (x2, y2) = start.get_position(), end.get_position()
    style = dict(color=colour, arrowstyle="-|>", linewidth=2.6 if colour == ALARM else 1.2, shrinkA=0, shrinkB=0)
    if start is end:
        bend, above = 1.4, 46
        tail, tip = (x1 - 0.12, y1 + 0.08), (x1 + 0.12, y1 + 0.08)
    else:
        bend = 0.25 if colour == ALARM else 0  # so that the way there and the way back are two
        above = (4 + 95 * bend) * (1 if x2 > x1 else -1)  # points
        tail, tip = (x1, y1), (x2, y2)
        style |= dict(patchA=start.get_bbox_patch(), patchB=end.get_bbox_patch())
    ax.annotate("", tip, tail, arrowprops=dict(connectionstyle=f"arc3,rad={-bend}", **style))
    words = dict(color=ink(colour), fontsize=8, ha="center", va="bottom" if above > 0 else "top", zorder=4)
    ax.annotate(text, ((x1 + x2) / 2, (y1 + y2) / 2), (0, above), textcoords="offset points", **words)


# ---------------------------------------------------------------- a running server


def vital_signs(room: str, samples: list) -> Figure:
    """A small panel for each sign that a dashboard has read, with its last value. A gap: it stood still.

    A figure of its own, since pyplot's are for one thread only.
    """
    figure = Figure(figsize=(7, 1.4))
    figure.subplots_adjust(left=0.04, right=0.99, bottom=0.28, top=0.85, wspace=0.25)
    titles = list(dict.fromkeys(title for sample in samples for title in sample.signs))
    times = [sample.time for sample in samples]
    for ax, title in zip(figure.subplots(1, len(titles), sharex=True, squeeze=False)[0], titles):
        values = [sample.signs.get(title, math.nan) for sample in samples]
        colour = ALARM if title in LOSSES else COLOURS.get(room, OTHER)
        axes(ax).plot(times, values, color=colour, drawstyle="steps-post")
        last = next((time, value) for time, value in zip(times[::-1], values[::-1]) if not math.isnan(value))
        ax.plot(*last, "o", color=colour, markersize=4)
        ax.set_title(f"{shown(last[1])} {title}", loc="left", fontsize=8, color=ink(colour))
        ax.set(xlim=(0, max(10, times[-1])), ylim=(0, 1.1 * max(1, np.nanmax(values))))
        ax.yaxis.set_major_locator(MaxNLocator(2, integer=True))
        ax.xaxis.set_major_locator(MaxNLocator(3, integer=True))
        ax.tick_params(labelsize=7)
        ax.set_xlabel("seconds", fontsize=7, labelpad=1)
    return figure


# ---------------------------------------------------------------- measurements


def parts(profiles: dict[str, dict[str, float]], axs=None):
    """Where the time for one delivery goes: a panel for each profile, on one scale. Returns the axes."""
    if axs is None:
        _, axs = plt.subplots(1, len(profiles), figsize=(7, 2.6), layout="constrained", sharex=True, sharey=True)
    names = list(dict.fromkeys(part for profile in profiles.values() for part in profile))
    for ax, (room, profile) in zip(np.atleast_1d(axs), profiles.items()):
        axes(ax).spines[["left", "bottom"]].set_visible(False)
        bars = ax.barh(names, [profile.get(name, 0) for name in names], color=hue(room))
        ax.bar_label(bars, [f" {profile.get(name, 0):.2f}" for name in names], fontsize=8)
        ax.set_title(f"{room}: {sum(profile.values()):.1f} µs", loc="left", fontsize=10, color=ink(hue(room)))
        ax.tick_params(length=0, labelbottom=False)
        ax.margins(x=0.35)
    np.atleast_1d(axs)[0].invert_yaxis()
    return axs


def times(ratios: dict[str, float], xlabel: str, ax=None):
    """A bar for each ratio, on a logarithmic scale that begins at the yardstick, 1."""
    ax = axes(ax, height=0.9 + 0.28 * len(ratios))
    names = sorted(ratios, key=ratios.get, reverse=True)
    bars = ax.barh(names, [ratios[name] - 1 for name in names], left=1, color=[hue(name) for name in names])
    ax.bar_label(bars, [f" {ratios[name]:.{1 if ratios[name] >= 10 else 2}f}× " for name in names], fontsize=8)
    ax.axvline(1, color=QUIET, linewidth=1)
    ax.set(xscale="log", xlabel=xlabel)
    ax.set_xlim(min(ratios.values()) / 2, max(ratios.values()) * 2)
    ax.minorticks_off()
    ax.set_xticks([], [])
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.invert_yaxis()
    return ax


def scaling(report, curve: str, axs=None):
    """How deliveries a second and p99 change along a curve of the benchmark ("clients", "in flight")."""
    from chatroom_lib.bench import CURVES, ON_CURVES

    if axs is None:
        _, axs = plt.subplots(1, 2, figsize=(7, 3), layout="constrained")
    titles = {"deliveries_per_second": "deliveries a second", "p99_ms": "p99, milliseconds"}
    for ax, (what, title) in zip(axs, titles.items()):
        points = {
            name: [
                (load.clients if curve == "clients" else load.in_flight, report.median(load, name, what))
                for load in CURVES[curve] if name in report.fit(load)
            ]
            for name in ON_CURVES
        }  # fmt: skip
        curves(points, curve, title, log=True, ax=ax)
    return axs


def hue(name: str) -> str:
    """A version's colour ("v2, no delay" is one); the quiet one for servers of other projects; or that of others."""
    from chatroom_lib.bench import ENTRANTS

    return COLOURS.get(name.partition(",")[0], QUIET if name in ENTRANTS else OTHER)
