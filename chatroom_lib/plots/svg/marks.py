"""What is drawn on axes, and its SVG. Positions on the paper are in points, from the upper left corner."""

import math
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape as escape_html
from typing import Any

Point = tuple[float, float]
Rectangle = tuple[float, float, float, float]  # left, top, right, bottom
Place = Callable[[float | None, float | None], Point]  # of a point of the data; None: the end of the axis
WIDTHS = {0.36: " .,:;'|!()[]-/ijltfrI", 1.0: "mwMW@%"}  # of letters, in sizes of them: nobody can measure one here
LETTER = 0.62  # the width of others; those of East Asia have 1
LINE = 1.2  # height of a line, in sizes
ALIGNED = {"left": 0, "center": 0.5, "right": 1}  # the share of a text that is to the left of its place
NAMED = {"black": "#000000", "white": "#ffffff", "none": "none"}
DASHES = {"--": (3.7, 1.6), "-.": (6.4, 1.6, 1, 1.6), ":": (1, 1.65), "-": ()}  # in widths of the line
MARKERS = "osDv^x|."


def hexadecimal(colour) -> str:
    """A colour as SVG has it, from "#rrggbb", a name of CSS, or red, green, blue, each from 0 to 1. "" stays so."""
    if isinstance(colour, str):
        if not re.fullmatch("|#[0-9A-Fa-f]{6}|[a-z]{3,}", colour):
            raise TypeError(f'a colour is "#rrggbb" or a name of CSS, not {colour!r}')
        return NAMED.get(colour, colour)
    return "#" + "".join(f"{round(255 * part):02x}" for part in colour)


def dashes(style: str | tuple, width: float) -> str:
    """SVG's, for a line of that width, of matplotlib's ":", "--" or (0, (5, 4))."""
    lengths = DASHES.get(style) if isinstance(style, str) else style[1]
    if lengths is None:
        raise TypeError(f"a line is one of {', '.join(map(repr, DASHES))}, not {style!r}")
    return " ".join(number(length * width) for length in lengths)


def marker_and_line(style: str) -> tuple[str, str]:
    """ "o-": a circle at each point, and a line through them. Either may be "", for none."""
    line = next((each for each in DASHES if each in style), "")
    marker = style.replace(line, "", 1)
    if marker not in ("", *MARKERS):
        raise TypeError(f"a marker is one of {', '.join(map(repr, MARKERS))}, not {marker!r}")
    return marker, line


