"""Figures of benchmark results."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from chatroom_lib.bench.loads import CURVES, ON_CURVES
from chatroom_lib.plots.lines import curves
from chatroom_lib.plots.style import MUTED, axes, colour_of, readable_on_white


def breakdown(profiles: dict[str, dict[str, float]], axs: np.ndarray | None = None) -> np.ndarray:
    """Where the time for one delivery goes, in microseconds: a panel for each profile, on one scale.

    Returns the array of axes, one for each profile.
    """
    if axs is None:
        _, axs = plt.subplots(1, len(profiles), figsize=(7, 2.6), layout="constrained", sharex=True, sharey=True)
    names = list(dict.fromkeys(part for profile in profiles.values() for part in profile))
    for ax, (room, profile) in zip(np.atleast_1d(axs), profiles.items()):
        axes(ax).spines[["left", "bottom"]].set_visible(False)
        bars = ax.barh(names, [profile.get(name, 0) for name in names], color=colour_of(room))
        ax.bar_label(bars, [f" {profile.get(name, 0):.2f}" for name in names], fontsize=8)
        ax.set_title(
            f"{room}: {sum(profile.values()):.1f} µs", loc="left", fontsize=10, color=readable_on_white(colour_of(room))
        )
        ax.tick_params(length=0, labelbottom=False)
        ax.margins(x=0.35)
    np.atleast_1d(axs)[0].invert_yaxis()
    return axs


def ratios(values: dict[str, float], xlabel: str, ax: Axes | None = None) -> Axes:
    """A bar for each ratio to the baseline (server -> ratio), on a logarithmic scale on which bars begin at 1."""
    ax = axes(ax, height=0.9 + 0.28 * len(values))
    names = sorted(values, key=values.get, reverse=True)
    bars = ax.barh(names, [values[name] - 1 for name in names], left=1, color=[colour_of(name) for name in names])
    ax.bar_label(bars, [f" {values[name]:.{1 if values[name] >= 10 else 2}f}× " for name in names], fontsize=8)
    ax.axvline(1, color=MUTED, linewidth=1)
    ax.set(xscale="log", xlabel=xlabel)
    ax.set_xlim(min(values.values()) / 2, max(values.values()) * 2)
    ax.minorticks_off()
    ax.set_xticks([], [])
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.invert_yaxis()
    return ax


def scaling(report, curve: str, axs: np.ndarray | None = None) -> np.ndarray:
    """How deliveries per second and p99 (ms) change along a curve of the benchmark ("clients", "in flight").

    Returns both axes.
    """
    if axs is None:
        _, axs = plt.subplots(1, 2, figsize=(7, 3), layout="constrained")
    titles = {"deliveries_per_second": "deliveries per second", "p99_ms": "p99, milliseconds"}
    for ax, (what, title) in zip(axs, titles.items()):
        points = {
            name: [
                (load.clients if curve == "clients" else load.in_flight, report.median(load, name, what))
                for load in CURVES[curve] if name in report.completed(load)
            ]
            for name in ON_CURVES
        }  # fmt: skip
        curves(points, curve, title, log=True, ax=ax)
    return axs
