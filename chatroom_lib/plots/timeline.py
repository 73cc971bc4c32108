"""Figures with a row for each client, over time."""

from itertools import zip_longest
from statistics import fmean, median

from chatroom_lib.clients.scenario import NEVER, Client
from chatroom_lib.plots.canvas import Axes
from chatroom_lib.plots.style import (
    ALARM,
    MUTED,
    as_is,
    axes,
    colour_of,
    end_label,
    label_rows,
    pale,
    readable_on_white,
)
from chatroom_lib.trace import Trace
from chatroom_lib.trace.space_time import MessagePath, SpaceTimeDiagram


def rows(trace: Trace, ax, title: str):
    """`ax` with a row for each client, the first on top, and a thin line while it is connected."""
    ax = axes(ax, height=0.9 + 0.4 * len(trace.clients))
    heights = {name: -index for index, name in enumerate(trace.names)}
    label_rows(ax, dict(enumerate(map(row_label, trace.clients))), len(heights))
    ax.set_xlim(0, trace.duration * 1.02)
    ax.set_title(f"{trace.room}: {title}", loc="left", fontsize=10)
    for name, visits in trace.visits().items():
        for visit in visits:
            ax.hlines(heights[name], visit.joined, min(visit.ended, trace.duration), MUTED, linewidth=1)
    show_kills(trace, ax)
    mark(ax, heights, [(event.who, event.time) for event in trace.of("vanished")], "x")
    return ax, heights


def show_kills(trace: Trace, ax) -> None:
    """A band from each kill of the server to its new start."""
    starts = [event.time for event in trace.of("started")]
    for kill, start in zip_longest(trace.of("killed"), starts, fillvalue=None):
        ax.axvspan(kill.time, trace.duration if start is None else start, color=ALARM, alpha=0.12, linewidth=0)
        ax.axvline(kill.time, color=ALARM, linewidth=1)
        label = dict(xytext=(3, 0), textcoords="offset points", color=ALARM, fontsize=8, va="top")
        ax.annotate("killed", (kill.time, 0.5), **label)


def row_label(client: Client) -> str:
    if client.prompt:
        return client.name
    return f"{client.name}, who\n{'does not read' if client.pause == NEVER else 'reads slowly'}"


def mark(ax, heights: dict[str, int], points: list[tuple[str, float]], marker: str) -> None:
    """A marker for each failure, in the row of the client that it happens to. `points`: (client, x)."""
    where = [x for _, x in points], [heights[name] for name, _ in points]
    ax.plot(*where, marker, color=ALARM, markersize=8, markerfacecolor="none", markeredgewidth=2, zorder=5)


def heard(trace: Trace, ax: Axes | None = None) -> Axes:
    """Who heard what when: a dot for each message heard, a tick above the line for each message said.

    Messages heard at almost the same time share a dot, which is the larger the more they are; a number says how many
    where they come as a burst. A thin line: connected. A cross: the connection is reset.
    """
    ax, heights = rows(trace, ax, "who heard what when")
    said, colour = trace.of("said"), colour_of(trace.room)
    ax.plot([e.time for e in said], [heights[e.who] + 0.28 for e in said], "|", color=MUTED, markersize=4)
    for name, height in heights.items():
        dots = gathered([event.time for event in trace.of("heard", who=name)], trace.duration)
        usual = median(count for _, count in dots) if dots else 1
        ax.scatter(
            [time for time, _ in dots], [height] * len(dots), [12 + 3 * count for _, count in dots], color=colour
        )
        for time, count in dots:
            if count >= 5 and count >= 2 * usual:
                label = dict(xytext=(0, -6), textcoords="offset points", ha="center", va="top", fontsize=8)
                ax.annotate(f"×{count}", (time, height), color=readable_on_white(colour), **label)
    return ax


