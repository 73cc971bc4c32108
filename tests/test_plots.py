"""Figures: colours can be told apart and read, labels do not overlap, and drawing loads no server."""

import re
import subprocess
import sys
from functools import partial
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.cbook import is_math_text
from matplotlib.colors import to_rgb

from chatroom_lib import Scenario, frozen, listener, plots, simulate, slow_reader, talker
from chatroom_lib.clients.scenario import Client
from chatroom_lib.plots.style import luminance
from chatroom_lib.reference_rooms import LocalFirst
from chatroom_lib.rooms import v9
from chatroom_lib.trace import Event, Trace

COLOURS = {**plots.COLOURS, "a room of one's own": plots.OTHER, "muted": plots.MUTED, "alarm": plots.ALARM}
WHITE = np.ones(3)


def contrast(one, other) -> float:
    """WCAG 2.2's contrast ratio, 1 to 21."""
    dark, bright = sorted(luminance(np.array(to_rgb(colour))) for colour in (one, other))
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colour", COLOURS.values(), ids=COLOURS)
def test_text_can_be_read_and_lines_can_be_seen(colour):
    assert contrast(plots.readable_on_white(colour), WHITE) > 4.45  # after rounding
    assert contrast(colour, WHITE) > 2.5
    if contrast(colour, WHITE) > 4.5:
        assert plots.readable_on_white(colour) == colour.lower()


def test_brightness_alone_distinguishes_alarm_from_muted():
    assert contrast(plots.ALARM, plots.MUTED) > 2.5


@pytest.mark.parametrize("log", [True, False])
def test_labels_at_the_end_of_lines_are_kept_apart(log):
    ends = {"v1": 100, "v2": 100, "v3": 101, "v4": 5000}
    ax = plots.curves({name: [(1, 1), (2, end)] for name, end in ends.items()}, "x", "y", log=log)
    ax.figure.canvas.draw()
    boxes = sorted((text.get_window_extent() for text in ax.texts), key=lambda box: box.y0)
    assert len(boxes) == 4 and all(below.y1 <= above.y0 for below, above in pairwise(boxes))
    moved = {text.get_text(): text.get_position()[1] for text in ax.texts}  # points
    assert moved["v1"] == moved["v4"] == 0 < moved["v2"] < moved["v3"]


@pytest.mark.parametrize("name", [r"$\frac$", "$a$b$", "a$"])
def test_dollar_signs_in_names_are_dollar_signs(name):
    people = [talker(name, says=5, every=0.0, size=20_000), frozen("Bob$_$"), listener("$Cy$")]
    trace = simulate("v3", Scenario(people, duration=2))
    figures = [plots.pool(trace), plots.space_time(simulate("v1", Scenario(people[::2], duration=2))),
               plots.wait_for(trace), plots.passed({name: trace, "$x$": trace}, who=name),
               plots.latency(trace, who=name), plots.curves({name: [(1, 1)]}, "x", "y")]  # fmt: skip
    for ax in figures:
        ax.figure.canvas.draw()  # raises a ValueError for a formula that is none
        texts = [*ax.texts, *ax.get_yticklabels(), ax.title, ax.yaxis.label]
        assert not any(is_math_text(text.get_text()) for text in texts if ax.get_xscale() != "log" or text in ax.texts)
        plt.close(ax.figure)


IMPORTS = """
import sys
from chatroom_lib import plots
plots.heard  # loads the package, if it is lazy
print(*sys.modules)
plots.colour_of("v1")
print(*sys.modules)
"""


def test_plots_loads_no_server_and_a_colour_loads_nothing_more():
    done = subprocess.run([sys.executable, "-c", IMPORTS], check=True, capture_output=True, text=True)
    loaded, with_colour = (set(line.split()) for line in done.stdout.splitlines())
    assert "chatroom_lib.plots.style" in loaded
    unwanted = "chatroom_lib.server", "chatroom_lib.rooms", "websockets.asyncio.server"
    assert [name for name in loaded if name.startswith(unwanted)] == []
    assert with_colour - loaded == set() and not {"psutil", "cloudpickle"} & with_colour


