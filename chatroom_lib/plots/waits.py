"""Figures of waiting tasks: for a lock, and for each other."""

from collections import Counter
from collections.abc import Iterator, Sequence

from chatroom_lib.plots.canvas import Axes
from chatroom_lib.plots.style import ALARM, MUTED, as_is, axes, colour_of, label_rows, pale, readable_on_white
from chatroom_lib.trace import Trace, Wait, cycle
from chatroom_lib.trace.records import WAITS, task_label


def lock(trace: Trace, what: str = "lock", ax: Axes | None = None) -> Axes:
    """A row for each acquisition of the lock, the first on top: pale while it waits, solid while it holds the lock.

    Rows of one name are numbered. Where there are more than 16, those of the commonest name have none.
    """
    uses, colour = trace.uses_of(what), colour_of(trace.room)
    ax = axes(ax, height=0.9 + 0.2 * len(uses))
    for row, use in enumerate(uses):
        waited_until = next((end for end in (use.got, use.given_up) if end is not None), trace.duration)
        released = trace.duration if use.released is None else use.released
        ax.barh(-row, waited_until - use.asked, left=use.asked, height=0.7, color=pale(colour))
        if use.got is not None:
            ax.barh(-row, released - use.got, left=use.got, height=0.7, color=colour, edgecolor=colour)
    usual = Counter(use.doing for use in uses).most_common(1)[0][0]
    names = enumerate(numbered([task_label(use.who, use.doing) for use in uses]))
    named = {row: name for row, name in names if len(uses) <= 16 or uses[row].doing != usual}
    label_rows(ax, named, len(uses))
    ax.set_xlim(0, trace.duration * 1.02)
    ax.set_title(f"{trace.room}: who waits for the {what}, and who holds it", loc="left", fontsize=10)
    return ax


def numbered(names: list[str]) -> Iterator[str]:
    """Those that are there more than once with a number: "Ann: broadcast 2"."""
    often, seen = Counter(names), Counter()
    for name in names:
        seen[name] += 1
        yield f"{name} {seen[name]}" if often[name] > 1 else name


ROW = 0.7  # inches
LOOP = 0.75  # inches from the middle of a box to the top of a loop above it, and of its label


def wait_for(trace: Trace, ax: Axes | None = None) -> Axes:
    """The wait-for graph at the end of the run: an arrow from each blocked task to each that can unblock it, labelled
    with what is between the two. A cycle is drawn in the alarm colour. A rounded box is a person.
    """
    graph = Graph(trace.waits)
    columns = graph.columns()
    wide, high = max(len(columns), 2), ROW * max(map(len, columns), default=1)
    above = graph.above_loops(columns, high)
    if ax is None:
        ax = axes(height=0.7 + high + above)
        ax.figure.set_figwidth(7 / 3 * min(wide, 3))
    ax.axis("off")
    ax.set(xlim=(-0.4, wide - 0.6), ylim=(0, 1 + above / high))
    verdict = "a cycle" if graph.cycle else "no cycle" if columns else "nobody is blocked"
    ax.set_title(as_is(f"{trace.room}: who waits for whom? {verdict}"), loc="left", fontsize=10)
    boxes = {}
    for x, column in enumerate(columns):
        for row, node in enumerate(column):
            boxes[node] = box(ax, x, 1 - (row + 0.5) / len(column), graph, node, pale(colour_of(trace.room)))
    for (start, end), text in graph.edges.items():
        arrow(ax, boxes[start], boxes[end], text, ALARM if {start, end} <= set(graph.cycle) else MUTED)
    return ax


