"""The simulation: one seed, one run, in every process; and what its network and its clock do."""

import asyncio
import datetime
import os
import queue
import random
import secrets
import signal
import subprocess
import sys
import threading
import time
import uuid
import weakref
from concurrent.futures import ThreadPoolExecutor
from datetime import date as Date, datetime as Datetime
from functools import partial
from time import perf_counter

import pytest
from websockets.exceptions import ConnectionClosed

from chatroom_lib import (
    Kill,
    Scenario,
    commuter,
    decode,
    encode,
    flooder,
    frozen,
    late_joiner,
    leaving,
    listener,
    live,
    rooms,
    run,
    simulate,
    talker,
    vanishing,
)  # fmt: skip
from chatroom_lib.rooms import RoomError, v1, v1_1, v2, v3, v3_1, v4
from chatroom_lib.runs.simulation import SimulationLoop
from chatroom_lib.runs.virtual_time import EPOCH

busy = Scenario(
    [
        talker("Ann", says=15, every=0.03, joins=0),
        frozen("Bob", vanishes=0.5, joins=0),
        talker("Cy", says=15, every=0.03, joins=0),
        leaving("Di", leaves=0.4, joins=0),
        flooder("Eve", says=30, joins=0),
    ],
    duration=60,
)

# ---------------------------------------------------------------- the same seed, the same race


@pytest.mark.parametrize("name", rooms.VERSIONS)
def test_the_same_seed_gives_the_same_run_and_others_give_others(name):
    digests = [simulate(name, busy, seed).digest() for seed in (1, 1, 2, 3)]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


PROGRAM = """
from chatroom_lib import rooms, simulate
from tests.test_simulation import SetRoom, busy, killed
print([simulate(room, busy, seed).digest() for room in (*rooms.VERSIONS, SetRoom) for seed in (1, 2)])
print([simulate(room, killed, seed).digest() for room in ("v4", "v6") for seed in (1, 2)])
"""
commuters = commuter("Ann", says=20, away=[(0.7, 1)]), commuter("Cy", path="/chatroom?last=9")
killed = Scenario(commuters, duration=9, kills=[Kill(1, 0.3), Kill(2, power=True)])


def test_the_same_seed_gives_the_same_run_in_every_process():
    def digests(hash_seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        arguments = dict(env=environment, capture_output=True, text=True, check=True, timeout=60)
        return subprocess.run([sys.executable, "-c", PROGRAM], **arguments).stdout

    assert digests("0") == digests("1") == digests("4711")


class SetRoom(v1_1.Room):
    """Keeps its connections in a set, which a hash decides the order of."""

    def __init__(self):
        super().__init__()
        self.connections = set()

    async def handle(self, connection):
        self.connections.add(connection)
        try:
            async for frame in connection:
                sends = [asyncio.create_task(other.send(frame)) for other in self.connections]
                await asyncio.wait(sends, timeout=0.2)
        except ConnectionClosed:
            self.connections.discard(connection)


# ---------------------------------------------------------------- how a run ends


def test_a_run_at_rest_ends_early_and_costs_no_time():
    trace = simulate("v2", Scenario([talker("Ann", says=3), listener("Bob")], duration=10_000))
    assert trace.ending == "quiescent" and 6 < trace.duration < 30
    assert not trace.stuck


def test_a_run_ends_when_its_time_is_up():
    trace = simulate("v2", Scenario([talker("Ann", says=100), listener("Bob")], duration=5))
    assert trace.ending == "time is up" and trace.duration == 5
    assert all(event.time <= 5 for event in trace.events)


class Restless(v1_1.Room):
    pause = 0

    async def handle(self, connection):
        while True:
            await asyncio.sleep(self.pause)


class Polls(Restless):
    pause = 0.001


def test_a_room_may_wait_for_signals_which_never_come():
    class Stops(v1.Room):
        async def __aenter__(self):
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.connections.clear)
            return await super().__aenter__()

        async def __aexit__(self, *exc):
            asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    trace = simulate(Stops, Scenario([talker("Ann", says=3), listener("Bob")]))
    assert len(trace.heard("Bob")) == 3 and trace.exit_error is None and signal.getsignal(signal.SIGTERM) == before


