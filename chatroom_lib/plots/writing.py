"""When a message is said, when it is heard, and when it is committed to the history."""

from chatroom_lib.plots.canvas import Axes
from chatroom_lib.plots.style import ALARM, MUTED, as_is, axes, label_rows, readable_on_white
from chatroom_lib.trace import Trace

LEVELS = {"said": 0.27, "heard": 0.0, "committed": -0.27}  # event -> its height in a row


def writing(traces: dict[str, Trace], before: float = 0.1, after: float = 0.05, ax: Axes | None = None) -> Axes:
    """A row for each run, around its first kill: a line for each message, from when it was said to when somebody first
    heard it and when it was committed, in the order of time. `before`, `after`: seconds shown of both sides.

    A line ends where the server was killed first. In the alarm colour: heard, and not found in the history afterwards.
    """
    ax = axes(ax, height=1.2 + 0.9 * len(traces))
    for row, trace in enumerate(traces.values()):
        kill = trace.of("killed")[0].time
        lost = set(trace.lost())
        for height in LEVELS.values():
            ax.axhline(-row + height, color=MUTED, linewidth=0.4, zorder=0)
        for message, moments in moments_of(trace, kill).items():
            points = sorted((time - kill, -row + LEVELS[what]) for what, time in moments.items())
            colour = ALARM if message in lost else MUTED
            times, heights = zip(*((1000 * time, height) for time, height in points))
            ax.plot(times, heights, "o-", color=colour, markersize=3, linewidth=0.8, zorder=3 if message in lost else 2)
        note = f"{len(lost)} heard and lost" if lost else "none lost"
        colour = ALARM if lost else readable_on_white(MUTED)
        blank = dict(facecolor="white", edgecolor="none", pad=1.5)
        ax.annotate(note, (500 * after, -row), color=colour, va="center", ha="center", fontsize=9, bbox=blank)
    ax.axvline(0, color=ALARM, linewidth=1.2)
    label_rows(ax, dict(enumerate(map(as_is, traces))), len(traces))
    ax.set(xlim=(-1000 * before, 1000 * after), xlabel="milliseconds before and after the server's death")
    for what, height in LEVELS.items():
        ax.annotate(what, (1.0, height), xycoords=("axes fraction", "data"), xytext=(4, 0), textcoords="offset points",
                    va="center", fontsize=8, color=readable_on_white(MUTED))  # fmt: skip
    return ax


def moments_of(trace: Trace, kill: float) -> dict[str, dict[str, float]]:
    """Message -> what happened to it before the kill, and when."""
    times = {
        "said": {event.message: event.time for event in trace.of("said")},
        "heard": trace.first_heard(kill),
        "committed": {event.message: event.time for event in trace.of("written")},
    }
    return {
        message: {what: when[message] for what, when in times.items() if when.get(message, kill) < kill}
        for message, time in times["said"].items()
        if time < kill
    }
