"""What an observed lock, queue or channel notes, that the room does not feel it, and what a trace reads from it."""

import asyncio
import math
from contextlib import asynccontextmanager
from functools import partial

import pytest

from chatroom_lib import Scenario, frozen, late_joiner, listener, rooms, simulate, talker
from chatroom_lib.channels import Channel, RWLock
from chatroom_lib.clients.scenario import Client
from chatroom_lib.instrumentation.primitives import observe, primitives
from chatroom_lib.instrumentation.tasks import visitor
from chatroom_lib.rooms import v1, v2, v2_rw, v3
from chatroom_lib.runs.simulation import SimulationLoop
from chatroom_lib.trace import Event, Trace, Use

meeting = Scenario([talker("Ann", says=5), talker("Bob", says=5, every=0.07), listener("Cy")], duration=60)
frozen_dies = Scenario([talker("Ann", 40, every=0.02), frozen("Bob", vanishes=0.7), listener("Cy")], duration=60)


def observed(primitive):
    observe(primitive, "it", Trace("a room", ()))
    return primitive


def watch(primitive, *visits, then=None) -> Trace:
    """The trace of these visits, `(name, start, work)`, to an observed `primitive`, in virtual time."""

    async def visit(name, start, work):
        visitor.set(name)
        await asyncio.sleep(start)
        await work

    async def main():
        trace.start_clock(loop)
        await asyncio.gather(*(visit(*each) for each in visits))
        trace.finish("time is up", [], [])
        if then:
            await then()

    loop, trace = SimulationLoop(seed=0), primitive.usage.trace
    try:
        loop.run_until_complete(main())
    finally:
        loop.clean_up()
    return trace


def times(trace: Trace) -> list[tuple]:
    return [(use.who, use.asked, use.got, use.released) for use in trace.uses]


async def given_up(work):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await work


async def hold(lock, seconds: float, read=False):
    async with (lock.read() if read else lock.write()) if isinstance(lock, RWLock) else lock:
        await asyncio.sleep(seconds)


# ---------------------------------------------------------------- locks

exclusive_lock = pytest.mark.parametrize("kind", [asyncio.Lock, RWLock])


@exclusive_lock
def test_a_lock_notes_who_asked_who_waited_and_who_had_it(kind):
    lock = observed(kind())
    visits = [(name, start, hold(lock, 3)) for name, start in (("Ann", 1), ("Bob", 2), ("Cy", 9))]
    trace = watch(lock, *visits)
    assert times(trace) == [("Ann", 1, 1, 4), ("Bob", 2, 4, 7), ("Cy", 9, 9, 12)]
    assert trace.depth("it") == [(0, 0), (2, 1), (4, 0)]
    assert not lock.usage.waiters and not lock.usage.holders


@exclusive_lock
def test_whoever_gives_up_waiting_leaves_the_line_and_never_had_the_lock(kind):
    lock = observed(kind())
    trace = watch(lock, ("Ann", 1, hold(lock, 5)), ("Bob", 2, given_up(hold(lock, 1))), ("Cy", 2.5, hold(lock, 1)))
    assert times(trace) == [("Ann", 1, 1, 6), ("Bob", 2, None, None), ("Cy", 2.5, 6, 7)]
    assert [use.given_up for use in trace.uses] == [None, 3, None]
    assert trace.depth("it") == [(0, 0), (2, 1), (2.5, 2), (3, 1), (6, 0)]
    assert not lock.usage.waiters and not lock.usage.holders


def test_a_lock_let_go_whose_next_holder_has_not_run_yet_is_not_free():
    lock = observed(asyncio.Lock())

    async def twice():
        await hold(lock, 3)
        await hold(lock, 1)  # Bob was called, and has not had a turn: at this moment nobody has the lock

    trace = watch(lock, ("Ann", 1, twice()), ("Bob", 2, hold(lock, 3)))
    assert times(trace) == [("Ann", 1, 1, 4), ("Bob", 2, 4, 7), ("Ann", 4, 7, 8)]
    assert trace.depth("it")[-1] == (7, 0)


