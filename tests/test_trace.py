"""What is read from a trace, on traces made by hand; and that each figure shows it."""

import pickle
import re

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pytest
from matplotlib.collections import PathCollection
from websockets.asyncio.server import ServerConnection

from chatroom_lib import Scenario, frozen, leaving, listener, live, plots, run, simulate, slow_reader, talker
from chatroom_lib.clients.scenario import Client
from chatroom_lib.instrumentation.pool import Pool
from chatroom_lib.trace import KINDS, Event, Trace, percentile


def trace_of(*events: tuple, clients=("Ann", "Bob"), **fields) -> Trace:
    people = tuple(Client(name, joins=0) for name in clients)
    return Trace("v1.1", people, seed=0, events=[Event(*event) for event in events], duration=10, **fields)


def test_latency_counts_from_saying_to_hearing():
    trace = trace_of((1, "said", "Ann", "Ann 1"), (1.5, "heard", "Bob", "Ann 1"), (2, "heard", "Ann", "Ann 1"))
    assert [(event.who, delay) for event, delay in trace.latencies()] == [("Bob", 0.5), ("Ann", 1)]


def test_pool_and_memberships():
    trace = trace_of((1, "entered", "Ann"), (2, "entered", "Bob"), (3, "removed", "Ann"), (4, "entered", "Ann"))
    assert trace.pool_size() == [(0, 0), (1, 1), (2, 2), (3, 1), (4, 2)]
    assert sorted(trace.memberships()) == [("Ann", 1, 3), ("Ann", 4, 10), ("Bob", 2, 10)]


def test_whoever_is_in_the_pool_at_the_end():
    ends = [(1, "entered", "Ann"), (2, "entered", "Bob"), (10, "removed", "Ann"), (10, "removed", "Bob")]
    trace = trace_of(*ends, (10, "entered", "Ann"))
    assert trace.in_pool() == ["Ann"]


def test_a_connection_that_is_let_go_while_another_clock_runs_leaves_after_it_has_entered():
    """A simulated room's clock may be ahead of the one by which somebody looks who is in the pool."""

    class Room:
        people = [ServerConnection.__new__(ServerConnection)]

        def members(self):
            return self.people

    clock = 2.0
    Room.people[0].name = "Ann"
    trace = Trace("Room", (Client("Ann"),), clock=lambda: clock)
    pool = Pool(Room(), trace)
    pool.update()
    clock = 1.9
    Room.people.clear()
    pool.update()
    clock = 3.0
    trace.finish("quiescent", [], [])
    assert [event.kind for event in trace.events] == ["entered", "removed"] and trace.in_pool() == []


def test_events_are_found_also_while_they_still_come():
    trace = trace_of((1, "said", "Ann", "Ann 1"))
    assert len(trace.of("said")) == 1 and trace.of("heard") == []
    trace.events.append(Event(2, "heard", "Bob", "Ann 1"))
    assert len(trace.of("heard")) == 1 and len(trace.of("said", "heard")) == 2
    assert [event.kind for event in trace.of("heard", "said", who="Ann")] == ["said"]


class ReadEvents(list):
    """Counts how many of its items were read."""

    read = 0

    def __getitem__(self, place):
        self.read += 1
        return super().__getitem__(place)

    def __iter__(self):
        for event in super().__iter__():
            self.read += 1
            yield event


def test_each_event_is_looked_at_once_however_often_one_asks_while_they_come():
    trace = trace_of()
    trace.events = ReadEvents()
    for number in range(100):
        trace.events.append(Event(number, "said", "Ann", f"Ann {number}"))
        assert trace.of("heard") == []
    assert trace.events.read == 100


@pytest.mark.parametrize(
    "kinds", [("said",), ("heard", "said"), ("said", "said"), ("left", "entered", "heard"), ("no",)]
)
def test_events_of_several_kinds_come_in_the_order_of_time(kinds):
    trace = simulate("v1", Scenario([talker("Ann"), slow_reader("Bob"), talker("Cy", leaves=1)]), 1)
    assert trace.of(*kinds) == [event for event in trace.events if event.kind in kinds]
    assert trace.of(*kinds, who="Cy") == [event for event in trace.events if event.kind in kinds and event.who == "Cy"]


