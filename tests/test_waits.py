"""Who waits for whom: read from rooms that stand still, put into a graph, and drawn."""

import asyncio
from functools import partial

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pytest
from matplotlib.colors import same_color

from chatroom_lib import Scenario, encode, frozen, listener, live, plots, run, simulate, slow_reader, talker
from chatroom_lib.channels import RWLock
from chatroom_lib.plots.waits import Graph
from chatroom_lib.rooms import v1, v2_rw, v3, v3_1, v3_2
from chatroom_lib.trace import Trace, Use, Wait
from chatroom_lib.trace.deadlock import cycle

SEEDS = range(10)
speaker = talker("Ann", says=60, every=0.02)
frozen_reader = Scenario([speaker, frozen("Bob"), listener("Cy")], duration=60)
frozen_dies = Scenario([speaker, frozen("Bob", vanishes=1), listener("Cy"), listener("Di")], duration=150)
slow = Scenario([speaker, slow_reader("Bob", 0.5), listener("Cy")], duration=3)
BOBS = "Bob's outbox"


def arrows(trace: Trace) -> dict[tuple[str, str], str]:
    """What lies between: {("Ann: broadcast", "Bob"): "send"}."""
    graph = Graph(trace.waits)
    return {(graph.label(start), graph.label(end)): text for (start, end), text in graph.edges.items()}


def blocked(trace: Trace) -> list[Wait]:
    return [wait for wait in trace.waits if wait.blocked]


def cycle_of(trace: Trace) -> list[str]:
    return [wait.name for wait in cycle(trace.waits)]


# ---------------------------------------------------------------- the versions


def test_in_v1_the_speaker_waits_for_a_person():
    trace = simulate("v1", frozen_reader)
    assert arrows(trace) == {("Ann: broadcast", "Bob"): "send"} and cycle_of(trace) == []


def test_in_v2_all_wait_for_who_holds_the_lock_and_that_one_for_a_person():
    trace = simulate("v2", frozen_reader.lasting(600))
    (holder,) = [place for place, wait in enumerate(trace.waits) if wait.on == "Bob" and wait.blocked]
    others = [wait for wait in blocked(trace) if wait.on is None]
    assert len(others) > 30 and {wait.needs for wait in others} == {(holder,)}
    line = f"Ann: broadcast \N{MULTIPLICATION SIGN} {len(others)}"
    assert arrows(trace) == {(line, "Ann: broadcast"): "lock", ("Ann: broadcast", "Bob"): "send"}
    assert cycle_of(trace) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_in_v2_rw_a_broadcast_waits_for_itself_after_a_death(seed):
    trace = simulate("v2-rw", frozen_dies, seed)
    (stuck,) = cycle(trace.waits)
    assert (stuck.name, stuck.kind, stuck.what) == ("Ann: broadcast", "write", "lock")
    assert trace.waits.index(stuck) in stuck.needs


def test_in_v3_the_chain_of_a_slow_reader_ends_in_that_person():
    trace = simulate(partial(v3.Room, outbox_size=4), slow)
    assert arrows(trace) == {
        ("Ann: read", "run_hub"): "incoming", ("run_hub", "Bob: write"): BOBS, ("Bob: write", "Bob"): "send",
    }  # fmt: skip
    assert cycle_of(trace) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_in_v3_the_hub_and_the_writer_of_the_dead_wait_for_each_other(seed):
    trace = simulate(partial(v3.Room, outbox_size=8), frozen_dies, seed)
    assert sorted((wait.doing, wait.kind, wait.what) for wait in cycle(trace.waits)) == [
        ("Room.broadcast", "put", BOBS), ("Room.write", "hand over", "unregister"),
    ]  # fmt: skip
    assert "Bob" not in {end for _, end in arrows(trace)}  # who is gone is not waited for


@pytest.mark.parametrize("room", [partial(v3_1.Room, 8), partial(v3_2.Room, 8, limit=None)], ids=["v3.1", "v3.2"])
@pytest.mark.parametrize("scenario", [slow, frozen_reader, frozen_dies], ids=["slow", "frozen", "dead"])
def test_in_v3_1_and_v3_2_nobody_is_blocked_on_another(room, scenario):
    for seed in SEEDS:
        waits = blocked(simulate(room, scenario, seed))
        assert all(wait.on == wait.visitor == "Bob" for wait in waits)
        assert waits or scenario is frozen_dies


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("room, length", [(partial(v2_rw.Room, delay=0), 1), (partial(v3.Room, outbox_size=8), 2)])
def test_on_real_sockets_the_cycles_are_the_same(room, length):
    trace = run(live(room, frozen_dies.lasting(2)))
    names = [["Ann: broadcast"], ["Bob: write", "run_hub"]][length - 1]
    assert sorted(cycle_of(trace)) == names