def gathered(times: list[float], duration: float) -> list[tuple[float, int]]:
    """(mean time, number) of those of the ascending `times` that a figure could not show apart: within 1 % of it."""
    groups = []
    for time in times:
        if groups and time - groups[-1][0] < duration / 100:
            groups[-1].append(time)
        else:
            groups.append([time])
    return [(fmean(group), len(group)) for group in groups]


def pool(trace: Trace, ax: Axes | None = None) -> Axes:
    """Who is in the room's pool: a thick bar. A thin line: connected. A circle: evicted. A cross: reset."""
    ax, heights = rows(trace, ax, "who is in the pool")
    for name, start, stop in trace.memberships():
        ax.barh(heights[name], stop - start, left=start, height=0.45, color=pale(colour_of(trace.room)), zorder=2)
    mark(ax, heights, list(trace.evicted().items()), "o")
    return ax


def passed(traces: dict[str, Trace], who: str, ax: Axes | None = None) -> Axes:
    """What happened to the messages of `who`, a row for each run: a dot if broadcast, a cross if refused."""
    ax = axes(ax, height=0.9 + 0.3 * len(traces))
    for row, trace in enumerate(traces.values()):
        refused = {event.message for event in trace.of("refused", who=who)}
        times = {event.message: event.time for event in trace.of("said", who=who)}
        dots = [time for message, time in times.items() if message not in refused]
        ax.plot([times[message] for message in refused], [-row] * len(refused), "x", color=ALARM, markersize=5)
        ax.plot(dots, [-row] * len(dots), "o", color=colour_of(trace.room), markersize=5)
    label_rows(ax, dict(enumerate(traces)), len(traces))
    ax.set_title(as_is(f"What happens to {who}'s messages"), loc="left", fontsize=10)
    return ax


def space_time(trace: Trace, ax: Axes | None = None) -> Axes:
    """The path of every message: a line for each client and one, in the middle, for the room; slanted lines from the
    sender to the room, and from the room to each receiver. Time runs to the right but not to scale: each instant at
    which something happens has a column of its own. For up to 6 clients and 20 messages.

    A thick bar: in the pool. A dotted line: sent, never heard. A stub that ends in a small cross: the room read this
    message while this client was in its pool, and never began to send it. In the alarm colour: overtaken by a message
    that the room read later. Grey: refused. A large cross: the connection is reset. A circle: evicted. The line of the
    room ends where its server is killed, and begins anew where it starts again. Where more than half of the run passes
    without an event, a broken line across says how long.
    """
    diagram = SpaceTimeDiagram(trace)
    above = (len(trace.names) + 1) // 2
    heights = {name: above - index - (index >= above) for index, name in enumerate(trace.names)}
    ax = axes(ax, height=1.4 + 0.7 * (len(heights) + 1))
    draw_clients(ax, trace, diagram, heights)
    draw_messages(ax, trace, diagram, heights)
    draw_failures(ax, trace, diagram, heights)
    ax.set_yticks([0, *heights.values()], ["the room", *(as_is(row_label(client)) for client in trace.clients)])
    ax.tick_params(axis="y", length=0)
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.set(xticks=[], xlabel="time, with a column for each event", xlim=(-1, len(diagram.instants) + 1))
    ax.set_ylim(min(heights.values(), default=0) - 0.9, above + 0.9)
    ax.set_title(f"{trace.room}: the path of every message", loc="left", fontsize=10)
    return ax