@pytest.mark.parametrize("end", ["left", "vanished", "lost"])
def test_only_who_is_removed_while_connected_is_evicted(end):
    trace = trace_of((1, "removed", "Ann"), (2, end, "Ann"), (3, end, "Bob"), (4, "removed", "Bob"))
    assert trace.evicted() == {"Ann": 1}


def test_a_given_up_connection_that_is_removed_when_the_next_one_is_open_was_not_evicted():
    tries = (1, "knocked", "Ann"), (2, "entered", "Ann"), (3, "entered", "Ann"), (3.1, "joined", "Ann")
    trace = trace_of(*tries, (4, "removed", "Ann", "in since 2"))
    assert trace.evicted() == {}
    assert trace_of(*tries, (4, "removed", "Ann", "in since 3")).evicted() == {"Ann": 4}


def test_whoever_gave_up_before_they_knew_that_they_were_in_is_not_evicted_and_hears_from_the_next_time_on():
    trace = trace_of(
        (1, "knocked", "Ann"), (1.1, "entered", "Ann"), (1.2, "removed", "Ann"), (1.5, "said", "Bob", "Bob 1"),
        (2.9, "entered", "Ann"), (3, "joined", "Ann"), (4, "said", "Bob", "Bob 2"),
    )  # fmt: skip
    assert trace.given_up("Ann") == {1.1: 1.2} and trace.evicted() == {}
    assert trace.missed()["Ann"] == ["Bob 2"]


def test_what_is_heard_in_the_moment_of_joining_is_not_lost():
    trace = trace_of(
        (1, "heard", "Ann", "Ann 1"), (1.1, "heard", "Ann", "Ann 2"), (2, "killed", "room"),
        (3, "joined", "Eve"), (3, "heard", "Eve", "Ann 1"),
    )  # fmt: skip
    trace.clients = (listener("Eve", path="/chatroom?last=1000"),)
    assert trace.lost() == ["Ann 2"]


def test_errors_are_counted_for_each_message():
    trace = trace_of(
        (1, "accepted", "Ann", "Ann 1"), (1.1, "failed", "Bob", "Ann 1"), (1.2, "failed", "Cy", "Ann 1"),
        (2, "accepted", "Ann", "Ann 2"),
    )  # fmt: skip
    assert trace.failed_per_broadcast() == [(1, 2), (2, 0)]


def test_sends_under_way_rise_and_fall():
    trace = trace_of((1, "sending", "Ann"), (2, "overlap", "Ann"), (3, "sent", "Ann"), (4, "failed", "Ann"))
    assert [count for _, count in trace.sends_in_flight()] == [0, 1, 2, 1, 0]


def test_disagreements_name_who_heard_what_first():
    trace = trace_of(
        (0, "said", "Ann", "Ann 1"), (0, "said", "Ann", "Ann 2"),
        (1, "heard", "Ann", "Ann 1"), (2, "heard", "Ann", "Ann 2"), (3, "heard", "Ann", "chatroom hello"),
        (1, "heard", "Bob", "chatroom hello"), (1, "heard", "Bob", "Ann 2"), (2, "heard", "Bob", "Ann 1"),
        (3, "heard", "Bob", "Ann 2"),
    )  # fmt: skip
    assert trace.disagreements() == [("Ann", "Bob", "Ann 1", "Ann 2")]  # neither the room's own words nor an echo count


JOINED = [(0, "joined", "Ann"), (0, "joined", "Bob"), (0, "entered", "Ann"), (0, "entered", "Bob")]
SAID = [(1, "said", "Ann", "Ann 1"), (1.1, "accepted", "Ann", "Ann 1"), (1.2, "heard", "Ann", "Ann 1")]