def test_a_room_that_never_rests_is_ended():
    trace = simulate(Restless, Scenario([listener("Ann")]))
    assert trace.ending == "livelocked" and trace.duration < 1


def test_a_room_that_polls_rests_in_between():
    assert simulate(Polls, Scenario([listener("Ann"), listener("Bob")], duration=60)).ending == "time is up"


def test_a_room_that_is_busy_all_the_time_gets_somewhere(monkeypatch):
    monkeypatch.setattr("chatroom_lib.runs.event_loop.MAX_BUSY_ITERATIONS", 300)
    trace = simulate("v3.1", Scenario([flooder("Ann", says=300), listener("Bob")], duration=60))
    assert trace.ending == "quiescent" and len(trace.heard("Bob")) == 300


def test_a_frozen_client_alone_does_not_make_a_room_stuck():
    assert not simulate("v3.1", Scenario([talker("Ann", says=30), frozen("Bob"), listener("Cy")], 60)).stuck


def test_it_runs_where_a_loop_is_already_running():
    async def cell():
        return simulate("v1", busy, seed=1)

    assert asyncio.run(cell()).digest() == simulate("v1", busy, seed=1).digest()


def test_a_run_leaves_no_task_behind(recwarn, caplog):
    simulate(partial(v3.Room, outbox_size=2), busy)
    assert not caplog.records and not [w for w in recwarn if "never awaited" in str(w.message)]


@pytest.mark.parametrize("seconds", [0, 3600])
def test_a_room_that_does_not_start_is_an_error(seconds):
    class Late(v1_1.Room):
        async def __aenter__(self):
            await (asyncio.sleep(seconds) if seconds else asyncio.get_running_loop().create_future())

    with pytest.raises(RuntimeError, match="does not start"):
        simulate(Late, Scenario([listener("Ann")]))


def test_a_function_may_stand_for_the_scenario():
    def some_day(chance):
        return Scenario([talker("Ann", says=chance.randint(1, 9))], duration=60)

    said = [len(simulate("v1", some_day, seed).of("said")) for seed in range(9)]
    assert said == [random.Random(seed).randint(1, 9) for seed in range(9)]


# ---------------------------------------------------------------- errors in the room


def test_a_room_that_exits_ends_its_own_visit_and_nothing_else():
    class Exits(v1_1.Room):
        async def broadcast(self, message):
            if message.token == "Ann":
                sys.exit("enough")
            await super().broadcast(message)

    people = [talker("Ann", says=1), talker("Bob", says=3), listener("Cy")]
    trace = simulate(Exits, Scenario(people, duration=30))
    assert [str(error) for error in trace.errors] == ["enough"]
    assert trace.heard("Cy") == ["Bob 1", "Bob 2", "Bob 3"] and trace.ending == "quiescent"


def test_a_room_is_stopped_once_everybody_is_disconnected_and_the_trace_does_not_show_it():
    class Notes(v1.Room):
        left = []

        async def __aexit__(self, *exc):
            Notes.left.append([member.state.name for member in self.members()])
            await asyncio.sleep(1)
            Notes.left.append("stopped")

    trace = simulate(Notes, busy, seed=1)
    assert len(Notes.left) == 2 and set(Notes.left[0]) <= {"CLOSED"} and Notes.left[1] == "stopped"
    assert trace.digest() == simulate("v1", busy, seed=1).digest()
    assert trace.exit_error is None and trace.left_tasks == []


@pytest.mark.parametrize("room", [v1.Room, v2.Room, v3.Room, v3_1.Room, v4.Room], ids=lambda room: room.__module__)
def test_stopping_a_room_changes_nothing_in_its_trace(room):
    slow = Scenario([talker("Ann", says=80), frozen("Bob"), leaving("Cy", 3), listener("Di")], duration=60)
    made, given = simulate(room, slow, seed=1), simulate(room(), slow, seed=1)  # the latter is not stopped
    for part in ("events", "uses", "depths", "writes", "leak", "waits", "ending", "duration"):
        assert repr(getattr(made, part)) == repr(getattr(given, part)), part


