"""What holds for the figures: their colours can be told apart and read, and their labels do not overlap."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from chatroom_lib import plots
from chatroom_lib.plots.style import luminance

COLOURS = {**plots.COLOURS, "a room of one's own": plots.OTHER, "quiet": plots.MUTED, "alarm": plots.ALARM}
WHITE = np.ones(3)


def contrast(one, other) -> float:
    """WCAG 2.2's contrast ratio, 1 to 21."""
    dark, bright = sorted(luminance(np.array(to_rgb(colour))) for colour in (one, other))
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colour", COLOURS.values(), ids=COLOURS)
def test_words_can_be_read_and_lines_be_seen(colour):
    assert contrast(plots.readable_on_white(colour), WHITE) > 4.45  # after rounding
    assert contrast(colour, WHITE) > 2.5
    if contrast(colour, WHITE) > 4.5:
        assert plots.readable_on_white(colour) == colour.lower()


def test_alarm_is_told_from_quiet_by_its_brightness():
    assert contrast(plots.ALARM, plots.MUTED) > 2.5


@pytest.mark.parametrize("log", [True, False])
def test_labels_at_the_end_of_lines_are_kept_apart(log):
    ends = {"v1": 100, "v2": 100, "v3": 101, "v4": 5000}
    ax = plots.curves({name: [(1, 1), (2, end)] for name, end in ends.items()}, "x", "y", log=log)
    ax.figure.canvas.draw()
    boxes = sorted((text.get_window_extent() for text in ax.texts), key=lambda box: box.y0)
    assert len(boxes) == 4 and all(below.y1 <= above.y0 for below, above in pairwise(boxes))
    place = {text.get_text(): text.get_position()[1] for text in ax.texts}
    assert place["v1"] == place["v4"] == 0 < place["v2"] < place["v3"]
