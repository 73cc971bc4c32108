"""How many clients try to come back that have lost their server, over time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from chatroom_lib.plots.canvas import Axes, all_of, plain_numbers, subplots
from chatroom_lib.plots.style import MUTED, OTHER, as_is, axes, colour_of, readable_on_white

if TYPE_CHECKING:  # a figure loads no client
    from chatroom_lib.clients.storm import Storm

BIN = 0.1  # seconds


def storm(*storms: "Storm", ax: Axes | Sequence[Axes] | None = None) -> Sequence[Axes]:
    """The attempts to connect that begin in each 100 ms since the loss of the server, a panel for each Storm. Filled,
    in the version's colour: those that succeeded; outlined: all. The scale is logarithmic, and the same for all.

    `ax`: Axes for one Storm, or an array of them. Returns the array, one for each Storm.
    """
    if ax is None:
        size = (7, 0.6 + 1.3 * len(storms))
        _, ax = subplots(len(storms), 1, figsize=size, sharex=True, sharey=True)
    panels = all_of(ax)
    for panel, each in zip(panels, storms, strict=True):
        draw(axes(panel), each)
    duration = max((BIN * len(each.bins(BIN)) for each in storms), default=1)
    most = max((began for each in storms for began, _ in each.bins(BIN)), default=1)
    for panel in panels:
        panel.set(xlim=(0, duration), yscale="log", ylim=(0.7, 2 * most))
        panel.set_yticks([10**power for power in range(5) if 10**power <= 2 * most])
        plain_numbers(panel, "y")
    panels[-1].set_xlabel("seconds since the loss")
    panels[0].set_ylabel("attempts in 100 ms")
    return panels


def draw(ax: Axes, result: "Storm") -> None:
    bins = result.bins(BIN)
    edges = [BIN * place for place in range(len(bins) + 1)]
    colour = colour_of(result.room) if result.room else OTHER
    ax.stairs([succeeded for _, succeeded in bins], edges, baseline=0.1, fill=True, color=colour)
    ax.stairs([began for began, _ in bins], edges, baseline=0.1, color=MUTED, linewidth=0.8)
    ax.set_title(as_is(outcome(result)), loc="left", fontsize=10, color=readable_on_white(colour))


def outcome(result: "Storm") -> str:
    """ "v7, at once: 1,951 of 2,000 not back, 8.1 attempts each"."""
    who = ", ".join(filter(None, [result.room, result.wait]))
    all_back = result.back_within(100)
    if result.not_back or all_back is None:
        end = f"{result.not_back:,} of {result.lost:,} not back"
    else:
        end = f"all {result.lost:,} back after {all_back:.1f} s"
    return f"{who}: {end}, {result.attempts_per_client:.1f} attempts each"