@pytest.mark.parametrize(
    "wrong, problem",
    [
        ("churn", "a scenario must be a Scenario, .* not 'churn'"),
        ([talker("Ann")], "a scenario must be a Scenario, .* not .Client"),
        (lambda chance: "churn", "must return a Scenario, not 'churn'"),
    ],
)
def test_what_is_no_scenario_is_told_so(wrong, problem):
    with pytest.raises(TypeError, match=problem):
        simulate("v4", wrong)


def test_what_makes_no_room_is_told_so():
    with pytest.raises(RoomError, match="int is not a room"):
        simulate(int, Scenario([talker("Ann")]))
    with pytest.raises(RoomError, match="what no_room makes is not a room: it lacks __aenter__"):
        simulate(no_room, Scenario([talker("Ann")]))


def no_room():
    return 7


def test_a_room_may_come_from_a_function_in_a_file_that_imports_its_neighbour(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "a_neighbour_of_mine.py").write_text("from chatroom_lib.rooms.v1 import Room\n")
    (tmp_path / "mine.py").write_text(
        "def make_room():\n    import a_neighbour_of_mine\n    return a_neighbour_of_mine.Room()\n"
    )
    assert simulate(f"{tmp_path}/mine.py:make_room", Scenario([talker("Ann", says=1)])).heard("Ann") == ["Ann 1"]


async def later():
    return []


@pytest.mark.parametrize(
    "members, problem",
    [
        (lambda: ["Ann"], "one of its items is 'Ann'"),
        (lambda: 1 / 0, "raised ZeroDivisionError: division by zero"),
        (lambda: (1 / 0 for _ in "x"), "raised ZeroDivisionError: division by zero"),
        (lambda: None, "returned None"),
        (lambda: later(), "is a coroutine: write def members"),
    ],
)
def test_a_list_of_members_that_is_none_is_an_error(members, problem):
    class Wrong(v1_1.Room):
        def members(self):
            return members()

    with pytest.raises((TypeError, RuntimeError), match=rf"members\(\) must list connections, and {problem}"):
        simulate(Wrong, Scenario([listener("Ann")]))
    with pytest.raises((TypeError, RuntimeError), match=problem):
        run(live(Wrong, Scenario([listener("Ann")], duration=0.5)))


@pytest.mark.parametrize("kind", [list, tuple, set, frozenset, iter])
def test_members_may_be_anything_that_lists_connections(kind):
    class Own(v1_1.Room):
        def members(self):
            return kind(self.connections)

    trace = simulate(Own, Scenario([listener("Ann"), listener("Bob"), leaving("Cy", 1)]))
    assert [event.who for event in trace.of("entered")] == ["Ann", "Bob", "Cy"]
    assert trace.in_pool() == ["Ann", "Bob", "Cy"]  # v1.1 notices at its next message


def test_the_list_itself_may_be_handed_out():
    class Own(v1_1.Room):
        def members(self):
            return self.connections

    assert len(simulate(Own, Scenario([listener("Ann"), listener("Bob")])).of("entered")) == 2


def test_an_error_in_a_visit_is_recorded():
    class Broken(v1_1.Room):
        async def handle(self, connection):
            raise ZeroDivisionError("one")

    trace = simulate(Broken, Scenario([listener("Ann"), listener("Bob")]))
    assert [str(error) for error in trace.errors] == ["one", "one"]
    assert len(trace.of("error")) == 2 and len(trace.of("lost")) == 2


def test_an_error_in_a_task_that_nobody_awaits_is_recorded_and_an_awaited_one_is_not():
    class Broken(v1_1.Room):
        async def broadcast(self, message):
            await asyncio.gather(self.fail(), return_exceptions=True)
            raise LookupError(message.content)

        async def fail(self):
            raise ZeroDivisionError

    trace = simulate(Broken, Scenario([talker("Ann", says=2, size=1)]))
    assert [type(error) for error in trace.errors] == [LookupError, LookupError]


def test_an_error_in_the_hub_is_recorded_though_the_room_keeps_the_task():
    class Broken(v3.Room):
        async def broadcast(self, message):
            raise LookupError("in the hub")

    trace = simulate(Broken, Scenario([talker("Ann", says=2)], duration=30))
    assert [str(error) for error in trace.errors] == ["in the hub"]
    assert trace.stuck