def test_readers_hold_together_and_keep_a_writer_and_who_comes_after_it_waiting():
    lock = observed(RWLock())
    visits = {"Ann": (1, 4, True), "Bob": (2, 4, True), "Cy": (3, 2, False), "Di": (4, 4, True)}
    trace = watch(lock, *((name, start, hold(lock, *more)) for name, (start, *more) in visits.items()))
    assert times(trace) == [("Ann", 1, 1, 5), ("Bob", 2, 2, 6), ("Cy", 3, 6, 8), ("Di", 4, 8, 12)]
    assert [use.how for use in trace.uses] == ["read", "read", "write", "read"]
    assert trace.depth("it") == [(0, 0), (3, 1), (4, 2), (6, 1), (8, 0)]


def test_a_task_that_reads_twice_lets_go_of_the_inner_hold_first():
    lock = observed(RWLock())

    async def twice():
        async with lock.read():
            await asyncio.sleep(1)
            await hold(lock, 1, read=True)
            await asyncio.sleep(1)

    assert times(watch(lock, ("Ann", 0, twice()))) == [("Ann", 0, 0, 3), ("Ann", 1, 1, 2)]


@exclusive_lock
def test_an_error_under_a_lock_lets_go_of_it(kind):
    lock = observed(kind())

    async def fails():
        with pytest.raises(ZeroDivisionError):
            async with lock.write() if kind is RWLock else lock:
                await asyncio.sleep(1)
                raise ZeroDivisionError

    assert times(watch(lock, ("Ann", 1, fails()), ("Bob", 1.5, fails()))) == [("Ann", 1, 1, 2), ("Bob", 1.5, 2, 3)]


def test_a_lock_that_another_task_lets_go_of_is_let_go():
    lock = observed(asyncio.Lock())

    async def let_go():
        lock.release()

    assert times(watch(lock, ("Ann", 1, lock.acquire()), ("Bob", 3, let_go()))) == [("Ann", 1, 1, 3)]


# ---------------------------------------------------------------- queues and channels


def test_a_queue_notes_its_depth_and_who_waits_at_either_end():
    queue = observed(asyncio.Queue(1))

    puts = [(name, start, queue.put(name)) for name, start in (("Ann", 2), ("Bob", 3), ("Cy", 4))]
    trace = watch(queue, *puts, ("Di", 1, queue.get()), ("Di", 6, queue.get()))
    assert [(use.who, use.how, use.asked, use.got) for use in trace.uses] == [
        ("Di", "get", 1, 2), ("Ann", "put", 2, 2), ("Bob", "put", 3, 3), ("Cy", "put", 4, 6), ("Di", "get", 6, 6),
    ]  # fmt: skip
    assert trace.depth("it") == [(0, 0), (2, 1), (2, 0), (3, 1), (6, 0), (6, 1)]


def test_whoever_is_cancelled_at_a_full_or_an_empty_queue_has_given_up():
    queue = observed(asyncio.Queue(1))

    impatient = [("Ann", 1, given_up(queue.get())), ("Cy", 4, given_up(queue.put(2)))]
    trace = watch(queue, ("Bob", 3, queue.put(1)), *impatient)
    assert [(use.who, use.how, use.got, use.given_up) for use in trace.uses] == [
        ("Ann", "get", None, 2), ("Bob", "put", 3, None), ("Cy", "put", None, 5),
    ]  # fmt: skip
    assert trace.depth("it") == [(0, 0), (3, 1)] and not queue.usage.waiters


def test_depth_follows_those_who_do_not_wait_and_a_full_or_empty_queue_leaves_it_alone():
    queue = observed(asyncio.Queue(2))

    async def work():
        queue.put_nowait(1), queue.put_nowait(2)
        with pytest.raises(asyncio.QueueFull):
            queue.put_nowait(3)
        assert (queue.get_nowait(), queue.get_nowait()) == (1, 2)
        with pytest.raises(asyncio.QueueEmpty):
            queue.get_nowait()

    assert watch(queue, ("Ann", 1, work())).depth("it") == [(0, 0), (1, 1), (1, 2), (1, 1), (1, 0)]


class Slotted(asyncio.PriorityQueue):
    __slots__ = ("reason",)


