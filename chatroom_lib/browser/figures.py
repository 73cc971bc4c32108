"""Figures of a run, as SVG."""

import io

from chatroom_lib.trace import Trace

MOST_PEOPLE, MOST_MESSAGES = 6, 20  # in a space-time diagram that can be read


def figures(trace: Trace) -> dict[str, str | None]:
    """The name of a figure -> its SVG; None where there would be too much in it."""
    from chatroom_lib import plots  # which is slow to load

    small = len(trace.clients) <= MOST_PEOPLE and len(trace.of("said")) <= MOST_MESSAGES
    return {
        "heard": as_svg(plots.heard(trace)),
        "pool": as_svg(plots.pool(trace)),
        "space_time": as_svg(plots.space_time(trace)) if small else None,
    }


def as_svg(axes) -> str:
    figure = axes.figure
    if hasattr(figure, "_repr_svg_"):
        return figure._repr_svg_()
    from matplotlib import pyplot

    text = io.StringIO()
    figure.savefig(text, format="svg")
    pyplot.close(figure)
    return text.getvalue()
