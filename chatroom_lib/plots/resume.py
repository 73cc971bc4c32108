"""How far people have heard a history, over time."""

from collections.abc import Iterable, Iterator

from chatroom_lib.plots.canvas import Axes, whole_numbers
from chatroom_lib.plots.style import ALARM, MUTED, as_is, axes, colour_of, end_label, readable_on_white
from chatroom_lib.trace import Event, Trace, numbers_gone

MARKERS = "os^D"


def resume(trace: Trace, *names: str, between: tuple[float, float] | None = None, ax: Axes | None = None) -> Axes:
    """The numbers of the messages over time. A staircase: the newest that anybody had heard by then. Dots: what each of
    `names` hears, a line for each of their connections. `between`: the seconds that are shown.

    In the alarm colour: a number that somebody hears twice or after a higher one, and as a ring, when the others heard
    it, one that they never heard and were not told to be gone. A dashed line: numbers that they were told to be gone.
    """
    ax = axes(ax)
    start, end = between or (0.0, trace.duration)
    front = list(newest(trace))
    steps = [(0.0, 0), *front, (trace.duration, front[-1][1] if front else 0)]
    ax.step(*zip(*steps), where="post", color=MUTED, linewidth=1, zorder=1)
    first_time = {event.seq: event.time for event in reversed(numbered(trace))}
    colour = colour_of(trace.room)
    for name, marker in zip(names, MARKERS):
        heard, told = numbered(trace, name), trace.of("told a gap", who=name)
        for visit in trace.visits()[name]:
            points = [(event.time, event.seq) for event in heard if visit.joined <= event.time <= visit.ended]
            if points:
                ax.plot(*zip(*points), marker + "-", color=colour, markersize=3, linewidth=0.8, zorder=2)
        if len(names) > 1 and heard:
            end_label(ax, heard[-1].time, heard[-1].seq, name, colour, va="bottom")
        for event in told:
            if gone := numbers_gone(event):
                ax.plot([event.time] * 2, [gone[0], gone[-1]], "--", color=colour, linewidth=1, zorder=2)
                where = dict(xytext=(5, 0), textcoords="offset points", va="center", fontsize=9)
                ax.annotate(
                    f"{event.message} are gone",
                    (event.time, (gone[0] + gone[-1]) / 2),
                    color=readable_on_white(MUTED),
                    **where,
                )
        if back := [(event.time, event.seq) for event in steps_back(heard)]:
            ax.plot(*zip(*back), marker, color=ALARM, markersize=7, markeredgecolor="white", zorder=4)
        if holes := [(first_time[seq], seq) for seq in never_heard(first_time, heard, told)]:
            ax.plot(*zip(*holes), marker, color=ALARM, fillstyle="none", markersize=6, zorder=4)
    shown = [event.seq for event in numbered(trace) if start <= event.time <= end] or [0, 1]
    ax.set(xlim=(start, end), ylim=(min(shown) - 1, max(shown) + 1), xlabel="seconds", ylabel="message number")
    whole_numbers(ax)
    ax.set_title(as_is(trace.room), loc="left", fontsize=10, color=readable_on_white(colour))
    return ax


def numbered(trace: Trace, name: str | None = None) -> list[Event]:
    return [event for event in trace.of("heard", who=name) if event.seq is not None]


def newest(trace: Trace) -> Iterator[tuple[float, int]]:
    """(time, number) whenever somebody hears one that is higher than all before."""
    last = 0
    for event in numbered(trace):
        if event.seq > last:
            last = event.seq
            yield event.time, last


def steps_back(heard: list[Event]) -> Iterator[Event]:
    last = 0
    for event in heard:
        if event.seq <= last:
            yield event
        last = max(last, event.seq)


def never_heard(given: Iterable[int], heard: list[Event], told: list[Event]) -> list[int]:
    """Those of the numbers `given` to somebody, between the lowest and the highest heard or told to be gone."""
    numbers, gaps = {event.seq for event in heard}, [gone for gone in map(numbers_gone, told) if gone]
    ends = [*numbers, *(end for gone in gaps for end in (gone[0], gone[-1]))]
    lowest, highest = min(ends, default=1), max(ends, default=0)
    between = [seq for seq in given if lowest <= seq < highest]
    return [seq for seq in between if seq not in numbers and not any(seq in gone for gone in gaps)]