# ---------------------------------------------------------------- small rooms


class Small(v1.Room):
    """Each visitor does one step after another: `Ann=[take("one"), 2, put]`; a number is a sleep of so many seconds."""

    def __init__(self, **parts):
        super().__init__()
        self.parts = parts
        self.one, self.two, self.three, self.queue = asyncio.Lock(), asyncio.Lock(), asyncio.Lock(), asyncio.Queue(1)
        self.book = RWLock()

    async def handle(self, connection):
        self.connections.append(connection)
        await self.play(self.parts[connection.name])

    async def play(self, steps):
        for step in steps:
            await (step(self) if callable(step) else asyncio.sleep(step))


def visit(duration=50, **parts) -> Trace:
    return simulate(Small(**parts), Scenario([listener(name) for name in parts], duration))


def take(lock: str):
    return lambda room: getattr(room, lock).acquire()


def read(room):
    return room.book.acquire_read()


def write(room):
    return room.book.acquire_write()


def put(room):
    return room.queue.put(1)


def get(room):
    return room.queue.get()


def test_two_locks_taken_in_different_orders_make_a_cycle():
    trace = visit(Ann=[take("one"), 1, take("two")], Bob=[take("two"), 1, take("one")])
    assert cycle_of(trace) == ["Ann: play", "Bob: play"]
    assert arrows(trace) == {("Ann: play", "Bob: play"): "two", ("Bob: play", "Ann: play"): "one"}


def test_a_cycle_may_be_longer_and_whoever_waits_for_it_is_not_part_of_it():
    orders = dict(Ann=("one", "two"), Bob=("two", "three"), Cy=("three", "one"))
    ring = {name: [take(first), 1, take(second)] for name, (first, second) in orders.items()}
    trace = visit(**ring, Di=[2, take("two")])
    assert cycle_of(trace) == ["Ann: play", "Bob: play", "Cy: play"]
    assert arrows(trace)["Di: play", "Bob: play"] == "two"


def test_a_lock_whose_holder_has_ended_waits_for_nobody_known():
    trace = visit(Ann=[take("one")], Bob=[1, take("one")])
    assert arrows(trace) == {("Bob: play", "somebody"): "one"} and cycle_of(trace) == []
    assert str(trace.waits[-1]).startswith("Small.play (for Bob) waits for a lock (one)\n    test_waits.py:")


def test_readers_behind_a_waiting_writer_wait_for_it_and_it_for_the_readers():
    trace = visit(Ann=[read, 100], Bob=[write], Cy=[read], Di=[read])
    assert arrows(trace) == {
        ("Cy: play", "Bob: play"): "book, to read", ("Di: play", "Bob: play"): "book, to read",
        ("Bob: play", "Ann: play"): "book, to write",
    }  # fmt: skip


async def put_within(room):
    async with asyncio.timeout(100):
        await put(room)


def test_a_timeout_around_a_wait_does_not_hide_it():
    (wait,) = blocked(visit(Ann=[put], Bob=[put_within]))
    assert (wait.name, wait.what, wait.needs) == ("Bob: put_within", "queue", ())


@pytest.mark.parametrize(
    "step, count",
    [
        pytest.param(lambda room: asyncio.wait_for(put(room), 100), 1, id="wait_for"),
        pytest.param(lambda room: asyncio.gather(put(room), put(room)), 2, id="gather"),
    ],
)
def test_a_put_that_is_a_task_of_its_own_is_not_hidden(step, count):
    waits = blocked(visit(Ann=[put], Bob=[step]))
    assert [(wait.visitor, wait.what) for wait in waits] == [("Bob", "queue")] * count


class Gathering(v1.Room):
    async def broadcast(self, message):
        await asyncio.gather(*(connection.send(encode(message)) for connection in self.connections))


def test_sends_gathered_into_tasks_wait_for_their_readers():
    trace = simulate(Gathering, Scenario([speaker, frozen("Bob"), frozen("Cy")], duration=9))
    assert arrows(trace) == {("Ann: a task", "Bob"): "send", ("Ann: a task", "Cy"): "send"}
    assert [wait.kind for wait in trace.waits if wait.doing == "Gathering.broadcast"] == ["tasks"]


def test_whoever_takes_from_the_queue_it_waits_for_waits_for_the_others_only():
    parts = dict(Ann=[1, get, 2, put, put], Bob=[2, get, 18, get, 1, get], Cy=[put, put])
    assert not visit(**parts).stuck and not blocked(visit(**parts))  # Bob makes room at second 20
    trace = visit(**parts, duration=10)
    assert [wait.name for wait in blocked(trace)] == ["Ann: play"] and cycle_of(trace) == []


class Opening(Small):
    """A task of the room's own takes a lock before anybody is there."""

    async def __aenter__(self):
        self.task = asyncio.create_task(self.play([take("one"), 100]))