@pytest.mark.parametrize(
    "more, undelivered",
    [
        ([], {"Bob": ["Ann 1"]}),
        ([(2, "heard", "Bob", "Ann 1")], {}),
        ([(2, "left", "Bob")], {}),
        ([(2, "refused", "Ann", "Ann 1")], {}),
    ],
)
def test_undelivered_is_what_somebody_present_has_not_heard(more, undelivered):
    assert trace_of(*JOINED, *SAID, *more).undelivered() == undelivered


TWICE = [(1, "said", "Ann", "Ann ok"), (2, "said", "Ann", "Ann ok"), (2.1, "accepted", "Ann", "Ann ok")]


@pytest.mark.parametrize("hears, missed", [([], 2), ([1.1], 1), ([2.5], 1), ([1.1, 2.2], 0), ([2.2, 2.3], 0)])
def test_what_is_said_twice_is_to_be_heard_twice(hears, missed):
    trace = trace_of(*JOINED, *TWICE, *((time, "heard", "Bob", "Ann ok") for time in hears))
    assert trace.missed()["Bob"] == ["Ann ok"] * missed


def test_one_of_two_that_look_the_same_may_be_refused():
    heard = [(2.5, "heard", "Bob", "Ann ok")]
    for refused in (1.2, 2.2):
        trace = trace_of(*JOINED, *TWICE, (refused, "refused", "Ann", "Ann ok"), *heard)
        assert trace.missed()["Bob"] == []
    assert trace_of(*JOINED, *TWICE, (1.2, "refused", "Ann", "Ann ok")).missed()["Bob"] == ["Ann ok"]


def test_of_two_that_look_the_same_one_that_left_unread_need_not_be_passed_on():
    first = [(1, "said", "Ann", "Ann ok"), (1.1, "accepted", "Ann", "Ann ok"), (1.2, "heard", "Bob", "Ann ok")]
    trace = trace_of(*JOINED, *first, (2, "said", "Ann", "Ann ok"), (2.1, "vanished", "Ann"))
    assert trace.missed()["Bob"] == [] and len(trace.to_pass_on()) == 1


def named(time, kind, who, id, seq=None, message="Ann ok"):
    return time, kind, who, message, seq, id


def test_an_id_tells_which_of_two_that_look_the_same_is_heard():
    said = [named(1, "said", "Ann", "a"), named(2, "said", "Ann", "b"), named(2, "said", "Ann", "c")]
    late = trace_of(*JOINED, *said, named(2.5, "heard", "Bob", "a"))
    assert late.about("heard", "Bob") == [(Event(*named(2.5, "heard", "Bob", "a")), 0)]
    assert late.missed()["Bob"] == ["Ann ok"] * 2 and [delay for _, delay in late.latencies()] == [1.5]
    twice = trace_of(*JOINED, *said, *(named(time, "heard", "Bob", "b") for time in (3, 4)))
    assert twice.missed()["Bob"] == ["Ann ok"] * 2
    others = trace_of(*JOINED, *said, *(named(time, "heard", "Bob", f"the room's {time}") for time in (3, 4, 5)))
    assert others.missed()["Bob"] == []  # the room has ids of its own


def test_what_was_on_the_way_when_a_line_was_cut_is_missed_and_need_not_arrive():
    trace = trace_of(*JOINED, (1, "said", "Ann", "Ann 1"), (3.5, "said", "Ann", "Ann 2"), (4, "away", "Bob"))
    assert trace.missed()["Bob"] == ["Ann 1", "Ann 2"] and trace.missed(on_the_way=1)["Bob"] == ["Ann 1"]


def test_history_has_the_order_of_its_numbers_and_what_was_said_again_has_none():
    said = [(1, "said", "Ann", "Ann 1"), (2, "said", "Ann", "Ann 2"), (6, "said", "Ann", "Ann 3")]
    heard = [(3, "heard", "Bob", "Ann 1", 1), (4, "heard", "Bob", "Ann 2", 2), (7, "heard", "Bob", "Ann 3", 3)]
    late = [(5, "joined", "Cy"), (7, "heard", "Cy", "Ann 3", 3)]
    page = [(8, "heard", "Cy", "Ann 2", 2), (9, "heard", "Cy", "Ann 1", 1)]
    clients = "Ann", "Bob", "Cy"
    assert trace_of(*said, *heard, *late, *page, clients=clients).disagreements() == []
    unnumbered = [event[:4] for event in (*late, *page)]
    assert trace_of(*said, *heard, *unnumbered, clients=clients).disagreements()
    again = [(6, "said again", "Ann", "Ann 1"), (6, "said again", "Ann", "Ann 2")]
    assert trace_of(*said, *heard, *again, *unnumbered, clients=clients).disagreements() == []