def escape(text: str) -> str:
    """Text for XML, which knows neither control characters nor halves of surrogate pairs."""
    return escape_html(re.sub("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text))


def number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def width_of(text: str, size: float) -> float:
    """Of the longest line, in points."""
    return size * max(sum(map(width_of_letter, line)) for line in text.split("\n"))


def width_of_letter(letter: str) -> float:
    if unicodedata.east_asian_width(letter) in "WF":
        return 1
    return next((width for width, letters in WIDTHS.items() if letter in letters), LETTER)


def points(places: list[Point]) -> str:
    return " ".join(f"{number(x)},{number(y)}" for x, y in places)


@dataclass
class Line:
    """Through points, and a marker at each, or at those in `every`."""

    xs: list
    ys: list
    colour: str
    width: float = 1.5
    dash: str | None = None  # None: no line
    marker: str = ""
    size: float = 6
    face: str = ""  # of a marker; "": as the line
    edge: float = 1
    edge_colour: str = ""
    every: list[int] | None = None
    zorder: float = 2
    clipped: bool = True  # to the axes

    def svg(self, place: Place) -> Iterator[str]:
        places = [place(x, y) for x, y in zip(self.xs, self.ys) if x is None or y is None or x == x and y == y]
        if self.dash is not None and len(places) > 1:
            dash = f' stroke-dasharray="{self.dash}"' if self.dash else ""
            yield (
                f'<polyline points="{points(places)}" fill="none" stroke="{self.colour}" '
                f'stroke-width="{number(self.width)}"{dash}/>'
            )
        for index in range(len(places)) if self.every is None else self.every:
            if self.marker and index < len(places):
                yield self.mark(*places[index])

    def mark(self, x: float, y: float) -> str:
        r = self.size / (4 if self.marker == "." else 2)
        stroke = f'stroke="{self.edge_colour or self.colour}" stroke-width="{number(self.edge)}"'
        look = f'class="marker" fill="{self.face or self.colour}" {stroke}'
        if self.marker in "o.":
            return f'<circle cx="{number(x)}" cy="{number(y)}" r="{number(r)}" {look}/>'
        if self.marker == "x":
            strokes = f"M{number(x - r)} {number(y - r)}L{number(x + r)} {number(y + r)}"
            strokes += f"M{number(x - r)} {number(y + r)}L{number(x + r)} {number(y - r)}"
            return f'<path class="marker" d="{strokes}" {stroke}/>'
        if self.marker == "|":
            return f'<path class="marker" d="M{number(x)} {number(y - r)}V{number(y + r)}" {stroke}/>'
        corners = {"s": "++ -+ -- +-", "D": "0+ +0 0- -0", "v": "-- +- 0+", "^": "-+ ++ 0-"}[self.marker].split()
        ends = [(x + r * SIGNS[a], y + r * SIGNS[b]) for a, b in corners]
        return f'<polygon points="{points(ends)}" {look}/>'


SIGNS = {"+": 1, "-": -1, "0": 0}


@dataclass
class Bar:
    """A rectangle. An end that is None is that of the axis."""

    clipped = True
    x: tuple[float | None, float | None]
    y: tuple[float | None, float | None]
    colour: str
    edge: str = "none"
    alpha: float = 1
    zorder: float = 1

    def svg(self, place: Place) -> Iterator[str]:
        (x1, y1), (x2, y2) = place(self.x[0], self.y[0]), place(self.x[1], self.y[1])
        least = 0 if self.edge == "none" else 0.1  # SVG draws no edge of what has no width
        left, top, width, height = min(x1, x2), min(y1, y2), max(least, abs(x2 - x1)), abs(y2 - y1)
        alpha = f' fill-opacity="{self.alpha}"' if self.alpha < 1 else ""
        yield (
            f'<rect x="{number(left)}" y="{number(top)}" width="{number(width)}" height="{number(height)}" '
            f'fill="{self.colour}" stroke="{self.edge}"{alpha}/>'
        )


@dataclass
class Area:
    """A polygon: what lies below a staircase."""

    clipped = True
    corners: list[Point]
    colour: str
    zorder: float = 1

    def svg(self, place: Place) -> Iterator[str]:
        ends = points([place(*corner) for corner in self.corners])
        yield f'<polygon points="{ends}" fill="{self.colour}"/>'


@dataclass(eq=False)
class Text:
    """Words at a point of the data, or of the axes where a coordinate is a share of them, and `offset` points from
    there (to the right, and up)."""

    clipped = False
    text: str
    xy: Point
    axes: Any = None
    offset: Point = (0, 0)
    shares: tuple[bool, bool] = (False, False)  # is x, is y a share of the axes?
    colour: str = "#000000"
    size: float = 10
    ha: str = "left"
    va: str = "baseline"
    box: dict | None = None
    zorder: float = 3

    @property
    def figure(self):
        return self.axes.figure

    def set_position(self, offset: Point) -> None:
        self.offset = offset

    def get_position(self) -> Point:
        return self.xy

    def get_bbox_patch(self) -> "Text":
        return self

    @property
    def lines(self) -> list[str]:
        return self.text.split("\n")

    def bounds(self, place: Place) -> Rectangle:
        x, y = self.at(place)
        width = width_of(self.text, self.size)
        height = LINE * self.size * len(self.lines)
        left = x - ALIGNED[self.ha] * width
        top = (
            y - {"top": 0, "center": 0.5, "bottom": 1, "baseline": 0.8 if len(self.lines) == 1 else 1}[self.va] * height
        )
        return left, top, left + width, top + height

    def at(self, place: Place) -> Point:
        x, y = place(None if self.shares[0] else self.xy[0], None if self.shares[1] else self.xy[1])
        left, top, right, bottom = self.axes.rectangle
        x = left + self.xy[0] * (right - left) if self.shares[0] else x
        y = bottom - self.xy[1] * (bottom - top) if self.shares[1] else y
        return x + self.offset[0], y - self.offset[1]

    def near(self, place: Place) -> bool:
        """Whether its point is on the axes, or less than half of their size away. Others are not seen."""
        x, y = self.at(place)
        left, top, right, bottom = self.axes.rectangle
        dx, dy = (right - left) / 2, (bottom - top) / 2
        return inside((x - self.offset[0], y + self.offset[1]), (left - dx, top - dy, right + dx, bottom + dy))

    def svg(self, place: Place) -> Iterator[str]:
        if not self.near(place):
            return
        if self.box:
            yield self.frame(place)
        top = self.bounds(place)[1]
        yield from words(self.at(place)[0], top + 0.9 * self.size, self.text, self.ha, self.size, self.colour)

    def outline(self, place: Place) -> Rectangle:
        """Of its box."""
        _, options = self.box_style()
        pad = float(options["pad"]) * self.size if "pad" in options else self.box.get("pad", 0)
        left, top, right, bottom = self.bounds(place)
        return left - pad, top - pad, right + pad, bottom + pad

    def box_style(self) -> tuple[str, dict[str, str]]:
        """ "round,pad=0.5" as matplotlib has it."""
        style, *options = self.box.get("boxstyle", "square").split(",")
        return style, dict(option.split("=") for option in options)

    def frame(self, place: Place) -> str:
        style, options = self.box_style()
        left, top, right, bottom = self.outline(place)
        radius = float(options.get("rounding_size", 0)) * self.size if style == "round" else 0
        face, edge = hexadecimal(self.box["facecolor"]), hexadecimal(self.box["edgecolor"])
        return (
            f'<rect class="box" x="{number(left)}" y="{number(top)}" width="{number(right - left)}" '
            f'height="{number(bottom - top)}" rx="{number(radius)}" fill="{face}" stroke="{edge}"/>'
        )


def words(
    x: float, y: float, text: str, ha: str, size: float, colour: str = "#000000", turn: str = ""
) -> Iterator[str]:
    """Lines of text, the first of them with its baseline at y."""
    anchor = {"left": "start", "center": "middle", "right": "end"}[ha]
    for row, line in enumerate(text.split("\n")):
        place = f'x="{number(x)}" y="{number(y + LINE * size * row)}"'
        look = f'font-size="{number(size)}" text-anchor="{anchor}" fill="{colour}"'
        yield f"<text {place} {look}{turn}>{escape(line)}</text>"


CURVE = 200  # straight lines that make a curve


@dataclass
class Arrow:
    """A curve from one point of the data to another, outside of the boxes there. `bend`: by how much of its length it
    bends, as in matplotlib's "arc3,rad=0.2"."""

    clipped = False
    tail: Point
    tip: Point
    colour: str
    width: float
    bend: float
    boxes: list[Text]
    zorder: float = 2.5

    def svg(self, place: Place) -> Iterator[str]:
        (x1, y1), (x2, y2) = place(*self.tail), place(*self.tip)
        control = (x1 + x2) / 2 - self.bend * (y2 - y1), (y1 + y2) / 2 + self.bend * (x2 - x1)
        curve = [between((x1, y1), control, (x2, y2), step / CURVE) for step in range(CURVE + 1)]
        outlines = [box.outline(place) for box in self.boxes]
        curve = [point for point in curve if not any(inside(point, outline) for outline in outlines)]
        size = 5 + 2 * self.width
        shaft = [point for point in curve if math.dist(point, curve[-1]) >= 0.8 * size]
        if not shaft:
            return
        (xa, ya), (xb, yb) = shaft[-1], curve[-1]
        direction = math.atan2(yb - ya, xb - xa)
        sides = [(xb - size * math.cos(direction + a), yb - size * math.sin(direction + a)) for a in (0.4, -0.4)]
        stroke = f'stroke="{self.colour}" stroke-width="{number(self.width)}"'
        yield f'<polyline class="shaft" points="{points(shaft[:-1:4] + shaft[-1:])}" fill="none" {stroke}/>'
        yield f'<polygon points="{points([(xb, yb), *sides])}" fill="{self.colour}"/>'


def between(start: Point, control: Point, end: Point, t: float) -> Point:
    """A point of a quadratic Bézier curve."""
    x, y = ((1 - t) ** 2 * a + 2 * t * (1 - t) * b + t * t * c for a, b, c in zip(start, control, end))
    return x, y


def inside(point: Point, rectangle: Rectangle) -> bool:
    left, top, right, bottom = rectangle
    return left <= point[0] <= right and top <= point[1] <= bottom
