"""Figures without matplotlib: the same marks and words as with it, and no name is taken for SVG."""

import json
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pytest
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, Polygon, Rectangle, StepPatch
from matplotlib.ticker import MaxNLocator

from chatroom_lib import (
    Scenario,
    frozen,
    late_joiner,
    listener,
    plots,
    scenarios,
    simulate,
    slow_reader,
    talker,
)
from chatroom_lib.bench.report import Report
from chatroom_lib.plots import canvas, svg
from tests.test_storm import RESULT as STORM

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results.json"
ANN = talker("Ann", says=60, every=0.03)
TWO = [talker(name, says=40, every=0.02) for name in ("Ann", "Di")]


@pytest.fixture(scope="module")
def traces():
    killed = [frozen("Bob", vanishes=1), listener("Cy"), listener("Di")]
    few = [talker("Ann", says=5, every=0.3, size=4000), frozen("Bob", vanishes=1.3), listener("Cy")]
    late = [talker("Ann", says=12, every=0.05), slow_reader("Bob", pause=0.1), late_joiner("Eve", joins=0.3)]
    return {
        "killed": simulate("v1.1", Scenario([ANN, *killed], duration=2.5), seed=1),
        "few": simulate("v1.1", Scenario(few, duration=3), seed=1),
        "lock": simulate("v2", Scenario(late, duration=4), seed=1),
        "deadlock": simulate("v2-rw", Scenario([ANN, frozen("Bob"), talker("Cy", says=4)], duration=4), seed=1),
        "two": simulate("v1", Scenario([*TWO, slow_reader("Bob", pause=0.02), listener("Cy")], duration=60), seed=0),
        "outbox": simulate("v3.1", scenarios.SCENARIOS["slow reader"], seed=1),
        "restart": simulate("v7", scenarios.SCENARIOS["restart"], seed=1),
    }


LINES = {"v2": [(1, 2.0), (2, 20), (4, 220), (8, 2300)], "v3": [(1, 1.0), (2, 15), (4, 300), (8, 700)]}
FIGURES = {
    "heard": lambda t, ax: plots.heard(t["killed"], ax),
    "pool": lambda t, ax: plots.pool(t["killed"], ax),
    "space_time": lambda t, ax: plots.space_time(t["few"], ax),
    "passed": lambda t, ax: plots.passed({"one": t["killed"], "two": t["lock"]}, "Ann", ax),
    "pool_size": lambda t, ax: plots.pool_size(t["killed"], t["lock"], ax=ax),
    "failed_sends": lambda t, ax: plots.failed_sends(t["killed"], ax),
    "sends_in_flight": lambda t, ax: plots.sends_in_flight(t["killed"], ax=ax),
    "depth": lambda t, ax: plots.depth(t["outbox"], what="Bob's outbox", ax=ax),
    "curves": lambda t, ax: plots.curves(LINES, "people", "ms", ax),
    "curves, log": lambda t, ax: plots.curves(LINES, "people", "ms", ax, log=True),
    "shares": lambda t, ax: plots.shares({"v1.1": 72.0, "mine": 4.0}, "% of days", ax),
    "latency": lambda t, ax: plots.latency(t["killed"], t["lock"], ax=ax),
    "lock": lambda t, ax: plots.lock(t["lock"], ax=ax),
    "wait_for": lambda t, ax: plots.wait_for(t["deadlock"], ax),
    "orders": lambda t, ax: plots.orders(t["two"], "Bob", "Cy", ax=ax),
    "resume": lambda t, ax: plots.resume(t["restart"], *t["restart"].names[:2], ax=ax),
    "writing": lambda t, ax: plots.writing({"v7": t["restart"]}, ax=ax),
    "storm": lambda t, ax: plots.storm(STORM, ax=ax)[0],
    "ratios": lambda t, ax: plots.ratios({"v4": 2.1, "FastAPI": 0.3, "picows": None}, "times", ax, {"v4": [2, 2.2]}),
    "breakdown": lambda t, ax: plots.breakdown({"v4": {"sockets": 1.5, "loop": 0.5}}, [ax])[0],
    "waiting": lambda t, ax: plots.waiting({"v4": SimpleNamespace(limit_ms=100, points=LINES["v2"])}, ax),
    "a reader's own": lambda t, ax: a_readers_own(ax),
}
each_figure = pytest.mark.parametrize("name", FIGURES)