# ---------------------------------------------------------------- the clock and the network


def in_simulation(main, seed=0, schedule="fifo"):
    loop = SimulationLoop(seed, schedule)
    try:
        return loop.run_until_complete(main(loop))
    finally:
        loop.clean_up()


def test_timers_that_are_due_together_keep_their_order():
    async def main(loop):
        order = []
        for number in range(20):
            loop.call_at(1.0, order.append, number)
        await asyncio.sleep(2)
        return order, loop.time()

    assert in_simulation(main) == (list(range(20)), 2.0)


async def order_of_six(loop):
    order = []

    async def step(number):
        order.append(number)

    await asyncio.gather(*(step(number) for number in range(6)))
    return tuple(order)


def test_tasks_run_in_the_order_in_which_they_became_ready():
    assert {in_simulation(order_of_six, seed) for seed in range(20)} == {(0, 1, 2, 3, 4, 5)}


def test_an_adversary_runs_them_in_any_order_which_the_seed_decides():
    orders = {in_simulation(order_of_six, seed, "any") for seed in range(20)}
    assert len(orders) > 5 and in_simulation(order_of_six, 3, "any") == in_simulation(order_of_six, 3, "any")


def test_the_schedule_must_be_one_of_two():
    with pytest.raises(ValueError, match="must be .* not 'random'"):
        simulate("v1", busy, schedule="random")


def test_bytes_arrive_in_order_and_a_reader_that_pauses_stops_the_writer():
    class Sink(asyncio.Protocol):
        received, transport, paused = b"", None, 0

        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.received += data

        def pause_writing(self):
            self.paused += 1

    async def main(loop):
        server_end, client_end = Sink(), Sink()
        await loop.create_server(lambda: server_end, "here", 1)
        await loop.create_connection(lambda: client_end, "here", 1, window=1000)
        await asyncio.sleep(1)
        client_end.transport.pause_reading()
        server_end.transport.set_write_buffer_limits(500)
        for number in range(300):
            server_end.transport.write(b"%08d" % number)
        await asyncio.sleep(1)
        assert len(client_end.received) == 0 and server_end.paused == 1
        assert server_end.transport.get_write_buffer_size() == 2400 - 1000
        client_end.transport.resume_reading()
        await asyncio.sleep(1)
        assert client_end.received == b"".join(b"%08d" % number for number in range(300))

    in_simulation(main)


def test_nobody_listening_is_a_refused_connection():
    async def main(loop):
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(asyncio.Protocol, "nowhere", 1)

    in_simulation(main)


def test_whoever_dies_while_joining_has_not_joined():
    ends = set()
    for seed in range(40):
        some_day = Scenario([listener("Ann"), vanishing("Bob", joins=1, vanishes=1.002)], duration=9)
        trace = simulate("v3.1", some_day, seed)
        kinds = [event.kind for event in trace.events if event.who == "Bob"]
        ends.add(tuple(kinds))
        assert trace.errors == [] and trace.in_pool() == ["Ann"]
        assert kinds[-1] in ("vanished", "removed") and "shut out" not in kinds
    assert ("vanished",) in ends  # before the room saw anything of it
    assert ("entered", "vanished", "removed") in ends  # when the room had let it in, and it did not know yet
    assert ("entered", "joined", "vanished", "removed") in ends


def test_what_is_no_message_is_noted_as_such():
    class Babbles(v1_1.Room):
        async def handle(self, connection):
            await connection.send("hello")
            await super().handle(connection)

    trace = simulate(Babbles, Scenario([talker("Ann", says=1), listener("Bob")]))
    assert [event.who for event in trace.of("garbled")] == ["Ann", "Bob"] and trace.heard("Bob") == ["Ann 1"]


def test_messages_survive_the_journey():
    class Echo(v1_1.Room):
        async def handle(self, connection):
            async for frame in connection:
                await connection.send(encode(decode(frame)))

    trace = simulate(Echo, Scenario([talker("Zoë", says=3, size=60_000)], duration=60))
    assert trace.heard("Zoë") == ["Zoë 1", "Zoë 2", "Zoë 3"]


# ---------------------------------------------------------------- the processor