def test_whoever_took_a_lock_as_the_room_started_is_known_to_hold_it():
    trace = simulate(Opening(Ann=[take("one")]), Scenario([listener("Ann")], duration=50))
    assert arrows(trace) == {("Ann: play", "play"): "one"}


# ---------------------------------------------------------------- the graph


def wait(name: str, *needs: int, **fields) -> Wait:
    usual = dict(visitor=None, kind="lock", on=None, what=name, line="", needs=needs)
    return Wait(f"Room.{name}", f"Room.{name}", **usual | fields)


def test_the_shortest_circle_is_chosen():
    waits = [wait("a", 1), wait("b", 2), wait("c", 0), wait("d", 4, 0), wait("e", 3), wait("f", 3)]
    assert [each.name for each in cycle(waits)] == ["d", "e"]
    assert [each.name for each in cycle(waits[:3])] == ["a", "b", "c"]
    assert cycle([wait("a", 1), wait("b", 2), wait("c")]) == cycle([]) == []


def columns(*waits: Wait) -> list[list[str]]:
    return [[node[0] for node in column] for column in Graph(waits).columns()]


def test_each_node_stands_to_the_right_of_all_who_wait_for_it():
    assert columns(wait("a", 2), wait("b", 0), wait("c"), wait("d", 2)) == [["b", "d"], ["a"], ["c"], ["somebody"]]
    assert columns(wait("a", 1), wait("b", 0), wait("c", 0)) == [["c"], ["a"], ["b"]]
    assert columns(wait("a", kind="receive")) == columns() == []


@pytest.mark.parametrize("needs", [[(1,), (0,), (3,), (2,)], [(1,), (0, 2), (1, 3), (2, 0)], [(0,), (1,), (0, 1)]])
def test_every_node_has_one_place_however_many_circles_there_are(needs):
    waits = [wait(name, *others) for name, others in zip("abcd", needs)]
    assert sorted(sum(columns(*waits), [])) == list("abcd"[: len(needs)])


def test_whoever_is_waited_for_by_a_second_cycle_stands_to_the_right_of_it():
    waits = [wait("a", 1), wait("b", 0), wait("c", 3, 4), wait("d", 2), wait("e", on="Eve")]
    place = {name: x for x, column in enumerate(columns(*waits)) for name in column}
    assert place["e"] > place["c"]


def test_waits_alike_are_one_node_with_their_number():
    graph = Graph([wait("a", 2), wait("a", 2), wait("b", on="Eve", what=None, kind="send")])
    alike, alone, person = dict.fromkeys(node for edge in graph.edges for node in edge)
    assert [graph.label(node) for node in (alike, alone, person)] == ["a \N{MULTIPLICATION SIGN} 2", "b", "Eve"]
    assert [graph.is_person(node) for node in (alike, alone, person)] == [False, False, True]


def test_an_arrow_to_itself_tells_how_many_wait_for_each_other():
    def loops(*waits: Wait) -> list[str]:
        return [text for (start, end), text in Graph(waits).edges.items() if start == end]

    assert loops(wait("a", 0, 1), wait("a", 0, 1)) == ["a: each waits for all 2"]
    assert loops(wait("a", 0)) == ["a"]
    assert loops(wait("a", 1), wait("a", 0)) == ["a"]  # each for the other, and not for itself


def test_a_wait_says_in_a_sentence_where_who_stands():
    sending = dict(visitor="Ann", kind="send", on="Bob", what=None, line="room.py:7: await send()")
    assert str(wait("say", **sending)) == "Room.say (for Ann) waits to send to Bob\n    room.py:7: await send()"
    assert str(wait("run")) == "Room.run waits for a lock (run)\n    "
    assert str(wait("run", what=None, kind="tasks")) == "Room.run waits for other tasks\n    "


# ---------------------------------------------------------------- figures


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.mark.parametrize(
    "trace, verdict",
    [
        (lambda: simulate("v2", frozen_reader.lasting(600)), "no cycle"),
        (lambda: simulate("v2-rw", frozen_dies), "a cycle"),
        (lambda: simulate(partial(v3.Room, outbox_size=8), frozen_dies), "a cycle"),
        (lambda: simulate("v3.1", slow.lasting(60)), "nobody is blocked"),
    ],
)
def test_wait_for_has_a_box_for_each_node_and_an_arrow_with_its_text_for_each_edge(trace, verdict):
    trace = trace()
    ax, expected = plots.wait_for(trace), arrows(trace)
    assert ax.get_title(loc="left").endswith(f"? {verdict}")
    boxes = [text.get_text() for text in ax.texts if text.get_bbox_patch()]
    assert sorted(boxes) == sorted({node for edge in expected for node in edge})
    drawn = [text.arrow_patch for text in ax.texts if getattr(text, "arrow_patch", None)]
    assert len(drawn) == len(expected) and {*expected.values()} <= {text.get_text() for text in ax.texts}
    alarming = [arrow for arrow in drawn if same_color(arrow.get_edgecolor(), plots.ALARM)]
    assert len(alarming) == len(cycle(trace.waits))
    ax.figure.canvas.draw()