def a_readers_own(ax) -> None:
    ax.step([0, 1, 3], [0, 4, 5], where="post", color=plots.MUTED, linestyle="--")
    ax.plot([0, 1, 2], [1, 2, 3], ".", color="black")
    ax.plot([0, 1, 2], [2, 3, 4], "s-.", color="#123456")
    ax.barh(2, 3, color=plots.ALARM, height=0.6)
    ax.text(1, 2, "a word", va="center")
    ax.axvline(2, color=plots.MUTED, linestyle=":")
    ax.set_title("mine", loc="left")
    ax.set(xlabel="seconds", ylim=(0, 6), yticks=[])
    ax.margins(x=0.12)


def drawn_with_matplotlib(draw) -> dict[str, int]:
    """How many lines, markers, bars, ... are on it."""
    figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
    try:
        draw(ax)
        lines = [each for each in ax.get_children() if isinstance(each, Line2D)]
        scattered = [each for each in ax.collections if not isinstance(each, LineCollection)]
        return {
            "lines": sum(each.get_linestyle() != "None" and len(each.get_xdata()) > 1 for each in lines)
            + sum(len(each.get_segments()) for each in ax.collections if isinstance(each, LineCollection))
            + sum(not each.get_fill() for each in ax.patches if isinstance(each, StepPatch)),
            "markers": sum(map(markers, lines)) + sum(len(each.get_offsets()) for each in scattered),
            "bars": sum(isinstance(each, Rectangle | Polygon) for each in ax.patches),
            "areas": sum(isinstance(each, StepPatch) and each.get_fill() for each in ax.patches),
            "texts": sorted(words(each.get_text() for each in ax.texts)),
            "title": ax.get_title(loc="left"),
            "arrows": sum(
                isinstance(each.arrow_patch, FancyArrowPatch) for each in ax.texts if hasattr(each, "arrow_patch")
            ),
        }
    finally:
        plt.close(figure)


def markers(line: Line2D) -> int:
    if line.get_marker() in ("None", "", None):
        return 0
    points = sum(map(math.isfinite, line.get_xdata()))
    return points if line.get_markevery() is None else len(line.get_markevery())


def words(texts) -> list[str]:
    return [line.strip().replace(r"\$", "$") for text in texts for line in text.split("\n") if line.strip()]


def drawn_as_svg(draw) -> tuple[dict[str, int], ElementTree.Element]:
    figure, ax = svg.subplots(figsize=(7, 3))
    draw(ax)
    root = ElementTree.fromstring(figure._repr_svg_())
    tags = [(each.tag.rpartition("}")[2], each.get("class")) for each in root.iter()]
    inner = [each for group in root.iter() if group.get("class") == "text" for each in group.iter()]
    return {
        "lines": sum(tag == "polyline" and kind is None for tag, kind in tags),
        "markers": sum(kind == "marker" for _, kind in tags),
        "bars": sum(kind == "bar" for _, kind in tags),
        "areas": sum(kind == "area" for _, kind in tags),
        "texts": sorted(words(each.text for each in inner if each.tag.endswith("}text"))),
        "title": ax.title[0] if ax.title else "",
        "arrows": sum(kind == "arrow" for _, kind in tags),
    }, root


@each_figure
def test_a_figure_has_the_same_marks_with_and_without_matplotlib(name, traces):
    def draw(ax):
        return FIGURES[name](traces, ax)

    expected = drawn_with_matplotlib(draw)
    found, _ = drawn_as_svg(draw)
    assert found == expected and sum(expected[each] for each in ("lines", "markers", "bars", "arrows")) > 0


PARTS = {"v3.1": {"sockets": 1.5, "loop": 0.5}, "v4": {"loop": 0.1, "sockets": 1.1}}
OF_PANELS = {
    "breakdown": lambda: plots.breakdown(PARTS),
    "storm": lambda: plots.storm(STORM, STORM),
    "scaling": lambda: plots.scaling(Report.from_dict(json.loads(RESULTS.read_text())), "clients"),
}


def said_by_matplotlib(figure) -> Iterator[str]:
    figure.canvas.draw()
    yield figure.get_suptitle()
    for ax in figure.axes:
        yield from (ax.get_title(loc="left"), ax.get_xlabel(), ax.get_ylabel(), *(each.get_text() for each in ax.texts))
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            yield from (tick.label1.get_text() for tick in ticks if tick.label1.get_visible())


