"""Figures of benchmark results."""

from collections.abc import Sequence

from chatroom_lib.bench.loads import CLIENTS, CURVES, IN_FLIGHT, ON_CURVES
from chatroom_lib.plots.canvas import Axes, all_of, subplots
from chatroom_lib.plots.lines import curves
from chatroom_lib.plots.style import ALARM, MUTED, axes, colour_of, readable_on_white

TITLES = {
    "clients": f"Ever more clients, {IN_FLIGHT} messages in flight",
    "in flight": f"Ever more messages in flight, {CLIENTS} clients",
}


def breakdown(profiles: dict[str, dict[str, float]], axs: Sequence[Axes] | None = None) -> Sequence[Axes]:
    """Where the time for one delivery goes, in microseconds: a panel for each profile, on one scale.

    Returns the array of axes, one for each profile.
    """
    if axs is None:
        _, axs = subplots(1, len(profiles), figsize=(7, 2.6), sharex=True, sharey=True)
    names = list(dict.fromkeys(part for profile in profiles.values() for part in profile))
    for ax, (room, profile) in zip(all_of(axs), profiles.items()):
        axes(ax).spines[["left", "bottom"]].set_visible(False)
        bars = ax.barh(names, [profile.get(name, 0) for name in names], color=colour_of(room))
        ax.bar_label(bars, [f" {profile.get(name, 0):.2f}" for name in names], fontsize=8)
        ax.set_title(
            f"{room}: {sum(profile.values()):.1f} µs", loc="left", fontsize=10, color=readable_on_white(colour_of(room))
        )
        ax.tick_params(length=0, labelbottom=False)
        ax.margins(x=0.35)
    all_of(axs)[0].invert_yaxis()
    return axs


def ratios(
    values: dict[str, float | None], xlabel: str, ax: Axes | None = None, spread: dict[str, list[float]] | None = None
) -> Axes:
    """A bar for each ratio to the baseline (server -> ratio), on a logarithmic scale on which bars begin at 1.

    What was not measured (None), or has no place on the scale (0), has no bar. `spread`: the ratio in each round; a
    thin line goes from the least to the greatest.
    """
    ax = axes(ax, height=0.9 + 0.28 * len(values))
    names = sorted(values, key=lambda name: values[name] or 0, reverse=True)
    lengths = [values[name] or 1 for name in names]
    bars = ax.barh(names, [length - 1 for length in lengths], left=1, color=[colour_of(name) for name in names])
    ax.bar_label(bars, [f" {times(values[name])} " for name in names], fontsize=8)
    for row, name in enumerate(names):
        if rounds := [ratio for ratio in (spread or {}).get(name, ()) if ratio]:
            ax.hlines(row + 0.25, min(rounds), max(rounds), color="black", linewidth=1)
    ax.axvline(1, color=MUTED, linewidth=1)
    ax.set(xscale="log", xlabel=xlabel)
    ax.set_xlim(min(lengths, default=1) / 2, max(lengths, default=1) * 2)
    ax.minorticks_off()
    ax.set_xticks([], [])
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.invert_yaxis()
    return ax


def times(ratio: float | None) -> str:
    return "not measured" if ratio is None else f"{ratio:.{1 if ratio >= 10 else 2}f}×"


def scaling(report, curve: str, axs: Sequence[Axes] | None = None) -> Sequence[Axes]:
    """How deliveries per second and p99 (ms) change along a curve of the benchmark ("clients", "in flight").

    Returns both axes.
    """
    if axs is None:
        _, axs = subplots(1, 2, figsize=(8, 3), gridspec_kw={"wspace": 0.1})
    titles = {"deliveries_per_second": "deliveries per second", "p99_ms": "p99, milliseconds"}
    axs[0].figure.suptitle(TITLES[curve], x=0.01, ha="left", fontsize=10)
    for ax, (what, title) in zip(axs, titles.items()):
        points = {}
        for name in ON_CURVES:
            loads = [load for load in CURVES[curve] if name in report.completed(load)]
            values = [(getattr(load, curve.replace(" ", "_")), report.median(load, name, what)) for load in loads]
            if line := [(x, y) for x, y in values if y]:  # the scale has no place for 0
                points[name] = line
        curves(points, curve, title, log=True, ax=ax)
    return axs


def waiting(found: dict, ax: Axes | None = None) -> Axes:
    """How long people wait, as a room grows: p99 (ms) over people, a line for each Capacity, and its limit."""
    ax = axes(ax)
    curves({name: capacity.points for name, capacity in found.items()}, "people", "p99, milliseconds", log=True, ax=ax)
    limit = max(capacity.limit_ms for capacity in found.values())
    ax.axhline(limit, color=ALARM, linewidth=1, linestyle=":")
    ax.annotate(f"{limit:g} ms", (0, limit), xycoords=("axes fraction", "data"), color=ALARM, va="bottom", fontsize=8)
    return ax