KINDS = {asyncio.Queue: "bca", asyncio.LifoQueue: "acb", asyncio.PriorityQueue: "abc", Slotted: "abc"}


@pytest.mark.parametrize("kind, order", KINDS.items())
def test_a_queue_of_another_kind_keeps_its_kind_and_its_order(kind, order):
    queue, taken = observed(kind()), []

    async def work():
        for item in "bca":
            await queue.put(item)
        taken.extend([await queue.get() for _ in "bca"])

    trace = watch(queue, ("Ann", 1, work()))
    assert "".join(taken) == order and isinstance(queue, kind) and type(queue).__name__ == kind.__name__
    assert [messages for _, messages in trace.depth("it")] == [0, 1, 2, 3, 2, 1, 0]


def test_an_operation_that_a_class_has_changed_keeps_its_arguments_and_its_result():
    class Polite(asyncio.Queue):
        async def put(self, item, sender="somebody"):
            await super().put((sender, item))
            return self.qsize()

    async def work():
        assert await queue.put(1, sender="Ann") == 1

    queue = observed(Polite())
    watch(queue, ("Ann", 0, work()))


def test_a_channel_notes_how_long_each_putter_waits():
    channel = observed(Channel())

    trace = watch(
        channel, ("Ann", 1, channel.put(1)), ("Bob", 2, given_up(channel.put(2))), ("Cy", 4, channel.put(3)),
        ("Di", 5, channel.get()), ("Eve", 6, channel.get()),
    )  # fmt: skip
    assert [(u.who, u.asked, u.got, u.given_up) for u in trace.uses] == [
        ("Ann", 1, 5, None), ("Bob", 2, None, 3), ("Cy", 4, 6, None),
    ]  # fmt: skip
    assert trace.depth("it") == [(0, 0), (1, 1), (2, 2), (3, 1), (4, 2), (5, 1), (6, 0)]


# ---------------------------------------------------------------- which runs, which rooms


def test_nothing_is_noted_once_the_run_is_over():
    lock, queue = observed(asyncio.Lock()), observed(asyncio.Queue())

    async def afterwards():
        await hold(lock, 1)
        await lock.acquire()

    trace = watch(lock, ("Ann", 1, hold(lock, 1)), then=afterwards)
    assert times(trace) == [("Ann", 1, 1, 2)]
    assert watch(queue, then=partial(queue.put, 1)).depths == {}


def test_what_is_left_in_a_queue_can_be_read_after_the_run():
    room = v3.Room()
    simulate(room, Scenario([talker("Ann", says=60, every=0.01), frozen("Bob")], duration=5))
    assert room.clients[1].outbox.get_nowait()


def test_a_room_used_for_two_runs_is_observed_in_each():
    class Again(v2_rw.Room):
        async def __aenter__(self):
            self.connections = []

    room = Again(delay=0.1)
    first = simulate(room, Scenario([talker("Ann", says=2)], duration=10))
    second = simulate(room, Scenario([talker("Bob", says=4)], duration=10))
    assert [use.who for use in first.uses_of("lock")] == ["Ann"] * 3
    assert [use.who for use in second.uses_of("lock")] == ["Bob"] * 5


def used(room, scenario=meeting) -> set[tuple]:
    return {(use.what, use.how, use.who, use.doing) for use in simulate(room, scenario).uses}


def test_a_use_names_the_visitor_and_the_rooms_function():
    assert used("v2") == {
        ("lock", "hold", "Ann", "Room.handle"), ("lock", "hold", "Ann", "Room.broadcast"),
        ("lock", "hold", "Bob", "Room.handle"), ("lock", "hold", "Bob", "Room.broadcast"),
        ("lock", "hold", "Cy", "Room.handle"),
    }  # fmt: skip
    assert ("lock", "write", "Cy", "Room.handle") in used("v2-rw")
    assert used("v3", Scenario([talker("Ann", says=1)], duration=5)) == {
        ("register", "put", "Ann", "Room.handle"), ("incoming", "put", "Ann", "Room.read"),
        ("Ann's outbox", "put", None, "Room.broadcast"), ("Ann's outbox", "get", "Ann", "Room.write"),
    }  # fmt: skip


