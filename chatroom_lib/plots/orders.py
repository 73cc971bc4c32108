"""In what order people have heard the same messages."""

from itertools import combinations, cycle

from chatroom_lib.plots.canvas import Axes
from chatroom_lib.plots.style import ALARM, MUTED, as_is, axes, colour_of, readable_on_white
from chatroom_lib.trace import Trace

MARKERS = "os^Dv"


def orders(trace: Trace, *names: str, first: int = 40, ax: Axes | None = None) -> Axes:
    """A row for each of `names`: the first messages that all of them heard, from left to right in the order in which
    this one heard them, with a marker for each speaker. A line leads from each message to its place in the next row. In
    the alarm colour: lines that cross, since these two heard two messages the other way round.
    """
    ax = axes(ax, height=0.7 + 0.55 * len(names))
    rows = common_orders(trace, names, first)
    crossed = 0
    for row, (above, below) in enumerate(zip(rows, rows[1:])):
        places = {message: place for place, message in enumerate(below)}
        ends = [places[message] for message in above]
        pairs = crossings(ends)
        crossing = {place for pair in pairs for place in pair}
        crossed += len(pairs)
        for place, end in enumerate(ends):
            colour, width = (ALARM, 1.2) if place in crossing else (MUTED, 0.7)
            ax.plot([place, end], [-row, -row - 1], color=colour, linewidth=width, zorder=2 + (place in crossing))
    speakers = [event.who for event in trace.of("said")]
    for row, order in enumerate(rows):
        for who, marker in zip(sorted(set(speakers)), cycle(MARKERS)):
            places = [place for place, message in enumerate(order) if speakers[message] == who]
            ax.plot(places, [-row] * len(places), marker, color=colour_of(trace.room), markersize=4, zorder=4)
    ax.set_yticks([-row for row in range(len(names))], labels=[label_of(trace, name) for name in names])
    ax.set(xlim=(-0.7, max(1, len(rows[0])) - 0.3), ylim=(0.4 - len(names), 0.6), xticks=[])
    ax.tick_params(left=False)
    ax.spines[:].set_visible(False)
    title = f"{as_is(trace.room)}: {crossed} crossing{'s' * (crossed != 1)}"
    ax.set_title(title, loc="left", fontsize=10, color=readable_on_white(colour_of(trace.room)))
    return ax


def common_orders(trace: Trace, names: tuple[str, ...], first: int) -> list[list[int]]:
    """For each of these people: the messages that all of them heard, in this one's order, of those the `first` that the
    first of them heard."""
    orders = trace.first_hearings()
    missing = [name for name in names if not orders.get(name)]
    if len(names) < 2 or missing:
        who = f"not {', '.join(missing)}" if missing else "two or more"
        raise ValueError(f"orders() compares people who have heard something: {who}")
    common = set.intersection(*(set(orders[name]) for name in names))
    shown = set([message for message in orders[names[0]] if message in common][:first])
    return [[message for message in orders[name] if message in shown] for name in names]


def crossings(ends: list[int]) -> list[tuple[int, int]]:
    """Two in one row that are the other way round in the next, by their places in the first."""
    return [(one, other) for one, other in combinations(range(len(ends)), 2) if ends[one] > ends[other]]


def label_of(trace: Trace, name: str) -> str:
    visits = trace.visits()[name]
    return f"{as_is(name)}, {visits[0].server}" if trace.servers > 1 and visits else as_is(name)
