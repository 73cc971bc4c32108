"""Figures with a row for each client, over time."""

from matplotlib.axes import Axes

from chatroom_lib.clients.scenario import NEVER, Client
from chatroom_lib.plots.style import ALARM, MUTED, axes, colour_of, label_rows, pale
from chatroom_lib.trace import Trace
from chatroom_lib.trace.space_time import MessagePath, SpaceTimeDiagram


def rows(trace: Trace, ax, title: str):
    """`ax` with a row for each client, the first on top, and a thin line for as long as it was connected."""
    ax = axes(ax, height=0.9 + 0.4 * len(trace.clients))
    places = {name: -index for index, name in enumerate(trace.names)}
    label_rows(ax, dict(enumerate(map(row_label, trace.clients))), len(places))
    ax.set_xlim(0, trace.duration * 1.02)
    ax.set_title(f"{trace.room}: {title}", loc="left", fontsize=10)
    gone = trace.gone()
    for event in trace.of("joined"):
        ax.hlines(places[event.who], event.time, gone.get(event.who, trace.duration), MUTED, linewidth=1)
    mark(ax, places, [(event.who, event.time) for event in trace.of("vanished")], "x")
    return ax, places


def row_label(client: Client) -> str:
    if client.prompt:
        return client.name
    return f"{client.name}, who\n{'does not read' if client.pause == NEVER else 'reads slowly'}"


def mark(ax, places: dict[str, int], moments: list[tuple[str, float]], marker: str) -> None:
    """A sign for something bad, in the rows of those it happens to."""
    where = [time for _, time in moments], [places[name] for name, _ in moments]
    ax.plot(*where, marker, color=ALARM, markersize=8, markerfacecolor="none", markeredgewidth=2, zorder=5)


def heard(trace: Trace, ax: Axes | None = None) -> Axes:
    """Who heard what when: a dot for each message heard, a tick above the line for each message said.

    The thin line: connected. A cross: the connection is reset.
    """
    ax, places = rows(trace, ax, "who heard what when")
    said, dots = trace.of("said"), trace.of("heard")
    ax.plot([e.time for e in said], [places[e.who] + 0.28 for e in said], "|", color=MUTED, markersize=4)
    ax.plot([e.time for e in dots], [places[e.who] for e in dots], "o", color=colour_of(trace.room), markersize=3.5)
    return ax


def pool(trace: Trace, ax: Axes | None = None) -> Axes:
    """Who is in the room's pool: the thick bar. The thin line: connected. A circle: put out. A cross: reset."""
    ax, places = rows(trace, ax, "who is in the pool")
    for name, start, stop in trace.memberships():
        ax.barh(places[name], stop - start, left=start, height=0.45, color=pale(colour_of(trace.room)), zorder=2)
    mark(ax, places, list(trace.evicted().items()), "o")
    return ax


def passed(traces: dict[str, Trace], who: str, ax: Axes | None = None) -> Axes:
    """What became of what `who` said, a row for each run: a dot for what was passed on, a cross for what was not."""
    ax = axes(ax, height=0.9 + 0.3 * len(traces))
    for row, trace in enumerate(traces.values()):
        refused = {event.message for event in trace.of("refused", who=who)}
        times = {event.message: event.time for event in trace.of("said", who=who)}
        dots = [time for message, time in times.items() if message not in refused]
        ax.plot([times[message] for message in refused], [-row] * len(refused), "x", color=ALARM, markersize=5)
        ax.plot(dots, [-row] * len(dots), "o", color=colour_of(trace.room), markersize=5)
    label_rows(ax, dict(enumerate(traces)), len(traces))
    ax.set_title(f"What becomes of what {who} says", loc="left", fontsize=10)
    return ax


def space_time(trace: Trace, ax: Axes | None = None) -> Axes:
    """Every message on its way: a line for each client and one, in the middle, for the room; slanted lines from who
    says it to the room, and from there to who hears it. Time runs to the right, and not to scale: each moment at which
    something happens has a place of its own. For up to 6 clients and 20 messages.

    The thick bar: in the pool. A stub that ends in a cross: the room has read this message while this client was in its
    pool, and has never begun to send it. A broken line: sent, and never heard. In the colour of alarm: overtaken by a
    message that the room read later. Grey: refused. A large cross: the connection is reset. A circle: put out.
    """
    story = SpaceTimeDiagram(trace)
    above = (len(trace.names) + 1) // 2
    heights = {name: above - index - (index >= above) for index, name in enumerate(trace.names)}
    ax = axes(ax, height=1.2 + 0.55 * (len(heights) + 1))
    colour, end = colour_of(trace.room), len(story.moments)
    for name, start, stop in trace.memberships():
        span = story.place(start), story.place(stop) if stop < trace.duration else end
        ax.hlines(heights[name], *span, pale(colour), linewidth=7, zorder=1)
    gone = trace.gone()
    for name, time in trace.first("joined").items():
        until = story.place(gone[name]) if name in gone else end
        ax.hlines(heights[name], story.place(time), until, MUTED, linewidth=1)
    ax.hlines(0, 0, end, MUTED, linewidth=3)
    for way in story.spoken:
        slant(ax, way, (heights[way.who], 0), MUTED if way.message in story.refused else colour)
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


def slant(ax, way: MessagePath, heights: tuple[float, float], colour: str) -> None:
    """From the line of the one who sends to that of the one who receives; if it never arrives, half of the way."""
    start, end = heights
    if way.stop is None:
        ax.plot((way.start, way.start + 1), (start, (start + end) / 2), ":", color=colour, linewidth=0.9, zorder=3)
    else:
        ax.plot((way.start, way.stop), (start, end), "-o", color=colour, linewidth=0.9, markersize=2.5, markevery=[1])
