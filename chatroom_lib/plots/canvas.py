"""Where figures are drawn: on matplotlib's axes or, where it cannot be had, on our own, which make SVG (`plots.svg`).

Nothing else here imports matplotlib. What the two do not have in common by name is a function of this file.
"""

from typing import Any

from chatroom_lib.plots import svg

try:
    import matplotlib.pyplot as plt
    from matplotlib.axes import Axes as Axes
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
except ModuleNotFoundError:  # as in a browser
    plt = None
    Axes = svg.Axes


def subplots(rows: int = 1, columns: int = 1, *, figsize: tuple[float, float], **options) -> tuple[Any, Any]:
    """As matplotlib's: a figure of so many inches, and its Axes, or an array of them."""
    if plt is None:
        return svg.subplots(rows, columns, figsize=figsize, **options)
    return plt.subplots(rows, columns, figsize=figsize, layout="constrained", **options)


def panels(
    columns: int = 1,
    rows: int = 1,
    *,
    height: float = 3.0,
    width: float = 7.0,
    sharex: bool = False,
    sharey: bool = True,
) -> list:
    """The Axes of a new figure, row by row, for those that take `ax`: `left, right = plots.panels(2)`.

    `height` and `width`: of the figure, in inches. `sharex`: they have one x axis. `sharey`: those in a row have one y
    axis.
    """
    _, axs = subplots(rows, columns, figsize=(width, height), sharex=sharex, sharey="row" if sharey else False)
    return list(axs.flat) if hasattr(axs, "flat") else all_of(axs)


def all_of(axs) -> list:
    """The Axes in an array of them, or the one that there is."""
    return list(axs) if hasattr(axs, "__len__") else [axs]


def whole_numbers(ax, axis: str = "y", most: int = 10) -> None:
    """Ticks at whole numbers only, and at most so many intervals between them."""
    if isinstance(ax, svg.Axes):
        scale = getattr(ax, axis)
        scale.whole, scale.most = True, most
    else:
        getattr(ax, f"{axis}axis").set_major_locator(MaxNLocator(most, integer=True))


def plain_numbers(ax, axis: str, subs: tuple[int, ...] | None = None) -> None:
    """Of a logarithmic axis: numbers written out, 0.1, 1, 10, 1,000, and no small ticks. `subs`: the multiples of 10,
    100, ... that have a tick; None: as they are."""
    if isinstance(ax, svg.Axes):
        getattr(ax, axis).subs = subs or (1,)
        return
    of_matplotlib = getattr(ax, f"{axis}axis")
    if subs:
        of_matplotlib.set_major_locator(LogLocator(subs=subs))
    of_matplotlib.set_major_formatter("{x:,.10g}")
    of_matplotlib.set_minor_locator(NullLocator())