@pytest.mark.parametrize("draw", OF_PANELS.values(), ids=OF_PANELS)
def test_a_figure_of_several_panels_says_the_same_with_and_without_matplotlib(draw, monkeypatch):
    draw()
    expected = words(said_by_matplotlib(plt.gcf()))
    plt.close("all")
    svg.unshown()
    monkeypatch.setattr(canvas, "plt", None)
    draw()
    (figure,) = svg.unshown()
    texts = [each.text for each in ElementTree.fromstring(figure._repr_svg_()).iter() if each.tag.endswith("}text")]
    assert sorted(words(texts)) == sorted(expected) != []


@each_figure
def test_no_word_of_a_figure_is_cut(name, traces):
    figure, ax = svg.subplots(figsize=(7, 3))
    FIGURES[name](traces, ax)
    figure.lay_out()
    boxes = [mark.bounds(ax.place) for mark in ax.marks if isinstance(mark, svg.marks.Text)]
    assert all(left >= 0 and right <= figure.width for left, _, right, _ in boxes)
    assert all(top >= -1 and bottom <= figure.height + 1 for _, top, _, bottom in boxes)
    left, top, right, bottom = ax.rectangle
    assert 0 < left < right < figure.width and 0 < top < bottom <= figure.height


def test_the_ticks_are_round_numbers_within_the_limits():
    _, ax = svg.subplots()
    ax.plot([0, 3.7], [0, 17], color="#000000")
    ax.set_xlim(0, 3.7)
    assert [text for _, text in ax.x.ticks_shown(400)] == ["0.0", "0.5", "1.0", "1.5", "2.0", "2.5", "3.0", "3.5"]
    canvas.whole_numbers(ax)
    ax.set_ylim(0, 3)
    assert [text for _, text in ax.y.ticks_shown(200)] == ["0", "1", "2", "3"]


@pytest.mark.parametrize("most", [0.02, 0.2, 1, 3.7, 17, 128, 1234, 99999])
def test_ticks_are_those_of_matplotlib(most):
    figure, of_matplotlib = plt.subplots(figsize=(7, 3))
    _, ax = svg.subplots()
    for each in (of_matplotlib, ax):
        each.plot([0, most], [0, most], color="black")
        each.set(xlim=(0, most), ylim=(0, 1.05 * most))
        if most > 1:
            canvas.whole_numbers(each)
    try:
        box = of_matplotlib.get_window_extent()
        for ours, theirs, length in ((ax.x, of_matplotlib.xaxis, box.width), (ax.y, of_matplotlib.yaxis, box.height)):
            low, high = theirs.get_view_interval()
            figure.canvas.draw()
            expected = [tick.label1.get_text() for tick in theirs.get_major_ticks() if low <= tick.get_loc() <= high]
            assert [text for _, text in ours.ticks_shown(length * 72 / figure.dpi)] == expected
    finally:
        plt.close(figure)


def test_the_words_of_ticks_do_not_touch():
    _, ax = svg.subplots()
    ax.plot([1e-3, 1e9], [1, 2], color="black")
    ax.set(xscale="log")
    texts = [text for _, text in ax.x.ticks_shown(300)]
    assert "1" in texts and 2 <= len(texts) < 7
    _, ax = svg.subplots()
    ax.plot([0, 2_500_000], [1, 2], color="black")
    assert 2 <= len(ax.x.ticks_shown(200)) < 5


def test_an_axis_on_which_all_is_at_one_place_has_ticks():
    for log in ("linear", "log"):
        _, ax = svg.subplots()
        ax.plot([3], [7.3], color="black")
        ax.set(xscale=log, yscale=log)
        assert ax.x.ticks_shown(400) and ax.y.ticks_shown(200)


def test_a_logarithmic_axis_begins_at_the_least_of_what_is_positive_however_much_is_drawn():
    _, ax = svg.subplots()
    ax.plot(range(-5, 9_995), range(10_000), color="black")
    ax.plot([0.1, 10], [0, 0], color="black")
    ax.set(xscale="log")
    low, high = ax.x.limits()
    assert -1.5 < low < -1 and 4 < high < 4.5
    assert len(ax.x.values) <= 3  # which are looked through for each point that is drawn


def test_names_are_words_and_nothing_else(traces):
    name = "<script>alert(1)</script>&\"'"
    trace = simulate("v1.1", Scenario([talker(name, says=3), listener("Cy")], duration=2), seed=1)
    figure, ax = svg.subplots()
    plots.heard(trace, ax)
    text = figure._repr_svg_()
    assert "<script" not in text and "&lt;script&gt;" in text
    assert name in [each.text for each in ElementTree.fromstring(text).iter() if each.tag.endswith("}text")]


