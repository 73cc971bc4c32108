"""How many people fit is the largest room of an open load that keeps the limit, in the best of a few tries."""

import importlib.util
import json
from pathlib import Path

import pytest

from chatroom_lib import bench, plots
from chatroom_lib.bench import BenchError, Measurement, largest_room

ROOT = Path(__file__).parent.parent


@pytest.fixture
def measuring(monkeypatch):
    """Nothing is measured: a list of p99s is answered, one after another (None: nothing could be measured)."""
    calls = []

    def install(*p99s, lost=0):
        answers = iter(p99s)

        def fake(target, clients, **load):
            calls.append((clients, load["rate"]))
            if (p99 := next(answers)) is None:
                raise BenchError("too slow")
            return Measurement(clients, 1.0, 9, 9, lost, 1.0, p99, server_cpu=1.0, generator_cpu=0.5)

        monkeypatch.setattr(largest_room, "measure", fake)
        return calls

    return install


def test_rooms_grow_until_one_is_too_slow_in_all_tries(measuring):
    calls = measuring(10, 20, 300, 250)
    found = bench.capacity("v4", (100, 200, 400, 800), tries=2)
    assert calls == [(100, 10), (200, 20), (400, 40), (400, 40)]
    assert (found.people, found.too_many) == (200, 400) and str(found) == "200 fit, 400 do not"
    assert found.points == [(100, 10), (200, 20), (400, 250)]


def test_one_good_try_is_enough_and_the_last_that_is_tried(measuring):
    calls = measuring(900, 10)
    found = bench.capacity("v4", [100], tries=3)
    assert len(calls) == 2 and found.people == 100 and found.too_many is None
    assert str(found) == "100 fit; more were not tried"


def test_who_waits_as_long_as_the_limit_waits_too_long(measuring):
    measuring(50, 50)
    assert bench.capacity("v4", [100], limit_ms=50, tries=1).people == 0
    assert bench.capacity("v4", [100], limit_ms=51, tries=1).people == 100


def test_a_room_that_loses_messages_does_not_fit(measuring):
    measuring(10, lost=1)
    found = bench.capacity("v4", [100], tries=1)
    assert (found.people, found.too_many) == (0, 100)


def test_a_size_that_cannot_be_measured_does_not_fit(measuring):
    measuring(10, None, None)
    found = bench.capacity("v4", (100, 200, 300), tries=2)
    assert (found.people, found.too_many, len(found.tried)) == (100, 200, 1)


def test_the_figure_has_a_line_for_each_room_and_one_for_the_limit(measuring):
    measuring(10, 300)
    ax = plots.waiting({"v4": bench.capacity("v4", (100, 200), tries=1)})
    line, limit = ax.lines
    assert list(line.get_xdata()) == [100, 200] and list(line.get_ydata()) == [10, 300]
    assert set(limit.get_ydata()) == {200} and {text.get_text() for text in ax.texts} == {"v4", "200 ms"}


@pytest.mark.real
@pytest.mark.exclusive
def test_a_few_people_fit():
    assert bench.capacity("v4", (3, 5), every=0.1, warm_up=0.05, seconds=0.2).people == 5


def test_the_search_for_the_page_keeps_what_each_round_has_tried(measuring, monkeypatch):
    spec = importlib.util.spec_from_file_location("run_benchmarks", ROOT / "tools" / "run_benchmarks.py")
    run = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(run)
    monkeypatch.setattr(bench, "ON_CURVES", ("v4",), raising=False)
    measuring(*[10, 300, 300, 300] * run.ROUNDS)
    result = json.loads(json.dumps(run.capacities()))
    assert result["people"] == {"v4": [300] * 3} and len(result["rounds"][0]["v4"]["tried"]) == 2