def test_what_is_said_while_v4_has_just_written_is_written_in_one_piece_with_what_follows():
    class Noted(v4.Room):
        waited = 0

        def broadcast(self, message):
            super().broadcast(message)
            self.waited += asyncio.get_running_loop().time() < self.next_flush

    room = Noted(limit=None)
    people = [flooder(f"Flo{number}", says=50, every=0.001) for number in range(8)] + [listener("Cy")]
    trace = simulate(room, Scenario(people, duration=20))
    assert room.waited > 20 and trace.writes["Cy"] < 400 == len(trace.heard("Cy"))


class Sleeps(v1_1.Room):
    seconds = 2.0

    async def handle(self, connection):
        time.sleep(self.seconds)
        await super().handle(connection)


def test_a_call_of_sleep_makes_everybody_wait_in_virtual_time_and_is_noted_with_its_line():
    began = time.perf_counter()
    trace = simulate(Sleeps, Scenario([talker("Ann", says=10, every=0.5), late_joiner("Bob", joins=4)], duration=60))
    late = [event.message for event, delay in trace.latencies() if 1 < delay < 2.1]
    assert late and time.perf_counter() - began < 2
    (ann, bob) = trace.of("blocked")
    assert ann.message == bob.message == f"2 s in Sleeps.handle, line {Sleeps.handle.__code__.co_firstlineno + 1}"


def test_a_sleep_on_another_thread_takes_as_long_and_keeps_nobody_waiting():
    class InThread(v1_1.Room):
        async def broadcast(self, message):
            if message.token == "Ann":
                await asyncio.to_thread(time.sleep, 1)
            await super().broadcast(message)

    trace = simulate(InThread, Scenario([talker("Ann", says=3), talker("Bob", says=20), listener("Cy")], duration=60))
    delays = {event.message: delay for event, delay in trace.latencies()}
    assert all((1 < delay < 1.1) if message.startswith("Ann") else delay < 0.1 for message, delay in delays.items())
    assert len(delays) == 23 and trace.threads and not trace.of("blocked") and "seed alone" in repr(trace)


class Saves(v1_1.Room):
    """A thread of the room's own answers by call_soon_threadsafe."""

    async def __aenter__(self):
        self.jobs = queue.SimpleQueue()
        threading.Thread(target=self.work, daemon=True).start()
        return await super().__aenter__()

    async def __aexit__(self, *exc):
        self.jobs.put(None)
        await super().__aexit__(*exc)

    def work(self):
        while job := self.jobs.get():
            loop, saved = job
            sum(range(10_000))
            loop.call_soon_threadsafe(saved.set_result, None)

    async def broadcast(self, message):
        loop = asyncio.get_running_loop()
        saved = loop.create_future()
        self.jobs.put((loop, saved))
        await saved
        await super().broadcast(message)


def test_a_thread_that_answers_the_loop_is_waited_for():
    trace = simulate(Saves, Scenario([talker("Ann", says=20, every=1), listener("Bob")], duration=60))
    assert trace.threads == 1 and len(trace.heard("Bob")) == 20
    assert max(delay for _, delay in trace.latencies()) < 0.1


def test_a_thread_that_waits_for_the_loop_does_not_stop_it():
    class Publishes(v1_1.Room):
        async def handle(self, connection):
            self.loop = asyncio.get_running_loop()
            await super().handle(connection)

        async def broadcast(self, message):
            await asyncio.to_thread(self.publish, message)

        def publish(self, message):
            asyncio.run_coroutine_threadsafe(super().broadcast(message), self.loop).result()

    trace = simulate(Publishes, Scenario([talker("Ann", says=5), listener("Bob")], duration=60))
    assert len(trace.heard("Bob")) == 5 and trace.ending == "quiescent"


def test_a_thread_that_sleeps_in_a_loop_of_its_own_ticks_in_virtual_time():
    class Ticks(v1_1.Room):
        ticks = ()

        async def __aenter__(self):
            self.ticks = []
            threading.Thread(target=self.tick, args=[asyncio.get_running_loop()], daemon=True).start()
            return await super().__aenter__()

        def tick(self, loop):
            while True:
                time.sleep(1)
                loop.call_soon_threadsafe(self.ticks.append, time.monotonic())

    room = Ticks()
    simulate(room, Scenario([listener("Ann")], duration=5.5))
    assert [round(tick, 2) for tick in room.ticks] == [1, 2, 3, 4, 5]