def test_of_two_curves_that_coincide_the_shorter_one_is_on_top():
    people = [talker("Ann", says=40, every=0.02), slow_reader("Bob", pause=0.05)]
    whole, short = simulate("v3", Scenario(people, duration=9)), simulate("v3", Scenario(people, duration=0.5))
    short.room = "Short"
    for traces in ((whole, short), (short, whole)):
        ax = plots.latency(*traces, who="Bob")
        lengths = [len(line.get_xdata()) for line in ax.lines[::2]]
        assert lengths == sorted(lengths, reverse=True) and len(set(lengths)) == 2
        plt.close(ax.figure)


def test_what_was_never_heard_is_a_ring_what_comes_again_a_dot_and_what_is_gone_a_dashed_line():
    def heard(time: float, who: str, seq: int) -> Event:
        return Event(time, "heard", who, f"Ann {seq}", seq)

    events = [Event(0, "joined", "Cy"), Event(0, "joined", "Bob"), *(heard(seq, "Bob", seq) for seq in range(1, 9))]
    events += [heard(1.1, "Cy", 1), heard(2.1, "Cy", 2), heard(4.1, "Cy", 4), heard(4.2, "Cy", 2)]
    events += [Event(6.5, "told a gap", "Cy", f"5 to {10**15}", 10**15), heard(8.1, "Cy", 8)]
    people = Client("Bob"), Client("Cy")
    ax = plots.resume(
        Trace("v7", people, seed=0, events=sorted(events, key=lambda event: event.time), duration=10), "Cy"
    )
    alarms = [line for line in ax.lines if line.get_color() == plots.ALARM]
    rings, dots = (
        [line.get_xydata().tolist() for line in alarms if line.get_fillstyle() == f] for f in ("none", "full")
    )
    assert rings == [[[3, 3]]] and dots == [[[4.2, 2]]]
    assert [line.get_ydata().tolist() for line in ax.lines if line.get_linestyle() == "--"] == [[5, 10**15]]
    assert [text.get_text() for text in ax.texts] == [f"5 to {10**15} are gone"]
    plt.close(ax.figure)


# ---------------------------------------------------------------- orders


def talk_at_three_servers(room):
    talk = [talker(name, at=[1 + number / 5 for number in range(4)], size=20) for name in ("Ann", "Bob", "Cy")]
    people = [*talk, *map(listener, ("Di", "Eve", "Flo"))]
    return simulate(partial(room, limit=None), Scenario(people, duration=4, servers=3), seed=1)


def test_lines_cross_where_two_people_heard_two_messages_the_other_way_round():
    ax = plots.orders(talk_at_three_servers(LocalFirst), "Di", "Eve", "Flo")
    crossing = [line for line in ax.lines if line.get_color() == plots.ALARM]
    assert crossing and re.fullmatch(r"LocalFirst: \d+ crossings", ax.get_title(loc="left"))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["Di, room 1", "Eve, room 2", "Flo, room 3"]


def test_where_all_hear_one_order_no_line_crosses():
    ax = plots.orders(talk_at_three_servers(v9.Room), "Di", "Eve", "Flo", first=5)
    assert ax.get_title(loc="left") == "v9: 0 crossings" and not [c for c in ax.lines if c.get_color() == plots.ALARM]
    assert len(ax.lines) == 2 * 5 + 3 * 3  # of each message to the next row; in each row the markers of each speaker


@pytest.mark.parametrize("names", [("Di",), ("Di", "Nobody")])
def test_an_order_needs_two_people_who_have_heard_something(names):
    with pytest.raises(ValueError, match="people who have heard something: (two or more|not Nobody)"):
        plots.orders(talk_at_three_servers(v9.Room), *names)