class Everywhere(v1.Room):
    """Has a lock or a queue wherever a room may keep one, and uses each."""

    class Client:
        def __init__(self, connection):
            self.connection = connection

    def __init__(self):
        super().__init__()
        self.in_list, self.in_set, self.by_name, self.inbox = [], set(), {}, {}

    async def __aenter__(self):
        self.gate = RWLock()

    async def handle(self, connection):
        listed, unlisted, named = (self.Client(connection) for _ in range(3))
        listed.listed, unlisted.unlisted, named.named = (asyncio.Lock() for _ in range(3))
        self.in_list, self.in_set, self.by_name = [listed], {unlisted}, {"a": named}
        self.inbox[connection] = asyncio.LifoQueue()
        self.last, connection.mutex = connection, asyncio.Lock()  # stands for one of websockets' own
        self.connections.append(connection)
        await asyncio.sleep(1)  # the room is looked at after each turn of the loop
        async with self.gated(), listed.listed, unlisted.unlisted, named.named:
            await asyncio.gather(self.deliver(connection), self.deliver(connection))

    @asynccontextmanager
    async def gated(self):
        async with self.gate.read():
            yield

    async def deliver(self, connection):
        await self.inbox[connection].put(1)


def test_primitives_are_found_wherever_a_room_keeps_them_and_named_after_their_owner():
    room = Everywhere()
    trace = simulate(room, Scenario([listener("Ann")], duration=5))
    assert {use.what: use.doing.removeprefix("Everywhere.") for use in trace.uses} == {
        "gate": "gated", "Ann's listed": "handle", "Ann's unlisted": "handle", "Ann's named": "handle",
        "Ann's inbox": "deliver",
    }  # fmt: skip
    assert {use.who for use in trace.uses} == {"Ann"}
    assert not any(hasattr(part, "usage") for part in vars(room.last).values())


def test_a_class_that_cannot_be_changed_is_left_alone_and_its_room_works():
    class Closed(asyncio.Lock):
        def __init_subclass__(cls, *, reason):
            pass

    room = v2.Room(delay=0)
    room.lock = Closed()
    trace = simulate(room, meeting)
    assert type(room.lock) is Closed and trace.uses == [] and len(trace.heard("Cy")) == 10


def test_a_task_that_runs_no_function_of_the_rooms_has_none():
    queue = observed(asyncio.Queue())

    async def work():
        await asyncio.gather(queue.put(1), queue.put(2))

    assert [use.doing for use in watch(queue, ("Ann", 1, work())).uses] == ["", ""]


@pytest.mark.parametrize("room", [*rooms.VERSIONS, Everywhere])
@pytest.mark.parametrize("scenario", [meeting, frozen_dies], ids=["meeting", "frozen_dies"])
def test_a_room_runs_the_same_observed_or_not(room, scenario, monkeypatch):
    observed = [simulate(room, scenario, seed) for seed in range(4)]
    monkeypatch.setattr("chatroom_lib.instrumentation.primitives.observe", lambda *_: None)
    alone = [simulate(room, scenario, seed) for seed in range(4)]
    assert [trace.digest() for trace in observed] == [trace.digest() for trace in alone]
    has_primitives = room is Everywhere or any(primitives(rooms.create(room)))  # Everywhere makes them later
    assert [bool(trace.uses) for trace in observed] == 4 * [has_primitives]
    assert not any(trace.uses or trace.depths for trace in alone)


# ---------------------------------------------------------------- what a trace reads from it

PEOPLE = tuple(Client(name, joins=0) for name in ("Ann", "Bob", "Cy"))


def trace_of(*events: tuple, uses=()) -> Trace:
    return Trace("v2", PEOPLE, seed=0, events=[Event(*event) for event in events], uses=list(uses), duration=10)


def use(asked, got=None, released=None, given_up=None, what="lock", how="hold") -> Use:
    return Use(what, how, "Ann", "Room.handle", asked, got, released, given_up)


