"""Figures of a run, as SVG."""

from collections.abc import Callable

from chatroom_lib.trace import Trace

MOST_PEOPLE, MOST_MESSAGES = 6, 20  # in a space-time diagram that can be read


def figures(trace: Trace) -> dict[str, str | None]:
    """The name of a figure -> its SVG; None where there would be too much in it."""
    from chatroom_lib import plots  # which is slow to load

    small = len(trace.clients) <= MOST_PEOPLE and len(trace.of("said")) <= MOST_MESSAGES
    height = len(trace.clients)
    return {
        "heard": drawn(plots.heard, trace, 0.9 + 0.4 * height),
        "pool": drawn(plots.pool, trace, 0.9 + 0.4 * height),
        "space_time": drawn(plots.space_time, trace, 2.1 + 0.7 * height) if small else None,
    }


def drawn(draw: Callable, trace: Trace, height: float) -> str:
    """Of so many inches."""
    from chatroom_lib.plots import svg

    figure, ax = svg.subplots(figsize=(7, height))
    draw(trace, ax)
    svg.unshown()  # it is shown here
    return figure._repr_svg_()
