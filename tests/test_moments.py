"""A run that can be stepped through: each moment says what the room looks like after one of its steps."""

import json
import sys
import weakref
from dataclasses import replace
from itertools import pairwise

import pytest

from chatroom_lib import Scenario, commuter, frozen, late_joiner, listener, simulate, talker
from chatroom_lib.rooms import v1_1, v2, v3
from chatroom_lib.runs.stepping import step_through
from chatroom_lib.trace.moments import Moment, to_plain

connected, counts = set(), {"told": 0}


async def handler(websocket):
    connected.add(websocket)
    try:
        async for message in websocket:
            await tell(message)
    finally:
        connected.discard(websocket)


async def tell(message):
    counts["told"] += 1
    for other in list(connected):
        await other.send(message)


class Weak:
    """Refers to its connections weakly: whoever keeps one alive changes who is in the pool."""

    def __init__(self):
        self.connections = weakref.WeakSet()

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        pass

    async def handle(self, connection):
        self.connections.add(connection)
        async for frame in connection:
            others = list(self.connections)
            while others:
                connection = others.pop()
                await connection.send(frame)

    def members(self):
        return list(self.connections)


class Unspeakable:
    def __repr__(self):
        raise LookupError("nobody should ask")

    __str__ = __bool__ = __len__ = __iter__ = __repr__

    @property
    def connection(self):
        raise LookupError("nobody should ask")


class Drops(Weak):
    """Lets go of something, and looks at once whether it is gone."""

    async def handle(self, connection):
        thing = Unspeakable()
        found = weakref.ref(thing)
        async for _ in connection:
            thing = None
            found_gone.append(found() is None)


found_gone = []


class Hostile(Weak):
    def __init__(self):
        super().__init__()
        self.thing, self.things, self.long, self.large = Unspeakable(), [Unspeakable()], "x" * 900, 10**9999

    async def handle(self, connection):
        thing = Unspeakable()  # noqa: F841
        await super().handle(connection)


FROZEN = Scenario(
    [
        talker("Ann", 6, starts=1, every=2.5, size=4000),
        frozen("Bob", vanishes=10),
        listener("Cy"),
        listener("Di"),
        late_joiner("Eve", joins=9),
    ],
    duration=60,
)


@pytest.fixture(scope="module")
def moments() -> list[Moment]:
    return step_through("v1.1", FROZEN, seed=1).moments


def kinds(moment: Moment) -> list[tuple[str, str]]:
    return [(event.kind, event.who) for event in moment.events]


def line_of(module, text: str) -> int:
    with open(module.__file__) as file:
        return next(number for number, line in enumerate(file, 1) if text in line)


def waiting_for(moment: Moment, what: str) -> list[tuple[int, dict]]:
    """The line and the locals of each task that waits for that."""
    return [(task.calls[-1].line, dict(task.calls[-1].locals)) for task in moment.tasks if task.waits_for == what]


@pytest.mark.parametrize("name", ["v1", "v1.1", "v2", "v2-rw", "v3", "v3.1", "v3.2", "v4", "v5", "v7"])
def test_the_run_is_the_one_that_simulate_makes(name):
    steps, trace = step_through(name, FROZEN, seed=3), simulate(name, FROZEN, seed=3)
    assert steps.trace.digest() == trace.digest() and steps.trace.waits == trace.waits
    told = [event for moment in steps.moments for event in moment.events]
    assert sorted(told) == sorted(trace.events) and not steps.left_out


def test_time_does_not_go_back_and_each_moment_tells_something(moments):
    for before, after in pairwise(moments):
        assert before.time <= after.time and (after.events or not after.looks_like(before))


def test_broadcasts_wait_in_send_to_bob_each_with_an_index_of_its_own(moments):
    dying = next(moment for moment in moments if ("vanished", "Bob") in kinds(moment))
    here = line_of(v1_1, "await connection.send(frame)")
    assert waiting_for(dying, "send to Bob") == [
        (here, {"message": said, "frame": said, "index": "1", "connection": "Bob"}) for said in ("Ann 3", "Ann 4")
    ]
    assert dying.pool == ("Ann", "Bob", "Cy", "Di", "Eve")
    assert dict(dying.room)["connections"] == "[Ann, Bob, Cy, Di, Eve]"
    [bob] = [buffer for buffer in dying.buffers if buffer.who == "Bob"]
    assert bob.waiting > bob.limit and bob.in_flight == bob.window
    assert bob.messages == ("Ann 1", "Ann 2", "Ann 3", "Ann 4")


