"""A figure: panels in rows and columns, laid out so that no word is cut, as SVG."""

from chatroom_lib.plots.svg.axes import Axes
from chatroom_lib.plots.svg.marks import ALIGNED, LINE, escape, width_of, words

EDGE = 6  # points that stay free around everything
GAP = 4  # points between the words of two panels, besides
TIMES = 3  # that the layout is improved: what a margin takes, the axes lose, and labels move with them
_unshown: list["Figure"] = []  # in the order in which they were made


def unshown() -> list["Figure"]:
    """The figures made since the last time this was asked."""
    made = list(_unshown)
    _unshown.clear()
    return made


class Figure:
    dpi = 72  # so that a point of the paper is one of the SVG

    def __init__(self, figsize: tuple[float, float], rows: int = 1, columns: int = 1, sharex=False, sharey=False):
        """`figsize`: in inches. `sharey` may be "row", for those in a row."""
        self.width, self.height = 72 * figsize[0], 72 * figsize[1]
        self.rows, self.columns, self.shares_x, self.shares_y = rows, columns, sharex, sharey
        self.heading = ""
        self.axes = [Axes(self, row, column) for row in range(rows) for column in range(columns)]
        for ax in self.axes:
            if sharex:
                ax.x.twins = [other.x for other in self.axes]
            if sharey:
                ax.y.twins = [other.y for other in self.axes if sharey != "row" or other.row == ax.row]
        _unshown.append(self)

    def suptitle(self, text: str, *, x=0.01, ha="left", fontsize=10) -> None:
        self.heading = text

    def set_figwidth(self, inches: float) -> None:
        self.width = 72 * inches

    def lay_out(self) -> None:
        """Give each panel its place, with margins that are as wide as what stands in them."""
        margins = [[EDGE, EDGE, EDGE, EDGE] for _ in self.axes]  # left, top, right, bottom
        for _ in range(TIMES):
            self.place_panels(margins)
            for ax, margin in zip(self.axes, margins):
                for side, needed in enumerate(overflow(ax, long_label=False)):
                    margin[side] = max(EDGE, margin[side] + needed) if needed > 0 else margin[side]
        self.place_panels(margins)

    def whole(self) -> tuple[float, float, float, float]:
        """Left, top, width and height of the picture: larger than the figure where the axes would get too small."""
        left, top, right, bottom = 0.0, 0.0, self.width, self.height
        for ax in self.axes:
            before, above, after, below = overflow(ax)
            left, top = min(left, ax.cell[0] - before), min(top, ax.cell[1] - above)
            right, bottom = max(right, ax.cell[2] + after), max(bottom, ax.cell[3] + below)
        return left, top, right - left, bottom - top

    def place_panels(self, margins: list[list[float]]) -> None:
        """All are of one size. Those in a column have the same margins at the sides, and those in a row above and
        below."""
        above = 16 if self.heading else 0
        sides = [self.widest(margins, "column", each, (0, 2)) for each in range(self.columns)]
        ends = [self.widest(margins, "row", each, (1, 3)) for each in range(self.rows)]
        width = (self.width - GAP * (self.columns - 1) - sum(map(sum, sides))) / self.columns
        height = (self.height - above - GAP * (self.rows - 1) - sum(map(sum, ends))) / self.rows
        width, height = max(width, self.width / self.columns / 4), max(height, 10)
        for ax in self.axes:
            (before, after), (over, under) = sides[ax.column], ends[ax.row]
            left = sum(map(sum, sides[: ax.column])) + ax.column * (width + GAP) + before
            top = above + sum(map(sum, ends[: ax.row])) + ax.row * (height + GAP) + over
            ax.rectangle = left, top, left + width, top + height
            ax.cell = left - before, top - over, left + width + after, top + height + under

    def widest(self, margins: list[list[float]], line: str, place: int, ends: tuple[int, int]) -> list[float]:
        """The margins at both ends of the panels in that "row" or "column"."""
        of_line = [margin for ax, margin in zip(self.axes, margins) if getattr(ax, line) == place]
        return [max(margin[end] for margin in of_line) for end in ends]

    def _repr_svg_(self) -> str:
        self.lay_out()
        left, top, width, height = self.whole()
        place = f'x="{left:.0f}" y="{top:.0f}" width="{width:.0f}" height="{height:.0f}"'
        parts = [f'<rect {place} fill="#ffffff"/>']
        for ax in self.axes:
            parts += ax.svg()
        if self.heading:
            parts += words(EDGE, 13, self.heading, "left", 10)
        title = self.heading or next((ax.title[0] for ax in self.axes if ax.title), "a figure")
        size = f'viewBox="{left:.0f} {top:.0f} {width:.0f} {height:.0f}" width="{width / 72 * 100:.0f}"'
        font = 'font-family="DejaVu Sans, Verdana, sans-serif"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font} role="img"><title>{escape(title)}</title>'
        return f"{head}{''.join(parts)}</svg>"


def overflow(ax: Axes, long_label: bool = True) -> tuple[float, float, float, float]:
    """By how much the words of a panel go beyond its cell: to the left, above, to the right, and below. `long_label`:
    also a y label that is longer than its axis, which no margin makes fit."""
    left, top, right, bottom = ax.cell
    boxes = [mark.bounds(ax.place) for mark in ax.marks if hasattr(mark, "bounds") and mark.near(ax.place)]
    for x, y, text, ha, size, _, turned in ax.decorations():
        wide = width_of(text, size)
        high = LINE * size * (text.count("\n") + 1)
        if turned:
            wide = wide if long_label else min(wide, ax.rectangle[3] - ax.rectangle[1])
            boxes.append((x - size, y - wide / 2, x + 3, y + wide / 2))
        else:
            start = x - ALIGNED[ha] * wide
            boxes.append((start, y - size, start + wide, y - size + high))
    if not boxes:
        return 0, 0, 0, 0
    lefts, tops, rights, bottoms = zip(*boxes)
    return left + EDGE - min(lefts), top + EDGE - min(tops), max(rights) - right + EDGE, max(bottoms) - bottom + EDGE


def subplots(rows=1, columns=1, *, figsize=(7, 3), sharex=False, sharey=False, layout=None, gridspec_kw=None):
    """A new figure, and its Axes, or a list of them."""
    figure = Figure(figsize, rows, columns, sharex, sharey)
    return figure, figure.axes[0] if rows * columns == 1 else figure.axes