# ---------------------------------------------------------------- what follows the seed


CHANCES = {
    "random": lambda: random.random(),
    "choice": lambda: random.choice(range(10**9)),
    "uuid4": lambda: uuid.uuid4().int,
    "secrets": lambda: secrets.randbelow(10**9),
    "urandom": lambda: int.from_bytes(os.urandom(4), "big"),
    "monotonic_ns": lambda: time.monotonic_ns(),
    "time_ns": lambda: time.time_ns(),
    "imported earlier": lambda: perf_counter(),
    "now": lambda: datetime.datetime.now().timestamp(),
    "now, imported earlier": lambda: Datetime.now(datetime.UTC).timestamp(),
}


def drawn_by(chance):
    """What a room draws in a run."""
    drawn = []

    class Draws(v1_1.Room):
        async def broadcast(self, message):
            drawn.append(chance())
            await super().broadcast(message)

    simulate(Draws, Scenario([talker("Ann", says=3), listener("Bob")], duration=60), seed=4)
    return drawn


@pytest.mark.parametrize("chance", CHANCES.values(), ids=CHANCES)
def test_what_a_room_draws_and_what_its_clocks_say_follow_the_seed(chance):
    real = chance()
    first, again = drawn_by(chance), drawn_by(chance)
    assert first == again and len(set(first)) > 1 and real not in first
    assert chance() != chance()


def what_is_replaced() -> list:
    names = [*vars(time).values(), *vars(datetime).values(), os.urandom, perf_counter, Date, Datetime]
    return [*names, threading.Thread.start]


def test_what_is_replaced_for_a_run_is_put_back():
    before = what_is_replaced()
    simulate(Sleeps, busy)
    with pytest.raises(RuntimeError):
        simulate(NeverStarts, busy)
    after = what_is_replaced()
    assert all(one is other for one, other in zip(before, after, strict=True)) and type(random._inst) is random.Random


class NeverStarts(v1_1.Room):
    async def __aenter__(self):
        await asyncio.get_running_loop().create_future()


def test_a_datetime_is_one_during_a_run_and_after_it():
    kinds = []

    class Dates(v1_1.Room):
        async def broadcast(self, message):
            now = Datetime.now()
            kinds.append((isinstance(now, Datetime), type(now), isinstance(Datetime(2026, 1, 1), Datetime), now.year))

    simulate(Dates, Scenario([talker("Ann", says=1)], duration=60))
    (kind,) = kinds
    assert kind == (True, Datetime, True, 2026)


def test_the_date_changes_at_midnight_of_the_virtual_clock():
    dates = []

    class Dates(v1_1.Room):
        async def broadcast(self, message):
            dates.append((datetime.date.today(), Date.today(), Datetime.now().date(), type(Date.today())))

    day = 24 * 3600
    simulate(Dates, Scenario([talker("Ann", at=(1, day + 1))], duration=2 * day))
    for today, imported_earlier, of_now, kind in dates:
        assert today == imported_earlier == of_now and kind is Date
    (first, *_), (second, *_) = dates
    assert first == Date.fromtimestamp(EPOCH) and second - first == datetime.timedelta(days=1)


def test_dates_and_datetimes_are_related_during_a_run_as_they_are_after_it():
    relations = []

    class Own(Date):
        def greeting(self):
            return "hello"

    class Dates(v1_1.Room):
        async def broadcast(self, message):
            class Later(Date):
                pass

            now, made = Datetime.now(), Later(2026, 1, 2)
            assert isinstance(now, Date) and issubclass(Datetime, Date) and not isinstance(Date.today(), Datetime)
            assert isinstance(Own.today(), Own) and Own.today().greeting() == "hello"
            assert type(made) is Later and isinstance(made, Later) and isinstance(Later.today(), Later)
            assert not isinstance(Date.today(), Later) and Later.today() == Date.today()
            relations.append(isinstance(now, Later))

    trace = simulate(Dates, Scenario([talker("Ann", says=1)], duration=60))
    assert relations == [False] and trace.errors == []