def test_depth_counts_who_waits_and_not_who_had_it_at_once():
    waiting = [use(1, 1, 5), use(2, 5, 6), use(3, given_up=4), use(4), use(7, what="other")]
    assert trace_of(uses=waiting).depth("lock") == [(0, 0), (2, 1), (3, 2), (4, 1), (4, 2), (5, 1)]
    assert trace_of(uses=[use(1, 1)]).depth("lock") == [(0, 0)]


def test_a_queue_that_never_had_a_message_is_empty():
    trace = simulate("v3", Scenario([listener("Ann")]))
    assert {messages for _, messages in trace.depth("Ann's outbox")} == {0}


def test_what_was_not_used_is_an_error_that_says_what_was():
    with pytest.raises(ValueError, match="v2 did not use 'lok' in this run; what it used: lock, door$"):
        trace_of(uses=[use(1), use(2, what="door"), use(3)]).uses_of("lok")
    with pytest.raises(ValueError, match="what it used: nothing"):
        simulate("v1", meeting).depth("lock")


def test_join_waits_are_infinite_for_who_never_gets_in():
    crowd = Scenario([talker("Ann", says=40), frozen("Bob"), late_joiner("Eve", joins=8)], duration=80)
    waits = simulate(partial(v2.Room, delay=0), crowd).join_waits()
    assert waits["Eve"] == math.inf and waits["Ann"] < 0.1
    again = [(2, "joined", "Bob"), (5, "entered", "Bob"), (6, "removed", "Bob"), (7, "entered", "Bob")]
    trace = trace_of((1, "entered", "Ann"), (1.5, "joined", "Ann"), *again, (9, "shut out", "Cy"))
    assert trace.join_waits() == {"Ann": 0, "Bob": 3}


IN = [(0, "joined", "Ann"), (0, "entered", "Ann"), (0.5, "joined", "Bob"), (0.6, "entered", "Bob")]


def said(*times: float) -> list[tuple]:
    """Ann says something at each of these times, and hears it herself."""
    words = [(time, f"Ann {number}") for number, time in enumerate(times, 1)]
    return [(time, kind, "Ann", word) for time, word in words for kind in ("said", "accepted", "heard")]


@pytest.mark.parametrize(
    "more, missed",
    [
        ([(2.1, "heard", "Bob", "Ann 2")], ["Ann 1", "Ann 3"]),  # dropped
        ([(1.1, "heard", "Bob", "Ann 1"), (1.5, "removed", "Bob")], ["Ann 2", "Ann 3"]),  # evicted
        ([(1.1, "heard", "Bob", "Ann 1"), (1.5, "lost", "Bob")], ["Ann 2", "Ann 3"]),
        ([(1.1, "heard", "Bob", "Ann 1"), (1.5, "left", "Bob")], []),
        ([(1.1, "heard", "Bob", "Ann 1"), (2.5, "vanished", "Bob")], ["Ann 2"]),
        ([(1.2, "refused", "Ann", "Ann 1"), (2.1, "heard", "Bob", "Ann 2")], ["Ann 3"]),
    ],
)
def test_missed_is_what_was_said_while_somebody_was_there_and_was_not_heard(more, missed):
    trace = trace_of(*IN, *said(1, 2, 3), *more)
    assert trace.missed() == {"Ann": [], "Bob": missed}
    assert trace.undelivered() == ({"Bob": missed} if missed and "Bob" not in trace.gone() else {})


def test_a_late_joiner_misses_what_is_said_from_its_entry_on_or_if_it_never_gets_in_from_its_coming():
    late = (1.5, "joined", "Cy")
    assert trace_of(*IN, *said(1, 2, 3), late).missed()["Cy"] == ["Ann 2", "Ann 3"]
    assert trace_of(*IN, *said(1, 2, 3), late, (2.5, "entered", "Cy")).missed()["Cy"] == ["Ann 3"]


def test_what_nobody_accepted_is_missed_only_if_its_speaker_is_still_there():
    mute = (1, "said", "Ann", "Ann 1")
    assert trace_of(*IN, mute).missed()["Bob"] == ["Ann 1"]
    assert trace_of(*IN, mute, (2, "left", "Ann")).missed()["Bob"] == []
