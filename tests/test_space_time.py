"""The path of every message, and the space-time diagram that draws it."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pytest

from chatroom_lib import (
    Kill,
    Scenario,
    commuter,
    frozen,
    late_joiner,
    leaving,
    listener,
    plots,
    rooms,
    simulate,
    talker,
)
from chatroom_lib.clients.scenario import Client
from chatroom_lib.reference_rooms import WebsocketsBroadcast
from chatroom_lib.trace import Event, Trace
from chatroom_lib.trace.space_time import MessagePath, SpaceTimeDiagram


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def diagram_of(*events) -> SpaceTimeDiagram:
    people = tuple(Client(name, joins=0) for name in ("Ann", "Bob"))
    entered = [Event(0, "entered", name) for name in ("Ann", "Bob")]
    return SpaceTimeDiagram(
        Trace("v1", people, seed=0, events=entered + [Event(*event) for event in events], duration=99)
    )


def test_a_message_goes_to_the_room_and_from_there_to_everybody():
    diagram = diagram_of(
        (1, "said", "Ann", "Ann 1"), (5, "accepted", "Ann", "Ann 1"), (5, "sending", "Bob", "Ann 1"),
        (70, "sending", "Ann", "Ann 1"), (71, "heard", "Bob", "Ann 1"), (72, "heard", "Ann", "Ann 1"),
    )  # fmt: skip
    assert diagram.instants == [1, 5, 70, 71, 72]
    assert diagram.to_room == [MessagePath("Ann", "Ann 1", 0, 1)]
    assert diagram.from_room == [
        MessagePath("Bob", "Ann 1", 1, 3),
        MessagePath("Ann", "Ann 1", 2, 4),
    ]  # in the order of sending
    assert diagram.withheld == [] and diagram.overtaken == []


def test_what_does_not_arrive_has_no_end():
    diagram = diagram_of(
        (1, "said", "Ann", "Ann 1"), (2, "accepted", "Ann", "Ann 1"), (2, "sending", "Bob", "Ann 1"),
        (3, "said", "Ann", "Ann 2"),
    )  # fmt: skip
    assert diagram.to_room[1] == MessagePath("Ann", "Ann 2", 2, None)  # the room never reads it
    assert diagram.from_room == [MessagePath("Bob", "Ann 1", 1, None)]
    assert diagram.withheld == [MessagePath("Ann", "Ann 1", 1)]  # in the pool, and never sent to


def test_a_message_that_is_heard_twice_has_two_paths():
    diagram = diagram_of(
        (1, "said", "Ann", "Ann 1"), (2, "accepted", "Ann", "Ann 1"), (3, "sending", "Bob", "Ann 1"),
        (4, "heard", "Bob", "Ann 1"), (5, "sending", "Bob", "Ann 1"), (6, "heard", "Bob", "Ann 1"),
        (7, "heard", "Bob", "Ann 1"),
    )  # fmt: skip
    paths = [path for path in diagram.from_room if path.who == "Bob"]
    assert [(path.start, path.stop) for path in paths] == [(1, 6), (2, 3), (4, 5)] and diagram.overtaken == []


def test_a_refusal_or_an_absence_withholds_nothing():
    diagram = diagram_of(
        (1, "said", "Ann", "Ann 1"), (2, "removed", "Bob"), (3, "accepted", "Ann", "Ann 1"),
        (3, "sending", "Ann", "Ann 1"), (4, "said", "Ann", "Ann 2"), (5, "accepted", "Ann", "Ann 2"),
        (6, "refused", "Ann", "Ann 2"),
    )  # fmt: skip
    assert diagram.withheld == [] and diagram.refused == {"Ann 2"}


def test_a_message_heard_after_a_later_one_is_overtaken():
    both = [(time, kind, "Ann", f"Ann {time}") for time in (1, 2) for kind in ("said", "accepted")]
    diagram = diagram_of(
        *both, (5, "heard", "Ann", "Ann 2"), (6, "heard", "Ann", "Ann 1"), (7, "heard", "Bob", "Ann 1")
    )
    assert [(path.who, path.message) for path in diagram.overtaken] == [("Ann", "Ann 1")]


def six_clients(duration: float = 5) -> Scenario:
    talkers = [talker(name, 10, every=0.1) for name in ("Ann", "Bob")]
    others = [listener("Cy"), frozen("Di", vanishes=1), late_joiner("Eve", 0.7), leaving("Fay", 1.2)]
    return Scenario([*talkers, *others], duration)


@pytest.mark.parametrize("room", [*rooms.VERSIONS, WebsocketsBroadcast])
def test_six_people_and_twenty_messages_fit_into_a_picture(room):
    trace = simulate(room, six_clients(60), seed=1)
    diagram, ax = SpaceTimeDiagram(trace), plots.space_time(trace)
    arrived = [path for path in [*diagram.to_room, *diagram.from_room] if path.stop is not None]
    assert len(arrived) == len(trace.of("accepted", "heard"))
    assert sum(line.get_marker() == "o" and line.get_markersize() == 2.5 for line in ax.lines) == len(arrived)
    labels = [label.get_text().split(",")[0] for label in ax.get_yticklabels()]
    assert labels == ["the room", *trace.names]
    ax.figure.canvas.draw()
    assert not ax.get_xticks().size and min(text.get_fontsize() for text in ax.texts) >= 9


def test_deaths_and_evictions_are_marked():
    people = [talker("Ann", says=30, every=0.03), frozen("Bob", vanishes=0.8), listener("Cy"), listener("Di")]
    trace = simulate("v1.1", Scenario(people, duration=60), seed=2)
    ax = plots.space_time(trace)
    marked = {marker: sum(len(line.get_xdata()) for line in ax.lines if line.get_marker() == marker) for marker in "xo"}
    crosses = len(trace.of("vanished")) + 2 * len(SpaceTimeDiagram(trace).withheld)  # a stub has two ends
    assert trace.evicted() and marked["x"] == crosses
    big = [line for line in ax.lines if line.get_marker() == "o" and line.get_markersize() > 5]
    assert sum(len(line.get_xdata()) for line in big) == len(trace.evicted())
    words = [text.get_text().split(",")[0] for text in ax.texts]
    assert words.count("reset") == 1 and words.count("evicted") == len(trace.evicted()) > 1
    assert words.count("still connected") == len(trace.evicted())


def test_what_was_to_be_sent_to_an_evicted_client_is_withheld_from_its_eviction_on():
    diagram = diagram_of(
        (1, "said", "Ann", "Ann 1"), (2, "accepted", "Ann", "Ann 1"), (3, "sending", "Ann", "Ann 1"),
        (4, "removed", "Bob"),
    )  # fmt: skip
    assert diagram.instants == [1, 2, 3, 4] and diagram.withheld == [MessagePath("Bob", "Ann 1", 3)]


def test_a_pause_of_more_than_half_the_run_is_told():
    said = [(time, "said", "Ann", f"Ann {time}") for time in (1, 2, 9, 10)]
    assert diagram_of(*said).pause == (2, 7)
    assert diagram_of(*said[:1]).pause is None
    assert diagram_of(*[(time, "said", "Ann", f"Ann {time}") for time in (1, 5, 9)]).pause is None


def test_it_is_drawn_on_the_given_axes_even_if_nothing_was_said():
    _, ax = plt.subplots()
    assert plots.space_time(simulate("v1", Scenario([listener("Ann")])), ax=ax) is ax


def test_shares_have_a_bar_and_a_number_each():
    ax = plots.shares({"v1": 0.0, "v3": 12.34, "Mine": 100.0}, "% of seeds")
    assert [patch.get_width() for patch in ax.patches] == [0, 12.34, 100]
    assert [text.get_text() for text in ax.texts] == ["0.0 %", "12.3 %", "100.0 %"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["v1", "v3", "Mine"]


def test_the_line_of_the_room_ends_with_a_kill_and_begins_anew():
    diagram = diagram_of(
        (1, "said", "Ann", "Ann 1"), (2, "killed", "room"), (3, "started", "room"), (4, "said again", "Ann", "Ann 1"),
        (5, "accepted", "Ann", "Ann 1"),
    )  # fmt: skip
    assert diagram.running == [(0, 1), (2, None)]
    assert diagram.to_room == [MessagePath("Ann", "Ann 1", 0, None), MessagePath("Ann", "Ann 1", 3, 4)]


def test_a_kill_for_good_leaves_no_line():
    assert diagram_of((1, "said", "Ann", "Ann 1"), (2, "killed", "room")).running == [(0, 1)]


def test_a_kill_is_drawn_as_the_end_of_the_rooms_line():
    people = [commuter("Ann", at=[0.5 + number / 1000 for number in range(3)], size=20), listener("Cy")]
    trace = simulate("v1", Scenario(people, duration=9, kills=[Kill(0.505)]))
    assert trace.of("said again")
    assert [text.get_text() for text in plots.space_time(trace).texts].count("killed") == 1
