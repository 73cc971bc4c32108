"""Axes that remember what is to be drawn on them."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from chatroom_lib.plots.svg.marks import (
    ALIGNED,
    Area,
    Arrow,
    Bar,
    Line,
    Point,
    Text,
    dashes,
    hexadecimal,
    marker_and_line,
    width_of,
    words,
)
from chatroom_lib.plots.svg.scale import ACROSS, UP, Scale

if TYPE_CHECKING:
    from chatroom_lib.plots.svg.figure import Figure

GREY = "#000000"
SPINES = "left", "bottom", "right", "top"


class Share(float):
    """A place on an axis instead of a value: how much of the axis is before it, from 0 to 1."""


END = Share(1)


class Spines:
    """`spines["left"]`, `spines[["top", "right"]]` and `spines[:]`, each with `set_visible`."""

    def __init__(self, visible: set[str] | None = None, chosen: Iterable[str] = SPINES):
        self.visible = set(SPINES) if visible is None else visible
        self.chosen = chosen

    def __getitem__(self, names) -> "Spines":
        return Spines(
            self.visible, [names] if isinstance(names, str) else SPINES if isinstance(names, slice) else names
        )

    def set_visible(self, visible: bool) -> None:
        for name in self.chosen:
            if name not in SPINES:
                raise KeyError(name)
            (self.visible.add if visible else self.visible.discard)(name)


class Axes:
    """One panel of a figure. `rectangle`: left, top, right and bottom, in points, as it was laid out last."""

    def __init__(self, figure: "Figure", row: int, column: int):
        self.figure, self.row, self.column = figure, row, column
        self.x, self.y = Scale(ACROSS), Scale(UP)
        self.spines, self.marks = Spines(), []
        self.title: tuple[str, float, str, str] | None = None
        self.off = False
        self.rectangle = (0.0, 0.0, figure.width, figure.height)

    # ------------------------------------------------------------ what is drawn

    def plot(
        self, xs, ys, style: str = "-", *, color: str, markersize=6, linewidth=1.5, markeredgewidth=1.0, zorder=2,
        markerfacecolor="", markeredgecolor="", fillstyle="full", markevery=None, drawstyle="", clip_on=True,
    ) -> None:  # fmt: skip
        xs, ys = ([xs], [ys]) if isinstance(xs, int | float) else (list(xs), list(ys))
        symbol, dash = marker_and_line(style)
        face = "none" if fillstyle == "none" else hexadecimal(markerfacecolor)
        line = dict(colour=hexadecimal(color), width=linewidth, dash=dashes(dash, linewidth) if dash else None)
        marker = dict(marker=symbol, size=markersize, face=face, edge=markeredgewidth, every=markevery)
        self.x.note(xs)
        self.y.note(ys)
        if drawstyle == "steps-post":
            xs, ys = staircase(xs, ys)
        line |= dict(edge_colour=hexadecimal(markeredgecolor), zorder=zorder, clipped=clip_on)
        self.marks.append(Line(xs, ys, **line, **marker))

    def step(self, xs, ys, *, where: str, color: str, linewidth=1.5, linestyle="-", zorder=2) -> None:
        if where != "post":
            raise TypeError(f'step() knows where="post", not {where!r}')
        self.plot(*staircase(list(xs), list(ys)), linestyle, color=color, linewidth=linewidth, zorder=zorder)

    def scatter(self, xs, ys, sizes, *, color: str) -> None:
        """`sizes`: the squares of the diameters."""
        for x, y, size in zip(xs, ys, sizes):
            self.plot(x, y, "o", color=color, markersize=size**0.5, zorder=1)

    def hlines(self, y, start, stop, color, *, linewidth=1.5, zorder=2) -> None:
        self.plot([start, stop], [y, y], "-", color=color, linewidth=linewidth, zorder=zorder)

    def axhline(self, y, *, color, linewidth=1.5, linestyle="-", zorder=2) -> None:
        self.y.note([y])
        dash = dashes(linestyle, linewidth)
        self.marks.append(Line([None, END], [y, y], hexadecimal(color), linewidth, dash, zorder=zorder))

    def axvline(self, x, *, color, linewidth=1.5, linestyle="-", ymax=1.0) -> None:
        self.x.note([x])
        dash = dashes(linestyle, linewidth)
        self.marks.append(Line([x, x], [None, Share(ymax)], hexadecimal(color), linewidth, dash))

    def axvspan(self, start, stop, *, color, alpha=1, linewidth=0) -> None:
        self.x.note([start, stop])
        self.marks.append(Bar((start, stop), (None, END), hexadecimal(color), alpha=alpha))

    def barh(self, y, width, *, left=0, height=0.8, color, edgecolor="none", zorder=1) -> list[Bar]:
        """A bar, or one for each of the names `y`, the first at 0."""
        if isinstance(y, int | float):
            return [self.bar(y, left, width, height, color, edgecolor, zorder)]
        names = list(y)
        colours = [color] * len(names) if isinstance(color, str) else color
        self.set_yticks(range(len(names)), names)
        rows = enumerate(zip(width, colours))
        return [self.bar(row, left, wide, height, colour, edgecolor, zorder) for row, (wide, colour) in rows]

    def bar(self, y: float, left: float, width: float, height: float, colour, edge, zorder: float) -> Bar:
        self.x.note([left, left + width])
        self.x.sticky.add(left)
        self.y.note([y - height / 2, y + height / 2])
        ends = (left, left + width), (y - height / 2, y + height / 2)
        self.marks.append(Bar(*ends, hexadecimal(colour), hexadecimal(edge), zorder=zorder))
        return self.marks[-1]

    def bar_label(self, bars: list[Bar], labels: list[str], *, fontsize=10) -> None:
        for bar, label in zip(bars, labels):
            (start, end), middle = bar.x, sum(bar.y) / 2
            beside = dict(ha="left", xytext=(3, 0)) if end >= start else dict(ha="right", xytext=(-3, 0))
            self.annotate(label.strip(), (end, middle), va="center", fontsize=fontsize, **beside)

    def stairs(self, values, edges, *, baseline=0, fill=False, color, linewidth=1.0) -> None:
        """A staircase over bins: a value for each, which begins and ends at an edge."""
        corners = [(edges[0], baseline)]
        for value, start, end in zip(values, edges, edges[1:]):
            corners += [(start, max(value, baseline)), (end, max(value, baseline))]
        corners.append((edges[len(values)], baseline))
        xs, ys = zip(*corners)
        self.x.note(xs)
        self.y.note(ys)
        colour = hexadecimal(color)
        self.marks.append(Area(corners, colour) if fill else Line(list(xs), list(ys), colour, linewidth, ""))

    def text(self, x, y, text: str, *, ha="left", va="baseline", fontsize=10, color="black", bbox=None) -> Text:
        return self.annotate(text, (x, y), ha=ha, va=va, fontsize=fontsize, color=color, bbox=bbox)

    def annotate(
        self, text: str, xy: Point, xytext: Point = (0, 0), *, textcoords="offset points", xycoords="data",
        color="black", ha="left", va="baseline", fontsize=10, bbox=None, zorder=3, annotation_clip=None,
        arrowprops: dict | None = None,
    ) -> Text | None:  # fmt: skip
        if arrowprops:
            self.arrow(xytext, xy, **arrowprops)
            return None
        if textcoords != "offset points":
            raise TypeError(f'annotate() knows textcoords="offset points", not {textcoords!r}')
        shares = tuple(each == "axes fraction" for each in ((xycoords,) * 2 if isinstance(xycoords, str) else xycoords))
        text = text.replace(r"\$", "$")  # which only matplotlib would take for a formula
        label = Text(text, xy, self, xytext, shares, hexadecimal(color), fontsize, ha, va, bbox, zorder)
        self.marks.append(label)
        return label

    def arrow(
        self, tail, tip, *, color, linewidth, connectionstyle, arrowstyle, shrinkA, shrinkB, patchA=None, patchB=None
    ):
        bend = float(connectionstyle.partition("rad=")[2])
        boxes = [box for box in (patchA, patchB) if box]
        self.marks.append(Arrow(tail, tip, hexadecimal(color), linewidth, bend, boxes))

    # ------------------------------------------------------------ axes, labels

    def set(
        self, *, xlabel=None, ylabel=None, xlim=None, ylim=None, xscale=None, yscale=None, xticks=None, yticks=None
    ) -> None:
        x, y = (self.x, xlabel, xlim, xscale, xticks), (self.y, ylabel, ylim, yscale, yticks)
        for axis, label, limits, scale, places in (x, y):
            axis.label = axis.label if label is None else label.replace(r"\$", "$")
            axis.log = axis.log or scale == "log"
            axis.ticks = axis.ticks if places is None else ticks(places, None)
            if limits:
                axis.low, axis.high = limits

    def set_xlim(self, left=None, right=None) -> None:
        self.x.low, self.x.high = (self.x.low if left is None else left), (self.x.high if right is None else right)

    def set_ylim(self, bottom=None, top=None, auto=None) -> None:
        self.y.low, self.y.high = (self.y.low if bottom is None else bottom), (self.y.high if top is None else top)

    def set_xlabel(self, text: str, fontsize=10) -> None:
        self.x.label, self.x.label_size = text, fontsize

    def set_ylabel(self, text: str) -> None:
        self.y.label = text

    def set_xticks(self, places, labels=None) -> None:
        self.x.ticks = ticks(places, labels)

    def set_yticks(self, places, labels=None) -> None:
        self.y.ticks = ticks(places, labels)

    def set_title(self, text: str, *, loc="center", fontsize=12, color="black") -> None:
        if loc not in ALIGNED:
            raise TypeError(f"a title's loc is one of {', '.join(ALIGNED)}, not {loc!r}")
        self.title = text.replace(r"\$", "$"), fontsize, hexadecimal(color), loc

    def tick_params(self, axis="both", *, length=None, labelsize=None, left=True, labelbottom=True) -> None:
        for scale in [self.x] * (axis in ("x", "both")) + [self.y] * (axis in ("y", "both")):
            scale.tick_length = scale.tick_length if length is None else length
            scale.tick_size = scale.tick_size if labelsize is None else labelsize
        if not left:
            self.y.tick_length = 0
        if not labelbottom:
            self.x.ticks = []

    def minorticks_off(self) -> None:
        """There are none."""

    def margins(self, *, x: float) -> None:
        self.x.margin = x

    def invert_yaxis(self) -> None:
        upside_down = not self.y.inverted
        for scale in self.y.twins:
            scale.inverted = upside_down

    def axis(self, how: str) -> None:
        if how != "off":
            raise TypeError(f'axis() knows "off", not {how!r}')
        self.off = True

    # ------------------------------------------------------------ where it goes

    def place(self, x: float | None, y: float | None) -> Point:
        """A point of the data on the paper; None: the axes' lower end."""
        left, top, right, bottom = self.rectangle
        across = 0 if x is None else x if isinstance(x, Share) else self.x.share(x)
        up = 0 if y is None else y if isinstance(y, Share) else self.y.share(y)
        return left + across * (right - left), bottom - up * (bottom - top)

    def transform(self, xy: Point) -> Point:
        """Points from the lower left corner of the figure: what matplotlib's `transData.transform` gives, at 72 dpi."""
        self.figure.lay_out()
        x, y = self.place(*xy)
        return x, self.figure.height - y

    @property
    def transData(self) -> "Axes":
        return self

    def decorations(self) -> Iterator[tuple[float, float, str, str, float, str, bool]]:
        """(x, y, text, ha, size, colour, turned) of the axes' own words: ticks, labels and title; y is a baseline."""
        left, top, right, bottom = self.rectangle
        below = 0.0
        if not self.off:
            for value, text in filter(has_words, self.ticks_x()):
                size, below = self.x.tick_size, 1.2 * self.x.tick_size
                yield self.place(value, None)[0], bottom + 4 + size, text, "center", size, GREY, False
            for value, text in filter(has_words, self.ticks_y()):
                size, lines = self.y.tick_size, text.count("\n")
                y = self.place(None, value)[1] + 0.35 * size - 0.6 * size * lines
                yield left - 3 - self.y.tick_length, y, text, "right", size, GREY, False
            if self.x.label:
                size = self.x.label_size
                yield (left + right) / 2, bottom + 6 + below + size, self.x.label, "center", size, GREY, False
            if self.y.label:
                width = max((width_of(text, self.y.tick_size) for _, text in self.ticks_y()), default=0)
                yield left - 10 - self.y.tick_length - width, (top + bottom) / 2, self.y.label, "center", 10, GREY, True
        if self.title:
            text, size, colour, loc = self.title
            yield left + ALIGNED[loc] * (right - left), top - 7, text, loc, size, colour, False

    def ticks_x(self) -> list[tuple[float, str]]:
        left, _, right, _ = self.rectangle
        shown = self.x.ticks_shown(right - left)
        below = self.figure.shares_x and self.row < self.figure.rows - 1  # is there a panel that says them
        return without_words(shown) if below else shown

    def ticks_y(self) -> list[tuple[float, str]]:
        _, top, _, bottom = self.rectangle
        shown = self.y.ticks_shown(bottom - top)
        return without_words(shown) if self.figure.shares_y and self.column else shown

    def svg(self) -> Iterator[str]:
        yield from self.lines()
        left, top, right, bottom = self.rectangle
        name = f"clip-{left:.1f}-{top:.1f}-{right:.1f}-{bottom:.1f}"  # those of one name clip the same, on any page
        yield f'<clipPath id="{name}"><path d="M{left:.1f} {top:.1f}H{right:.1f}V{bottom:.1f}H{left:.1f}Z"/></clipPath>'
        for mark in sorted(self.marks, key=lambda mark: mark.zorder):
            clip = f' clip-path="url(#{name})"' if mark.clipped else ""
            yield f'<g class="{type(mark).__name__.lower()}"{clip}>{"".join(mark.svg(self.place))}</g>'
        for x, y, text, ha, size, colour, turned in self.decorations():
            turn = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
            yield from words(x, y, text, ha, size, colour, turn)

    def lines(self) -> Iterator[str]:
        """The spines that are visible, and the ticks."""
        left, top, right, bottom = self.rectangle
        ends = {
            "left": f"M{left:.1f} {top:.1f}V{bottom:.1f}", "right": f"M{right:.1f} {top:.1f}V{bottom:.1f}",
            "top": f"M{left:.1f} {top:.1f}H{right:.1f}", "bottom": f"M{left:.1f} {bottom:.1f}H{right:.1f}",
        }  # fmt: skip
        strokes = [ends[name] for name in SPINES if name in self.spines.visible]
        strokes += [
            f"M{self.place(value, None)[0]:.1f} {bottom:.1f}v{self.x.tick_length}" for value, _ in self.ticks_x()
        ]
        if self.y.tick_length and "left" in self.spines.visible:
            strokes += [
                f"M{left:.1f} {self.place(None, value)[1]:.1f}h-{self.y.tick_length}" for value, _ in self.ticks_y()
            ]
        if strokes and not self.off:
            yield f'<path d="{"".join(strokes)}" stroke="#000000" stroke-width="0.8" fill="none"/>'


def staircase(xs: list, ys: list) -> tuple[list, list]:
    """Each value until the next one comes."""
    corners = [(xs[0], ys[0])] if xs else []
    for x, y in zip(xs[1:], ys[1:]):
        corners += [(x, corners[-1][1]), (x, y)]
    return [x for x, _ in corners], [y for _, y in corners]


def ticks(places, labels) -> list[tuple[float, str]]:
    texts = (
        [f"{place:,.10g}" for place in places]
        if labels is None
        else [str(label).replace(r"\$", "$") for label in labels]
    )
    return list(zip(places, texts))


def without_words(ticks: list[tuple[float, str]]) -> list[tuple[float, str]]:
    return [(place, "") for place, _ in ticks]


def has_words(tick: tuple[float, str]) -> bool:
    return tick[1] != ""