def test_what_looks_like_another_message_and_has_no_id_has_no_place_in_an_order():
    said = [(1, "said", "Ann", "Ann ok"), (2, "said", "Ann", "Ann ok")]
    late = [(3, "heard", "Bob", "Ann ok"), (4, "heard", "Bob", "Ann ok")]  # nobody knows which comes first
    trace = trace_of(*said, (1.1, "heard", "Ann", "Ann ok"), (2.1, "heard", "Ann", "Ann ok"), *late)
    assert trace.disagreements() == [] and trace.latencies() == []


def test_whoever_never_got_in_counts_as_undelivered():
    assert trace_of((0, "joined", "Ann")).undelivered() == {"Ann": []}


def test_nothing_is_undelivered_to_whoever_reads_late():
    trace = trace_of(*JOINED, *SAID)
    trace.clients = (trace.clients[0], frozen("Bob", joins=0))
    assert trace.undelivered() == {}


def test_percentiles_by_nearest_rank():
    values = [float(value) for value in range(1, 101)]
    assert [percentile(values, percent) for percent in (0, 1, 50, 99, 100)] == [1, 1, 50, 99, 100]
    assert percentile([7.0], 99) == 7


def test_a_live_run_does_not_know_whether_it_is_stuck():
    trace = run(live("v1", Scenario([talker("Ann", says=1)], duration=0.3)))
    assert trace.stuck is None and trace.seed is None and trace.heard("Ann") == ["Ann 1"]


def test_a_trace_can_be_sent_to_another_process():
    trace = simulate("v1", Scenario([talker("Ann", says=30, every=0.03), frozen("Bob"), listener("Cy")]))
    again = pickle.loads(pickle.dumps(trace))
    assert again.digest() == trace.digest() and again.stuck and again.waits == trace.waits


def test_every_kind_of_event_that_a_run_brings_is_documented():
    trace = simulate("v1.1", Scenario([talker("Ann", says=30), frozen("Bob", vanishes=2), listener("Cy")]))
    kinds = {event.kind for event in trace.events}
    assert kinds <= set(KINDS) and len(kinds) > 8


@pytest.mark.parametrize(
    "wrong", [dict(name="Ann Lee"), dict(name=""), dict(name="Ann", says=-1), dict(name="Ann", joins=-1)]
)
def test_a_client_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError):
        Client(**wrong)


@pytest.mark.parametrize(
    "clients, duration", [([listener("Ann"), listener("Ann")], 1), ([], 0), ([], float("inf")), ([], -1)]
)
def test_a_scenario_that_cannot_be_is_refused(clients, duration):
    with pytest.raises(ValueError):
        Scenario(clients, duration)


# ---------------------------------------------------------------- figures

scenario = Scenario(
    [talker("Ann", says=30, every=0.03), frozen("Bob", vanishes=0.7), listener("Cy"), slow_reader("Di")], duration=20
)


@pytest.fixture(scope="module")
def traces():
    return simulate("v1", scenario), simulate("v1.1", scenario)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def points(ax, marker: str) -> int:
    return sum(len(line.get_xdata()) for line in ax.lines if line.get_marker() == marker)


def test_heard_has_a_dot_for_what_is_heard_at_one_time_and_shows_by_its_size_how_much_that_is(traces):
    ax = plots.heard(traces[0])
    sizes = [size for dots in ax.collections if isinstance(dots, PathCollection) for size in dots.get_sizes()]
    assert sum((size - 12) / 3 for size in sizes) == len(traces[0].of("heard")) > len(sizes)
    assert points(ax, "|") == 30 and points(ax, "x") == 1
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "Ann", "Bob, who\ndoes not read", "Cy", "Di, who\nreads slowly",
    ]  # fmt: skip