def test_panels_share_their_axis_and_say_so_once():
    figure, (left, right) = svg.subplots(1, 2, sharey=True)
    plots.curves({"v2": [(1, 2.0), (2, 2.5)]}, "readers", "seconds", left)
    plots.curves({"v2": [(1, 2.0), (2, 9.0)]}, "times as slow", "", right)
    figure.lay_out()
    assert left.y.limits() == right.y.limits()
    assert [place for place, _ in right.ticks_y()] == [place for place, _ in left.ticks_y()] and left.ticks_y()[0][1]
    assert not any(text for _, text in right.ticks_y())
    assert left.rectangle[2] < right.rectangle[0]


def test_panels_are_of_one_size_whatever_is_written_beside_them():
    figure, axs = svg.subplots(3, 1, figsize=(7, 4.5), sharex=True, sharey=True)
    plots.storm(STORM, STORM, STORM, ax=axs)
    figure.lay_out()
    heights = [bottom - top for _, top, _, bottom in (ax.rectangle for ax in axs)]
    assert max(heights) - min(heights) < 0.1 and min(heights) > 72 * 4.5 / 3 / 2
    assert [any(text for _, text in ax.ticks_x()) for ax in axs] == [False, False, True]


def test_a_label_that_is_longer_than_its_axis_leaves_it_as_long():
    figure, ax = svg.subplots(figsize=(7, 2))
    plots.curves({"v2": [(1, 2.0)]}, "people", "messages that wait for " + "Bob" * 20, ax)
    root = ElementTree.fromstring(figure._repr_svg_())
    assert ax.rectangle[3] - ax.rectangle[1] > figure.height / 2
    assert float(root.get("viewBox").split()[3]) > figure.height


def test_the_rows_of_all_panels_are_in_the_order_of_their_names():
    _, axs = svg.subplots(1, 2, sharex=True, sharey=True)
    plots.breakdown(PARTS, axs)
    axs[0].figure.lay_out()
    for ax, widths in zip(axs, ([1.5, 0.5], [1.1, 0.1])):
        bars = sorted((ax.place(0, sum(bar.y) / 2)[1], bar.x[1]) for bar in ax.marks if isinstance(bar, svg.marks.Bar))
        assert [width for _, width in bars] == widths


def test_what_is_drawn_is_handed_out_once():
    svg.unshown()
    figure, _ = svg.subplots()
    assert svg.unshown() == [figure] and svg.unshown() == []


def test_what_it_does_not_know_is_an_error():
    _, ax = svg.subplots()
    calls = {
        "pie": lambda: ax.pie([1]),
        "alpha": lambda: ax.plot([1], [1], color="black", alpha=0.5),
        "'r'": lambda: ax.plot([1], [1], "r-", color="black"),
        "'C0'": lambda: ax.plot([1], [1], color="C0"),
        "'P'": lambda: ax.plot([1], [1], "P", color="black"),
        "'dotted'": lambda: ax.axhline(1, color="black", linestyle="dotted"),
        "'middle'": lambda: ax.set_title("a title", loc="middle"),
        "'lef'": lambda: ax.spines["lef"].set_visible(False),
    }
    for word, call in calls.items():
        with pytest.raises((AttributeError, TypeError, KeyError), match=word):
            call()
    assert not ax.marks


WITHOUT = """
import sys
for name in ("matplotlib", "numpy", "psutil", "ipywidgets"):
    sys.modules[name] = None
from chatroom_lib import Scenario, listener, plots, simulate, talker
ax = plots.heard(simulate("v1", Scenario([talker("Ann", says=3), listener("Bob")]), 1))
left, right = plots.panels(2)
print(type(ax).__module__, ax.figure._repr_svg_()[:4], left.figure is right.figure)
"""


def test_without_matplotlib_figures_are_svg_by_themselves():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True)
    assert done.stdout == "chatroom_lib.plots.svg.axes <svg True\n", done.stderr


def test_with_matplotlib_panels_are_its_own():
    try:
        assert all(isinstance(ax, plt.Axes) for ax in (*plots.panels(1), *plots.panels(2), *plots.panels(2, rows=2)))
    finally:
        plt.close("all")