def test_another_thread_that_draws_disturbs_no_run():
    stop = threading.Event()

    def draw():
        while not stop.is_set():
            random.random()
            random.choice("abc")

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        drawn = [drawn_by(CHANCES["choice"]) for _ in range(10)]
    finally:
        stop.set()
        thread.join()
    assert drawn == [drawn[0]] * 10


def test_two_runs_at_once_disturb_no_other():
    class Lottery(v1_1.Room):
        async def broadcast(self, message):
            await asyncio.sleep(random.random() / 100)
            await super().broadcast(message)

    def digest(seed):
        return simulate(Lottery, busy, seed).digest()

    with ThreadPoolExecutor(4) as threads:
        digests = list(threads.map(digest, [1, 2] * 4))
    assert digests == [digest(1), digest(2)] * 4


def test_a_room_that_remembers_an_earlier_run_is_told_so():
    class Remembers(v1_1.Room):
        everybody = []

        def __init__(self):
            super().__init__()
            self.connections = self.everybody

    scenario = Scenario([listener("Ann"), listener("Bob")])
    simulate(Remembers, scenario)
    with pytest.raises(rooms.RoomError, match="Remembers has 2 connections of an earlier run in members"):
        simulate(Remembers, scenario)


def test_a_simulation_inside_a_room_is_an_error():
    class Nested(v1_1.Room):
        async def broadcast(self, message):
            simulate("v1", busy)

    (error,) = simulate(Nested, Scenario([talker("Ann", says=1)], duration=60)).errors
    assert "does not run inside a simulated room" in str(error)


# ---------------------------------------------------------------- what is let go of


class Subscriber:
    def __init__(self, connection):
        self.connection, self.queue = connection, asyncio.Queue()

    async def write(self):
        while True:
            await self.connection.send(await self.queue.get())


class Forgets(v1_1.Room):
    """Nothing but itself refers to the task that writes to a client."""

    def __init__(self):
        self.subscribers = weakref.WeakKeyDictionary()

    async def handle(self, connection):
        subscriber = Subscriber(connection)
        self.subscribers[subscriber] = connection
        task = asyncio.create_task(subscriber.write())
        self.keep(task)
        del subscriber, task
        async for frame in connection:
            for other in list(self.subscribers):
                other.queue.put_nowait(frame)

    def keep(self, task):
        pass

    def members(self):
        return [subscriber.connection for subscriber in self.subscribers]


class Keeps(Forgets):
    def __init__(self):
        super().__init__()
        self.tasks = set()

    def keep(self, task):
        self.tasks.add(task)


def test_a_task_that_nothing_refers_to_is_lost_and_one_that_is_kept_is_not():
    scenario = Scenario([talker("Ann", says=20, every=0.5), listener("Bob")], duration=60)
    trace = simulate(Forgets, scenario)
    assert trace.digest() == simulate(Forgets, scenario).digest() and trace.errors == []
    assert trace.of("collected")[0].message == "Subscriber.write"
    assert 0 < min(len(trace.heard(name)) for name in trace.names) < 20
    assert all(len(simulate(Keeps, scenario).heard(name)) == 20 for name in trace.names)


def test_a_room_that_refers_to_its_connections_weakly_is_rid_of_those_that_have_gone():
    class Weak(v1_1.Room):
        def __init__(self):
            super().__init__()
            self.connections = weakref.WeakSet()

        async def handle(self, connection):
            self.connections.add(connection)
            async for _ in connection:
                pass

    people = [listener("Ann"), leaving("Bob", leaves=1), vanishing("Cy", vanishes=2)]
    assert simulate(Weak, Scenario(people, duration=60)).in_pool() == ["Ann"]
    assert run(live(Weak, Scenario([listener("Ann"), leaving("Bob", leaves=0.2)], duration=0.6))).in_pool() == ["Ann"]


@pytest.mark.parametrize("name", ["", "two words", "two\nlines", " Ann", "half-\ud83d"], ids=ascii)
def test_a_name_that_nobody_can_have_is_one_clear_line(name):
    with pytest.raises(ValueError) as caught:
        talker(name)
    assert "\n" not in str(caught.value) and str(caught.value).isprintable() and "name" in str(caught.value)
