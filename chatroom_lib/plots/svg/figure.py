"""A figure: panels in rows and columns, laid out so that no word is cut, as SVG."""

from chatroom_lib.plots.svg.axes import Axes
from chatroom_lib.plots.svg.marks import LINE, escape, width_of, words

EDGE = 6  # points that stay free around everything
GAP = 14  # points between panels
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
        """`figsize`: in inches."""
        self.width, self.height = 72 * figsize[0], 72 * figsize[1]
        self.rows, self.columns, self.shares_y = rows, columns, sharey
        self.heading = ""
        self.axes = [Axes(self, row, column) for row in range(rows) for column in range(columns)]
        for wanted, scales in ((sharex, [ax.x for ax in self.axes]), (sharey, [ax.y for ax in self.axes])):
            for scale in scales if wanted else ():
                scale.twins = scales
        for ax in self.axes if sharex else ():
            if ax.row < rows - 1:
                ax.x.ticks = []
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
                for side, needed in enumerate(overflow(ax)):
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
        """Panels in a column have the same margins at the sides, and those in a row above and below."""
        above = 16 if self.heading else 0
        width = (self.width - GAP * (self.columns - 1)) / self.columns
        height = (self.height - above - GAP * (self.rows - 1)) / self.rows
        for ax in self.axes:
            same_column = [margin for other, margin in zip(self.axes, margins) if other.column == ax.column]
            same_row = [margin for other, margin in zip(self.axes, margins) if other.row == ax.row]
            left, right = (max(margin[side] for margin in same_column) for side in (0, 2))
            top, bottom = (max(margin[side] for margin in same_row) for side in (1, 3))
            x, y = ax.column * (width + GAP), above + ax.row * (height + GAP)
            ax.cell = x, y, x + width, y + height
            ax.rectangle = (
                x + left,
                y + top,
                max(x + left + width / 4, x + width - right),
                max(y + top + 10, y + height - bottom),
            )

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


def overflow(ax: Axes) -> tuple[float, float, float, float]:
    """By how much the words of a panel go beyond its cell: to the left, above, to the right, and below."""
    left, top, right, bottom = ax.cell
    boxes = [mark.bounds(ax.place) for mark in ax.marks if hasattr(mark, "bounds") and mark.near(ax.place)]
    for x, y, text, ha, size, _, turned in ax.decorations():
        wide = width_of(text, size)
        high = LINE * size * (text.count("\n") + 1)
        if turned:
            boxes.append((x - size, y - wide / 2, x + 3, y + wide / 2))
        else:
            start = x - {"left": 0, "center": 0.5, "right": 1}[ha] * wide
            boxes.append((start, y - size, start + wide, y - size + high))
    if not boxes:
        return 0, 0, 0, 0
    lefts, tops, rights, bottoms = zip(*boxes)
    return left + EDGE - min(lefts), top + EDGE - min(tops), max(rights) - right + EDGE, max(bottoms) - bottom + EDGE


def subplots(rows=1, columns=1, *, figsize=(7, 3), sharex=False, sharey=False, layout=None, gridspec_kw=None):
    """A new figure, and its Axes, or a list of them."""
    figure = Figure(figsize, rows, columns, sharex, sharey)
    return figure, figure.axes[0] if rows * columns == 1 else figure.axes