def test_cy_is_evicted_in_a_step_in_which_nobody_failed_to_reach_cy(moments):
    [(before, after)] = [(a, b) for a, b in pairwise(moments) if "Cy" in a.pool and "Cy" not in b.pool]
    assert ("failed", "Bob") in kinds(after) and ("removed", "Cy") in kinds(after)
    assert ("failed", "Cy") not in kinds(after)
    assert ("removed", "Bob") in kinds(before) and "Bob" not in before.pool
    [task] = [task for task in before.tasks if task.number == after.ran]
    assert task.ready and dict(task.calls[-1].locals)["index"] == "1"
    assert dict(before.room)["connections"] == "[Ann, Cy, Di, Eve]"  # where index 1 is Cy by now


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python tells which lines run from 3.12 on")
def test_a_moment_tells_which_lines_ran_in_its_step(moments):
    failed = line_of(v1_1, "self.failed_sends += 1")
    evicting = next(moment for moment in moments if ("removed", "Cy") in kinds(moment))
    assert failed in evicting.lines and set(evicting.lines) <= set(range(failed - 8, failed + 2))
    assert moments[0].lines == (line_of(v1_1, "return self"),)
    assert not any(moment.lines for moment in moments[1:] if moment.ran is None)
    assert all(sys.monitoring.get_tool(number) is None for number in range(6))


def test_a_lock_has_a_holder_and_waiters_who_need_it():
    moments = step_through("v2", FROZEN, seed=1).moments
    stuck = next(moment for moment in moments if ("vanished", "Bob") in kinds(moment))
    tasks = {task.number: task for task in stuck.tasks}
    [lock] = stuck.locks
    [holder] = [tasks[each.task] for each in lock.holders]
    waiters = [tasks[each.task] for each in lock.waiters]
    assert (lock.name, holder.visitor, holder.waits_for) == ("lock", "Ann", "send to Bob")
    assert [(waiter.visitor, waiter.calls[-1].function) for waiter in waiters] == [
        ("Ann", "Room.broadcast"),
        ("Eve", "Room.handle"),
    ]
    assert all(waiter.waits_for == "lock" and waiter.needs == (holder.number,) for waiter in waiters)
    after = next(moment for moment in moments if moment.tasks and moment.tasks[-1].waits_for == "2 s to pass")
    assert after.tasks[-1].calls[-1].line == line_of(v2, "await asyncio.sleep(self.delay)")
    assert waiters[1].calls[-1].line == line_of(v2, "async with self.lock")


def test_outboxes_fill_while_somebody_does_not_read():
    moments = step_through("v3.1", FROZEN, seed=1).moments
    dying = next(moment for moment in moments if ("vanished", "Bob") in kinds(moment))
    queues = {queue.name: queue for queue in dying.queues}
    assert queues["Bob's outbox"].items == ("Ann 4",) and queues["Bob's outbox"].limit == 128
    assert queues["Cy's outbox"].items == () and queues["incoming"].limit is None
    [writer] = [task for task in dying.tasks if task.waits_for == "send to Bob"]
    assert dict(writer.calls[-1].locals) == {"client": "Client of Bob", "message": "Ann 3"}
    [hub] = [task for task in dying.tasks if task.visitor is None]
    assert hub.waits_for == "take from register, unregister or incoming"
    visits = [task for task in dying.tasks if task.waits_for == "the next message from Ann"]
    assert [[call.function for call in task.calls] for task in visits] == [["Room.handle", "Room.read"]]


