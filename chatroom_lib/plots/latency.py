"""How long messages take from saying to hearing, and how many never arrive."""

import math
from typing import NamedTuple

from chatroom_lib.plots.canvas import Axes, plain_numbers
from chatroom_lib.plots.style import as_is, axes, colour_of, readable_on_white
from chatroom_lib.trace import Trace, percentile


class Latencies(NamedTuple):
    """What a curve shows of one run: `delays` in ms, ascending, of `said` messages that should have been heard."""

    room: str
    delays: list[float]
    said: int

    @property
    def median(self) -> float:
        return percentile(self.delays, 50) if self.delays else math.inf

    def point(self, share: float) -> tuple[float, float]:
        """(ms, %) where the curve reaches a share of all messages, or ends before that; (0, 0) if all is lost."""
        rank = min(math.ceil(share / 100 * self.said), len(self.delays))
        return (self.delays[rank - 1], 100 * rank / self.said) if rank else (0, 0)

    @property
    def label(self) -> str:
        lost = self.said - len(self.delays)
        never = f"\n{lost:,} of {self.said:,} never heard" if lost else ""
        if not self.delays:
            return self.room + never
        p50, p99 = (written(percentile(self.delays, percent)) for percent in (50, 99))
        return f"{self.room}\np50 {p50}, p99 {p99}{never}"


def latency(*traces: Trace, who: str | None = None, ax: Axes | None = None) -> Axes:
    """The share of messages that were heard within a given time, a line for each run; by `who` alone if given.

    A message that is never heard counts, too: if one in ten is lost, the line ends at 90 %. The labels have the median
    and the 99th percentile of what was heard.
    """
    ax = axes(ax)
    runs = sorted((latencies(trace, who) for trace in traces), key=lambda run: run.median)
    for run in reversed(runs):  # so that of two equal curves the shorter one is on top
        shares = [100 * (rank + 1) / run.said for rank in range(len(run.delays))]
        ax.step(run.delays, shares, where="post", color=colour_of(run.room), linewidth=2)
        ax.plot(run.delays[-1:], shares[-1:], "o", color=colour_of(run.room), markersize=4)
    label(ax, runs)
    heard = f"% of messages heard{f' by {who}' if who else ''}"
    ax.set(xlabel="milliseconds from saying to hearing", ylabel=as_is(heard), ylim=(0, 103))
    return ax


def latencies(trace: Trace, who: str | None) -> Latencies:
    """Of each message the first hearing, and how many there should have been."""
    first = {}
    for event, delay in trace.latencies():
        if who in (None, event.who):
            first.setdefault((event.who, event.message), 1000 * delay)
    lost = sum(len(missed) for name, missed in trace.missed().items() if who in (None, name))
    return Latencies(trace.room, sorted(first.values()), len(first) + lost)


def label(ax, runs: list[Latencies]) -> None:
    """Beside the curves, in their colours: the quickest to the left, above its curve, the others to the right, below
    theirs. The axis leaves room for that."""
    delays = [delay for run in runs for delay in run.delays] or [1.0, 10.0]
    low, high = math.log10(max(min(delays), 0.01)), math.log10(max(delays))  # a delay of 0 has no logarithm
    room = 0.5 * max(high - low, 1)
    logarithmic(ax, 10 ** (low - (room if len(runs) > 1 else 0.1 * room)), 10 ** (high + room))
    for index, run in enumerate(runs):
        quickest = index == 0 < len(runs) - 1
        x, y = run.point(60 if quickest else 42 if index < 2 else 18)
        above = quickest or y < 20
        side = dict(ha="right", xytext=(-6, 2)) if quickest else dict(ha="left", xytext=(8, 2 if above else 0))
        side |= dict(va="bottom" if above else "top", color=readable_on_white(colour_of(run.room)))
        ax.annotate(as_is(run.label), (x or 10**low, y), textcoords="offset points", **side)


def logarithmic(ax, low: float, high: float) -> None:
    """The x axis, with plain numbers: 0.1, 1, 10, 1,000."""
    ax.set(xscale="log", xlim=(low, high))
    plain_numbers(ax, "x")


def written(ms: float) -> str:
    """A time with two digits, in the unit that reads best."""
    if ms >= 1000:
        return f"{ms / 1000:.2g} s" if ms < 100_000 else f"{ms / 1000:.0f} s"
    return f"{ms:.2g} ms" if ms < 100 else f"{ms:.0f} ms"