@pytest.mark.parametrize("waits", [[], [wait("a", on="Bob")], [wait("a", 1), wait("b", on="Bob")]])
def test_wait_for_leaves_no_column_of_its_canvas_empty(waits):
    ax, columns = plots.wait_for(Trace("v2", (), waits=waits)), max(2, len(Graph(waits).columns()))
    assert ax.get_xlim() == pytest.approx((-0.4, columns - 0.6))
    assert ax.figure.get_figwidth() == pytest.approx(7 / 3 * columns)


@pytest.mark.parametrize("waits", [[wait("a", 0)], [wait("a", 0), wait("b", 1)], [wait("a", 1), wait("b", 1)]])
def test_the_text_above_an_arrow_to_oneself_does_not_touch_the_title(waits):
    ax = plots.wait_for(Trace("v2", (), waits=waits))
    ax.figure.canvas.draw()
    title = next(each for each in ax.get_children() if getattr(each, "get_text", str)().startswith("v2: who"))
    texts = [text.get_window_extent() for text in ax.texts if text.get_text()]
    assert texts and max(text.y1 for text in texts) < title.get_window_extent().y0


def test_wait_for_takes_the_axes_that_it_is_given_as_they_are():
    figure, ax = plt.subplots(figsize=(5, 2))
    assert plots.wait_for(Trace("v2", ()), ax=ax) is ax and tuple(figure.get_size_inches()) == (5, 2)


def lock_trace(*uses: tuple) -> Trace:
    return Trace("v2", (), uses=[Use("lock", "hold", *use) for use in uses], duration=10)


def test_lock_has_a_pale_bar_for_each_wait_and_a_full_one_for_each_hold():
    ax = plots.lock(lock_trace(("Ann", "Room.handle", 1, 2, 4), ("Bob", "Room.say", 3)))
    full = plots.COLOURS["v2"]
    bars = [(bar.get_x(), bar.get_width(), same_color(bar.get_facecolor(), full)) for bar in ax.patches]
    assert bars == [(1, 1, False), (2, 2, True), (3, 7, False)]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["Ann: handle", "Bob: say"]


def test_lock_names_only_the_unusual_where_there_are_many():
    ax = plots.lock(lock_trace(*(("Ann", "Room.say", n / 2) for n in range(17)), ("Eve", "Room.handle", 9)))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["Eve: handle"]


def test_lock_numbers_the_rows_that_have_one_name():
    ax = plots.lock(lock_trace(("Ann", "Room.say", 1), ("Bob", "Room.say", 2), ("Ann", "Room.say", 3)))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["Ann: say 1", "Bob: say", "Ann: say 2"]


def test_lock_ends_the_bar_of_who_gives_up():
    ax = plots.lock(lock_trace(("Ann", "Room.handle", 1, None, None, 3)))
    assert ax.patches[0].get_width() == 2


def test_lock_names_a_task_of_the_rooms_own_by_what_it_does():
    ax = plots.lock(lock_trace((None, "Room.run_hub", 1)))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["run_hub"]


def test_depth_has_a_line_for_each_run_of_a_queue_or_a_lock():
    runs = [simulate(partial(room, outbox_size=8), slow) for room in (v3.Room, v3_1.Room)]
    ax = plots.depth(*runs, what=BOBS)
    assert [text.get_text() for text in ax.texts] == [f"{run.room}: {run.depth(BOBS)[-1][1]}" for run in runs]
    assert [max(line.get_ydata()) for line in ax.lines] == [8, 8] and ax.get_ylabel() == "messages in Bob's outbox"
    ax = plots.depth(simulate("v2", slow), what="lock")
    assert ax.get_ylabel() == "tasks waiting for lock" and max(ax.lines[0].get_ydata()) > 10
    with pytest.raises(ValueError, match="did not use 'lok'"):
        plots.depth(runs[0], what="lok")


def test_curves_have_a_dot_for_each_point_and_a_name_at_the_end():
    ax = plots.curves({"v1": [(1, 2), (2, 3)], "mine": [(1, 5), (2, 4), (3, 1)]}, "people", "seconds")
    assert [len(line.get_xdata()) for line in ax.lines] == [2, 3]
    assert [(text.get_text(), text.xy) for text in ax.texts] == [("v1", (2, 3)), ("mine", (3, 1))]
    assert [line.get_color() for line in ax.lines] == [plots.COLOURS["v1"], plots.OTHER]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("people", "seconds")