def test_a_full_outbox_is_waited_for_until_its_writer_makes_room():
    talk = replace(FROZEN.clients[0], says=8, every=1)
    moments = step_through(lambda: v3.Room(outbox_size=1), Scenario([talk, frozen("Bob")], duration=20), seed=1).moments
    last = moments[-1]
    [hub] = [task for task in last.tasks if task.waits_for == "put into Bob's outbox"]
    assert [task.waits_for for task in last.tasks if task.number in hub.needs] == ["send to Bob"]
    [queue] = [queue for queue in last.queues if queue.name == "Bob's outbox"]
    assert (queue.length, queue.limit, queue.items) == (1, 1, ("Ann 4",))
    [incoming] = [queue for queue in last.queues if queue.name == "incoming"]
    assert incoming.items == ("Ann 6",) and "hand over through incoming" in {task.waits_for for task in last.tasks}


def test_a_handlers_globals_are_shown_and_its_members_are_the_open_connections():
    moments = step_through(handler, FROZEN, seed=1).moments
    joined = next(moment for moment in moments if len(moment.pool) == 4)
    assert dict(joined.room) == {"connected": "{Ann, Bob, Cy, Di}", "counts": "{'told': 0}"}
    last = moments[-1]
    assert [call.function for call in last.tasks[0].calls] == ["handler"] and "Bob" not in last.pool
    connected.clear()


def test_nothing_of_the_rooms_is_kept_alive():
    rooms = []

    def make():
        room = Weak()
        rooms.append(weakref.ref(room))
        return room

    steps = step_through(make, FROZEN, seed=1)
    assert steps.trace.digest() == simulate(Weak, FROZEN, seed=1).digest()
    assert steps.moments and rooms[0]() is None


def test_what_a_room_lets_go_of_is_gone_at_once():
    step_through(Drops, FROZEN, seed=1)
    assert found_gone and all(found_gone)


@pytest.mark.parametrize("latency", [0.1, 0.4])  # with the latter, Bob is not even in when he is cut off
def test_whoever_returns_has_nothing_on_the_way_that_was_sent_to_the_last_connection(latency):
    bob = commuter("Bob", away=[(0.95, 1.5)], latency=latency)
    tunnel = Scenario([talker("Ann", 5, every=0.5), bob], duration=20)
    moments = step_through("v1.1", tunnel, seed=1).moments
    [back] = [moment for moment in moments if ("joined", "Bob") in kinds(moment) and moment.time > 1]
    [bob] = [buffer for buffer in back.buffers if buffer.who == "Bob"]
    assert bob.messages == ()
    assert any(buffer.messages for moment in moments for buffer in moment.buffers if buffer.who == "Bob")


def test_only_so_many_moments_are_kept_and_the_others_are_counted():
    whole, few = step_through("v1.1", FROZEN, seed=1), step_through("v1.1", FROZEN, seed=1, most=20)
    assert few.moments == whole.moments[:20] and few.left_out >= len(whole.moments) - 20


def test_a_run_with_very_many_tasks_is_cut_off_as_well():
    crowded = Scenario([talker("Ann", 300, every=0.01, size=4000), frozen("Bob")], duration=9)
    steps = step_through("v1.1", crowded, seed=1)
    assert sum(len(moment.tasks) for moment in steps.moments) < 51_000 and steps.left_out
    assert steps.trace.digest() == simulate("v1.1", crowded, seed=1).digest()


def test_what_a_room_refers_to_is_never_asked_what_it_is():
    steps = step_through(Hostile, FROZEN, seed=1)
    assert not steps.trace.errors
    last = dict(steps.moments[-1].room)
    assert last == {
        "connections": "{Cy, Di, Eve}",
        "things": "[…]",
        "long": "'xxxxxx'",
        "large": "a large number",
    }


def test_as_plain_data_each_task_is_written_once_and_sections_only_where_they_change(moments):
    plain = json.loads(json.dumps(to_plain(moments)))
    states, state = plain["states"], {}
    assert len(states) == len({task for moment in moments for task in moment.tasks})
    for moment, real in zip(plain["moments"], moments, strict=True):
        state |= moment
        assert state["pool"] == list(real.pool) and state["room"] == dict(real.room)
        assert [states[place]["number"] for place in state["tasks"]] == [task.number for task in real.tasks]
        assert {who: buffer["waiting"] for who, buffer in state["buffers"].items()} == {
            buffer.who: buffer.waiting for buffer in real.buffers
        }
    assert sum("pool" in moment for moment in plain["moments"]) < len(moments) / 3
    assert len(json.dumps(plain)) < 600 * len(moments)