def test_heard_says_how_many_come_as_a_burst():
    def bursts(bob) -> list[str]:
        people = [talker("Ann", says=60, every=0.03), bob, listener("Cy")]
        return [text.get_text() for text in plots.heard(simulate("v1", Scenario(people, duration=2.5))).texts]

    assert bursts(listener("Bob")) == []
    ann, cy = bursts(frozen("Bob", vanishes=1))  # what has waited for him reaches both at once
    assert re.fullmatch("×[0-9]+", ann) and re.fullmatch("×[0-9]+", cy)


def test_pool_has_a_bar_for_each_membership_and_a_circle_for_each_eviction(traces):
    ax = plots.pool(traces[1])
    assert len(ax.patches) == len(traces[1].memberships()) == 4
    assert points(ax, "o") == len(traces[1].evicted()) > 0


def test_failed_sends_has_a_cross_for_each_message(traces):
    assert points(plots.failed_sends(traces[0]), "x") == len(traces[0].of("accepted"))


def test_failed_sends_is_a_line_where_the_crosses_would_lie_on_one_another():
    ax = plots.failed_sends(
        simulate("v1", Scenario([talker("Ann", says=70, every=0.5), leaving("Bob", leaves=9)], duration=60))
    )
    assert points(ax, "x") == 0 and [len(line.get_xdata()) for line in ax.lines if line.get_linestyle() == ":"] == [70]


@pytest.mark.parametrize("figure", [plots.pool_size, plots.sends_in_flight])
def test_lines_are_labelled_and_coloured_by_version(figure, traces):
    ax = figure(*traces)
    assert [line.get_color() for line in ax.lines] == [plots.COLOURS["v1"], plots.COLOURS["v1.1"]]
    assert [text.get_text().split(":")[0] for text in ax.texts] == ["v1", "v1.1"]


def test_a_latency_curve_ends_at_the_share_that_was_heard_and_says_what_was_not(traces):
    bob = simulate("v3.1", Scenario([talker("Ann", says=300, every=0.01), slow_reader("Bob", pause=0.1)], duration=60))
    ax = plots.latency(bob, who="Bob")
    lost, (curve, end) = len(bob.missed()["Bob"]), ax.lines
    assert lost > 0 and max(curve.get_ydata()) == end.get_ydata()[0] == pytest.approx((300 - lost) / 3)
    assert f"{lost} of 300 never heard" in ax.texts[0].get_text()
    assert "never" not in plots.latency(traces[0], who="Ann").texts[0].get_text()


def test_latency_curves_are_in_milliseconds_with_plain_numbers_and_labels_beside_them(traces):
    ax = plots.latency(*traces, who="Cy")
    ax.figure.canvas.draw()
    ticks = [label.get_text() for label in ax.get_xticklabels() if label.get_text()]
    assert ticks and all(re.fullmatch(r"[0-9.,]+", tick) for tick in ticks)
    boxes = [text.get_window_extent() for text in ax.texts]
    assert len(boxes) == 2 and not boxes[0].overlaps(boxes[1])
    assert all(ax.figure.bbox.x0 <= box.x0 and box.x1 <= ax.figure.bbox.x1 for box in boxes)


@pytest.mark.parametrize("figure", [plots.heard, plots.pool, plots.pool_size, plots.failed_sends, plots.latency])
def test_figures_are_drawn_where_one_wants_them(figure, traces):
    _, ax = plt.subplots()
    assert figure(traces[0], ax=ax) is ax


@pytest.mark.parametrize("figure", [plots.heard, plots.pool, plots.pool_size, plots.failed_sends, plots.latency])
def test_figures_of_a_run_in_which_nothing_happens_do_not_fail(figure):
    figure(simulate("v1", Scenario([listener("Ann")])))