@pytest.mark.parametrize("sharex", [False, True])
@pytest.mark.parametrize("sharey", [False, True])
def test_panels_share_the_same_axes_with_and_without_matplotlib(monkeypatch, sharex, sharey):
    options = dict(rows=2, width=8, sharex=sharex, sharey=sharey)
    of_matplotlib = plots.panels(2, **options)
    monkeypatch.setattr(canvas, "plt", None)
    axs = plots.panels(2, **options)
    try:
        for what, joined in (("x", "get_shared_x_axes"), ("y", "get_shared_y_axes")):
            found = [[a is not b and getattr(a, what) in getattr(b, what).twins for a in axs] for b in axs]
            shared = getattr(of_matplotlib[0], joined)()
            assert found == [[a is not b and shared.joined(a, b) for a in of_matplotlib] for b in of_matplotlib]
        assert (axs[0].figure.width, axs[0].figure.height) == (8 * 72, 3 * 72)
    finally:
        plt.close("all")
        svg.unshown()


def test_only_one_file_of_the_figures_imports_matplotlib():
    files = Path(canvas.__file__).parent.rglob("*.py")
    importing = re.compile(r"^ {0,4}(import|from) (matplotlib|numpy)", re.MULTILINE)
    found = [file.name for file in files if importing.search(file.read_text(encoding="utf-8"))]
    assert sorted(found) == ["canvas.py", "dashboard.py"]  # the latter in a function, for a server that runs


def test_with_matplotlib_whole_numbers_are_those_that_its_locator_chooses():
    figure, ax = plt.subplots()
    canvas.whole_numbers(ax)
    try:
        assert list(ax.yaxis.get_major_locator().tick_values(0, 39)) == list(
            MaxNLocator(integer=True).tick_values(0, 39)
        )
    finally:
        plt.close(figure)


def test_an_arrow_goes_from_box_to_box_without_a_gap(traces):
    figure, ax = svg.subplots(figsize=(20, 3))
    plots.wait_for(traces["deadlock"], ax)
    root = ElementTree.fromstring(figure._repr_svg_())
    outlines = [mark.outline(ax.place) for mark in ax.marks if isinstance(mark, svg.marks.Text) and mark.box]
    for arrow in (each for each in root.iter() if each.get("class") == "arrow"):
        shaft, head = ([tuple(map(float, xy.split(","))) for xy in part.get("points").split()] for part in arrow)
        assert math.dist(shaft[-1], head[0]) < 1.1 * math.dist(head[0], head[1])
        assert all(min(distance(end, outline) for outline in outlines) < 8 for end in (shaft[0], head[0]))


def distance(point: tuple[float, float], rectangle: tuple[float, float, float, float]) -> float:
    (x, y), (left, top, right, bottom) = point, rectangle
    return math.hypot(max(left - x, 0, x - right), max(top - y, 0, y - bottom))


def test_a_line_across_the_axes_ends_below_what_is_written_above_it():
    figure, ax = svg.subplots()
    ax.axvline(1, color=plots.MUTED, ymax=0.75)
    figure.lay_out()
    _, top, _, bottom = ax.rectangle
    (line,) = ax.marks
    assert ax.place(1, line.ys[1])[1] == pytest.approx(bottom - 0.75 * (bottom - top))


def test_a_label_at_a_point_far_outside_takes_no_space(traces):
    figure, ax = svg.subplots()
    ann, bob, *_ = traces["restart"].names
    plots.resume(traces["restart"], ann, bob, between=(1, 1.1), ax=ax)
    figure.lay_out()
    left, _, right, _ = ax.rectangle
    assert right - left > figure.width / 2
    assert f">{ann}<" not in figure._repr_svg_()


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\ufffe", "\ud800"])
def test_what_xml_does_not_know_breaks_no_figure(character):
    figure, ax = svg.subplots()
    ax.set_title(f"Ann{character}")
    ax.text(0, 0, f"Bob{character}")
    texts = [each.text for each in ElementTree.fromstring(figure._repr_svg_()).iter()]
    assert "Ann\ufffd" in texts and "Bob\ufffd" in texts


def test_a_name_that_is_longer_than_the_figure_makes_the_picture_larger(traces):
    figure, ax = svg.subplots()
    plots.heard(simulate("v1", Scenario([talker("W" * 90, says=3), listener("Cy")], duration=2)), ax)
    root = ElementTree.fromstring(figure._repr_svg_())
    left, _, width, _ = map(float, root.get("viewBox").split())
    assert width > figure.width and left <= min(x for x, *_ in ax.decorations()) - 0.98 * 10 * 90
    assert ax.rectangle[2] - ax.rectangle[0] >= figure.width / 4
