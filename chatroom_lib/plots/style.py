"""What all figures share: one colour for each version and server, axes, and labels in the line's own colour."""

import math

from chatroom_lib.bench.targets import TARGETS
from chatroom_lib.plots.canvas import Axes, subplots

COLOURS = {
    "v1": "#E08214",
    "v1.1": "#A6490A",
    "v2": "#4393C3",
    "v2-rw": "#08519C",
    "v3": "#5AAE61",
    "v3.1": "#1B7837",
    "v3.2": "#00441B",
    "v4": "#5020F0",
    "v5": "#00A0A0",
    "v6": "#B39B00",
    "v7": "#D05CC0",
    "v8": "#F07070",
    "v9": "#7DAF00",
    "v9.1": "#36454F",
}
SERVERS = {  # of other projects; those that are not here are MUTED
    "uWebSockets": "#00868B",
    "picows": "#8A7A00",
    "gorilla (Go)": "#9C6B4E",
}
OTHER = "#762A83"  # a reader's own room
MUTED = "#949494"  # context
ALARM = "#A3004F"  # failures: lost, evicted, blocked, overtaken


def colour_of(name: str) -> str:
    """A version's colour, a server's own or `MUTED` for other projects' servers, `OTHER` for a reader's own room."""
    if target := TARGETS.get(name):
        return COLOURS.get(target.room) or SERVERS.get(name, MUTED)
    return COLOURS.get(name, OTHER)


def pale(colour: str) -> list[float]:
    """The colour mixed with an equal amount of white: red, green, blue, each from 0 to 1."""
    return [(1 + part) / 2 for part in red_green_blue(colour)]


def red_green_blue(colour: str) -> list[float]:
    """Each from 0 to 1, of "#rrggbb"."""
    return [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]


def readable_on_white(colour: str) -> str:
    """The colour, darkened until text in it is readable on white: a contrast of at least 4.5 (WCAG 2.2)."""
    rgb = red_green_blue(colour)
    while 1.05 / (0.05 + luminance(rgb)) < 4.5:
        rgb = [0.95 * part for part in rgb]
    return "#" + "".join(f"{round(255 * part):02x}" for part in rgb)


def luminance(rgb) -> float:
    """Relative luminance (WCAG 2.2), from 0 to 1."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in rgb]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear))


def axes(ax: Axes | None = None, height: float = 3.0) -> Axes:
    if ax is None:
        _, ax = subplots(figsize=(7, height))
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def as_is(text: str) -> str:
    """For a text that may hold any name: matplotlib would set what stands between two dollar signs as a formula."""
    return text.replace("$", r"\$")


def label_rows(ax, labels: dict[int, str], count: int) -> None:
    """`count` rows, the first (0) on top, over time."""
    ax.set_yticks([-row for row in labels], list(map(as_is, labels.values())))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set(xlabel="seconds", ylim=(0.5 - count, 0.5))


def end_label(ax, x: float, y: float, text: str, colour: str, va: str = "center"):
    """A label at the end of a line, in the line's own colour."""
    offset = dict(xytext=(6, 0), textcoords="offset points", annotation_clip=False)
    return ax.annotate(as_is(text), (x, y), color=readable_on_white(colour), va=va, **offset)


def keep_apart(labels: list, gap: float = 12) -> None:
    """Move labels up, so that each is at least `gap` points above the one below. The axes' limits must be set."""
    height = {label: label.axes.transData.transform(label.xy)[1] * 72 / label.figure.dpi for label in labels}
    lowest = -math.inf
    for label in sorted(labels, key=height.get):
        lowest = max(height[label], lowest + gap)
        label.set_position((6, lowest - height[label]))