def draw_clients(ax, trace: Trace, diagram: SpaceTimeDiagram, heights: dict[str, int]) -> None:
    """The lines on which all else happens, and how long nothing did."""
    end, gone, evicted = len(diagram.instants), trace.gone(), trace.evicted()
    for name, start, stop in trace.memberships():
        span = diagram.column(start), diagram.column(stop) if stop < trace.duration else end
        ax.hlines(heights[name], *span, pale(colour_of(trace.room)), linewidth=7, zorder=1)
    for name, visits in trace.visits().items():
        for visit in visits:
            until = diagram.column(visit.ended) if visit.how else end
            ax.hlines(heights[name], diagram.column(visit.joined), until, MUTED, linewidth=1)
        if visits and name in evicted and name not in gone:
            end_label(ax, end, heights[name], "still connected", ALARM)
    for start, kill in diagram.running:
        ax.hlines(0, start, end if kill is None else kill, MUTED, linewidth=3)
        if kill is not None:
            ax.plot(kill, 0, "x", color=ALARM, markersize=8, markeredgewidth=2, zorder=5)
            ax.annotate("killed", (kill, 0), xytext=(7, 0), textcoords="offset points", color=ALARM, va="center")
    if diagram.pause:
        column, seconds = diagram.pause
        ax.axvline(column - 0.5, color=MUTED, linewidth=1, linestyle=(0, (5, 4)), ymax=0.92)
        top = dict(xycoords=("data", "axes fraction"), ha="center", va="bottom", color=readable_on_white(MUTED))
        ax.annotate(f"{seconds:.3g} s later", (column - 0.5, 0.94), fontsize=9, **top)


def draw_messages(ax, trace: Trace, diagram: SpaceTimeDiagram, heights: dict[str, int]) -> None:
    """Slanted lines, the number of each message where it is said, and a stub for what was never sent."""
    colour = colour_of(trace.room)
    for path in diagram.to_room:
        slant(ax, path, (heights[path.who], 0), MUTED if path.message in diagram.refused else colour)
    for path in diagram.from_room:
        slant(ax, path, (0, heights[path.who]), ALARM if path in diagram.overtaken else colour)
    for event in trace.of("said", "said again"):
        again = "\nagain" if event.kind == "said again" else ""
        outside(ax, diagram.column(event.time), heights[event.who], event.message.partition(" ")[2] + again, 6)
    unsent: dict[tuple[int, float], list[str]] = {}
    for path in diagram.withheld:
        stub = 0.3 if heights[path.who] > 0 else -0.3
        ax.plot([path.start] * 2, [0, stub], "-x", color=ALARM, linewidth=1, markersize=5, markevery=[1])
        unsent.setdefault((path.start, stub), []).append(path.message.partition(" ")[2])
    for (column, stub), numbers in unsent.items():
        beside = dict(xytext=(7, 0), textcoords="offset points", va="center", fontsize=9)
        ax.annotate(f"{', '.join(numbers)} never sent", (column, stub), color=ALARM, **beside)


def draw_failures(ax, trace: Trace, diagram: SpaceTimeDiagram, heights: dict[str, int]) -> None:
    """A marker for each death and each eviction, and what it is, and when."""
    deaths = [(event.who, event.time) for event in trace.of("vanished")]
    for marker, word, times in (("x", "reset", deaths), ("o", "evicted", trace.evicted().items())):
        mark(ax, heights, [(name, diagram.column(time)) for name, time in times], marker)
        for name, time in times:
            outside(ax, diagram.column(time), heights[name], f"{word}, {time:.1f} s", 12, color=ALARM)


def outside(ax, column: int, height: float, text: str, points: float, **look) -> None:
    """A text beside a client's line, so many points from it, on the side where the room is not."""
    side = dict(xytext=(0, points), va="bottom") if height > 0 else dict(xytext=(0, -points), va="top")
    blank = dict(facecolor="white", edgecolor="none", pad=0.5)
    ax.annotate(text, (column, height), textcoords="offset points", fontsize=9, ha="center", bbox=blank, **side, **look)


def slant(ax, path: MessagePath, heights: tuple[float, float], colour: str) -> None:
    """From the sender's line to the receiver's; only half of it if the message never arrives."""
    start, end = heights
    if path.stop is None:
        ax.plot((path.start, path.start + 1), (start, (start + end) / 2), ":", color=colour, linewidth=1.6, zorder=3)
    else:
        ax.plot((path.start, path.stop), (start, end), "-o", color=colour, linewidth=1.2, markersize=2.5, markevery=[1])