class Graph:
    """The wait-for graph as drawn. Tasks that do the same and wait for the same are one node.

    `edges` maps (node, node) to what is between: "saying", "Bob's outbox", or for tasks each of which waits for all of
    them "lock, to write: each waits for all 9". `cycle` has the nodes of the cycle.
    """

    def __init__(self, waits: Sequence[Wait]):
        self.count = Counter(map(node_of, waits))
        self.cycle = list(dict.fromkeys(map(node_of, cycle(waits))))
        self.edges = {}
        for wait in waits:
            if wait.blocked:
                others = [node_of(waits[index]) for index in wait.needs] or [(wait.on or "somebody",)]
                self.edges |= {(node_of(wait), other): between(wait) for other in others}
        for node in [start for start, end in self.edges if start == end]:
            alike = {index for index, wait in enumerate(waits) if node_of(wait) == node}
            if len(alike) > 1 and all(alike <= set(waits[index].needs) for index in alike):
                self.edges[node, node] += f": each waits for all {len(alike)}"

    def label(self, node: tuple) -> str:
        return node[0] + (f" \N{MULTIPLICATION SIGN} {self.count[node]}" if self.count[node] > 1 else "")

    def is_person(self, node: tuple) -> bool:
        return node not in self.count

    def columns(self) -> list[list[tuple]]:
        """The nodes, each to the right of all that wait for it, as far as cycles allow."""
        column = {node: 0 for edge in self.edges for node in edge}
        ahead = self.ahead(list(column))
        for _ in column:
            for start, end in ahead:
                column[end] = max(column[end], column[start] + 1)
        return [[node for node in column if column[node] == x] for x in sorted(set(column.values()))]

    def above_loops(self, columns: list[list[tuple]], high: float) -> float:
        """How many inches more than `high` are needed for the arrows from a box to itself."""
        places = ((column, row) for column in columns for row, node in enumerate(column) if (node, node) in self.edges)
        return max([0.0, *(LOOP - high * (row + 0.5) / len(column) for column, row in places)])

    def ahead(self, nodes: list[tuple]) -> list[tuple]:
        """The edges without those that close a cycle: depth first, from the nodes that nobody waits for."""
        ahead, seen = [], set()

        def walk(node, path):
            seen.add(node)
            for edge in self.edges:
                if edge[0] == node and edge[1] not in path:
                    ahead.append(edge)
                    if edge[1] not in seen:
                        walk(edge[1], [*path, edge[1]])

        ends = {end for _, end in self.edges}
        for node in sorted(nodes, key=lambda node: node in ends):
            if node not in seen:
                walk(node, [node])
        return ahead


def node_of(wait: Wait) -> tuple:
    return wait.name, wait.kind, wait.on or wait.what


def between(wait: Wait) -> str:
    """An arrow's label: "saying", "lock, to write", "send"."""
    purpose = {"read": ", to read", "write": ", to write"}.get(wait.kind, "")
    return f"{wait.what}{purpose}" if wait.what else WAITS[wait.kind].removeprefix("to ").removesuffix(" to")


def box(ax, x: float, y: float, graph: Graph, node, colour):
    if graph.is_person(node):
        bbox = dict(boxstyle="round,pad=0.5,rounding_size=0.9", facecolor="none", edgecolor=MUTED)
    else:
        bbox = dict(boxstyle="square,pad=0.4", facecolor=colour, edgecolor="none")
    return ax.text(x, y, as_is(graph.label(node)), ha="center", va="center", fontsize=9, bbox=bbox)


def arrow(ax, start, end, text: str, colour: str) -> None:
    """From box to box, or in a loop above one box; the text beside its middle."""
    (x1, y1), (x2, y2) = start.get_position(), end.get_position()
    style = dict(color=colour, arrowstyle="-|>", linewidth=2.6 if colour == ALARM else 1.2, shrinkA=0, shrinkB=0)
    if start is end:
        bend, above = 1.4, 46
        tail, tip = (x1 - 0.12, y1 + 0.08), (x1 + 0.12, y1 + 0.08)
    else:
        bend = 0.25 if colour == ALARM else 0  # so that the arrows there and back do not coincide
        above = (4 + 95 * bend) * (1 if x2 > x1 else -1)  # points
        tail, tip = (x1, y1), (x2, y2)
        style |= dict(patchA=start.get_bbox_patch(), patchB=end.get_bbox_patch())
    ax.annotate("", tip, tail, arrowprops=dict(connectionstyle=f"arc3,rad={-bend}", **style))
    words = dict(
        color=readable_on_white(colour), fontsize=8, ha="center", va="bottom" if above > 0 else "top", zorder=4
    )
    ax.annotate(as_is(text), ((x1 + x2) / 2, (y1 + y2) / 2), (0, above), textcoords="offset points", **words)
