"""Several servers in one run, each with a processor of its own; what becomes of a killed one; how they are judged."""

import asyncio
import logging
import os
import random
import re
import sqlite3
import subprocess
import sys
import time
from functools import cache, partial
from uuid import uuid4

import psutil
import pytest

from chatroom_lib import Kill, Scenario, check, commuter, listener, simulate
from chatroom_lib.checker.guarantees import NO_CUT, NO_NATS, NO_PATH, ONE_SERVER, judge
from chatroom_lib.checker.scenarios import SCENARIOS
from chatroom_lib.clients.scenario import Cut, Pause
from chatroom_lib.history import LARGEST
from chatroom_lib.jetstream_history import URL, JetStreamHistory
from chatroom_lib.message import Gap, Message, Position, since_wanted
from chatroom_lib.reference_rooms import REFERENCE_ROOMS
from chatroom_lib.rooms import RoomError, v1, v9, v9_1
from chatroom_lib.runs.event_loop import endless_tasks
from chatroom_lib.shared_history import CHUNK, LONGEST_SILENCE, SharedHistory
from chatroom_lib.trace import LOG, Trace, Visit
from chatroom_lib.trace.plain import from_plain, to_plain
from tests.helpers import ends_when, in_both_worlds, played_live
from tests.test_guarantees import trace_of

Fluent = partial(v9.Room, limit=None)  # as many messages as one likes
ALL_NINE = ["Ann", "Bob", "Cy"]


@pytest.fixture(autouse=True)
def no_complaints_of_rooms_that_are_cut_off():
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def numbered(kind):
    """A function that makes such rooms, and tells each how many it has made before."""
    made = []

    def make(path=None):
        room = kind(path)
        room.number = len(made)
        made.append(room)
        return room

    return make


def commuters(*names: str, **changes) -> list:
    return [commuter(name, **{"says": 25, "every": 0.2, "size": 20, "resumes": True, **changes}) for name in names]


def three(*people, duration=9, **changes) -> Scenario:
    return Scenario(people, **{"duration": duration, "servers": 3, **changes})


def times_heard(trace: Trace, name: str) -> list[float]:
    return [event.time for event in trace.of("heard", who=name)]


def in_this_time(times: list[float], since: float, until: float) -> list[float]:
    return [time for time in times if since < time < until]


# ---------------------------------------------------------------- side by side


def test_people_come_to_the_servers_in_turn_and_hear_each_other_at_all_of_them():
    people = commuters("Ann", "Bob", "Cy", "Di")
    trace = simulate(Fluent, three(*people))
    servers = {name: [visit.server for visit in visits] for name, visits in trace.visits().items()}
    assert servers == {"Ann": ["room 1"], "Bob": ["room 2"], "Cy": ["room 3"], "Di": ["room 1"]}
    heard = [[(event.seq, event.message) for event in trace.of("heard", who=name)] for name in trace.names]
    assert heard[0] == heard[1] == heard[2] == heard[3] and [seq for seq, _ in heard[0]] == [*range(1, 101)]
    assert sorted(trace.in_pool()) == ["Ann", "Bob", "Cy", "Di"] and not trace.errors and not trace.left_tasks
    assert trace.exit_error is None and not [v for v in judge(trace).values() if v.kept is False]


def test_rooms_that_share_nothing_are_as_many_rooms():
    trace = simulate("v1.1", three(*commuters("Ann", "Bob", "Cy", resumes=False)))
    assert {name: {message.split()[0] for message in trace.heard(name)} for name in trace.names} == {
        name: {name} for name in trace.names
    }


class BlocksAtTwo(v9.Room):
    """The first one sleeps for two seconds, and everybody at it waits."""

    number = 0

    def __init__(self, path):
        super().__init__(path, limit=None)

    async def __aenter__(self):
        await super().__aenter__()
        if self.number == 0:
            asyncio.get_running_loop().call_later(2, time.sleep, 2)
        return self


def test_a_server_that_blocks_delays_nobody_at_the_others():
    for seed in range(3):
        trace = simulate(numbered(BlocksAtTwo), three(*commuters("Ann", "Bob", "Cy")), seed)
        (blocked,) = trace.of("blocked")
        assert blocked.who == "room 1" and blocked.message.startswith("2 s in")
        late = {name: max(late for event, late in trace.latencies() if event.who == name) for name in trace.names}
        theirs = [late for event, late in trace.latencies() if {event.who, event.message[:3]} <= {"Bob", "Cy", "Cy "}]
        assert max(theirs) < 0.1 and late["Ann"] > 1.5
        assert not in_this_time(times_heard(trace, "Ann"), 2.1, 3.9)
        assert len(trace.heard("Ann")) == len(trace.heard("Bob")) == 75
        alone = simulate(numbered(BlocksAtTwo), Scenario(commuters("Ann", "Bob", "Cy"), duration=9), seed)
        assert not in_this_time(times_heard(alone, "Bob"), 2.1, 3.9)


class Computes(v9.Room):
    """Works for 30 ms on each message that it sends on."""

    def __init__(self, path):
        super().__init__(path, limit=None)

    def broadcast(self, messages):
        time.sleep(0.03 * len(messages))
        super().broadcast(messages)


def test_several_servers_compute_at_the_same_time():
    crowd = [commuter(f"P{number}", says=20, every=0.2, size=20, resumes=True) for number in range(3)]
    ends = {
        servers: max(event.time for event in simulate(Computes, Scenario(crowd, 60, servers=servers)).of("heard"))
        for servers in (1, 3)
    }
    assert ends[3] < 1.2 * ends[1]  # though the same work is done at three


def test_the_same_seed_gives_the_same_run_and_another_seed_another():
    kills = [Kill(2, 0.5, server=1), Kill(3, 0.4, server=2)]
    scenario = three(*commuters("Ann", "Bob", "Cy", "Di"), kills=kills, pauses=[Pause(4, 1, server=0)])
    for room in (Fluent, partial(v9_1.Room, limit=None)):
        digests = [simulate(room, scenario, seed).digest() for seed in (7, 7, 8)]
        assert digests[0] == digests[1] != digests[2]


PROGRAM = """
import logging
logging.disable()
from chatroom_lib import simulate
from chatroom_lib.checker.scenarios import SCENARIOS
for room, name in ("v9", "one of three"), ("v9", "one stands still"), ("v9.1", "cut off"):
    print(simulate(room, SCENARIOS[name], 3).digest())
"""


@pytest.mark.slow  # two processes
def test_the_same_seed_gives_the_same_run_in_every_process():
    def digests(hash_seed: str) -> list[str]:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        arguments = dict(env=environment, capture_output=True, text=True, check=True, timeout=60)
        return subprocess.run([sys.executable, "-c", PROGRAM], **arguments).stdout.split()

    runs = ("v9", "one of three"), ("v9", "one stands still"), ("v9.1", "cut off")
    here = [simulate(room, SCENARIOS[name], 3).digest() for room, name in runs]
    assert digests("0") == digests("4711") == here


# ---------------------------------------------------------------- one of them is killed


def test_a_kill_ends_the_visits_at_one_server_and_whoever_was_there_goes_on_at_the_next():
    for seed in range(3):
        trace = simulate(Fluent, three(*commuters(*ALL_NINE), kills=[Kill(2, 4, server=1)]), seed)
        visits = trace.visits()
        assert [visit.server for visit in visits["Bob"]] == ["room 2", "room 3"]
        assert len(visits["Ann"]) == len(visits["Cy"]) == 1
        first, second = visits["Bob"]
        assert first.how == "lost" and trace.killed_during(first) and second.joined < 2 + 4
        assert [event.who for event in trace.of("killed", "started")] == ["room 2", "room 2"]
        assert not trace.evicted() and not trace.disconnected() and not trace.errors
        assert [event.seq for event in trace.of("heard", who="Ann")] == [*range(1, 76)]
        assert not [v for v in judge(trace).values() if v.kept is False]


def test_whoever_goes_on_elsewhere_may_be_there_at_once_and_at_the_same_one_not_before_it_can_be_there_again():
    waits = {1: [], 3: []}
    for servers, gaps in waits.items():
        crowd = [commuter(f"P{number}", resumes=True) for number in range(12)]
        scenario = Scenario(crowd, 9, servers=servers, kills=[Kill(2, 0.01)])
        for seed in range(3):
            visits = simulate("v9", scenario, seed).visits().values()
            gaps += [theirs[1].joined - theirs[0].ended for theirs in visits if len(theirs) > 1]
    assert len(waits[1]) == 36 and len(waits[3]) == 12 and min(waits[3]) < 0.6 and min(waits[1]) >= 1


def test_whoever_comes_to_a_server_that_is_down_tries_the_next_one():
    kills = [Kill(2, 6, server=1), Kill(2, 6, server=2)]
    trace = simulate(Fluent, three(*commuters("Ann", "Bob"), kills=kills))
    assert [visit.server for visit in trace.visits()["Bob"]] == ["room 2", "room 1"]
    assert len(trace.of("knocked", who="Bob")) == 1


def test_a_server_that_is_told_to_stop_says_goodbye_to_its_own_people():
    trace = simulate(Fluent, three(*commuters(*ALL_NINE), kills=[Kill(2, 1, politely=True, server=2)]))
    assert [(event.who, event.message[:4]) for event in trace.of("lost")] == [("Cy", "1012")]
    assert [visit.server for visit in trace.visits()["Cy"]] == ["room 3", "room 1"]


class Leaves(v9.Room):
    """What a process may have open, and what would be seen if it went on after a kill."""

    number = 0

    def __init__(self, path):
        super().__init__(path, limit=None)
        self.seen: list[tuple[float, str]] = []

    def see(self, what):
        self.seen.append((asyncio.get_running_loop().time(), what))

    async def __aenter__(self):
        await super().__aenter__()
        self.clock = asyncio.get_running_loop().time
        await self.begin()
        return self

    async def begin(self):
        """What this one leaves."""


class LeavesATransaction(Leaves):
    async def begin(self):
        if self.number == 0:
            self.file = sqlite3.connect(self.history.path, isolation_level=None, check_same_thread=False)
            asyncio.get_running_loop().call_later(1.9, self.write_half)

    def write_half(self):
        self.file.execute("BEGIN IMMEDIATE")
        self.file.execute("INSERT INTO message SELECT max(seq) + 1, 'Ann', 'half', NULL, 0 FROM message")


class LeavesTimersAndTasks(Leaves):
    async def begin(self):
        self.tick()
        self.task = asyncio.create_task(self.wait())

    def tick(self):
        self.see("a timer")
        asyncio.get_running_loop().call_later(0.1, self.tick)

    async def wait(self):
        try:
            while True:
                await asyncio.sleep(0.1)
                self.see("a task")
        finally:
            self.see("a finally")


class LeavesAPort(Leaves):
    """Each sends datagrams to all, at a port of its own, which the one that is started in its place has again."""

    async def begin(self):
        room = self

        class Notes(asyncio.DatagramProtocol):
            def datagram_received(self, data, address):
                room.see(f"a datagram of {data.decode()}")

            def connection_lost(self, error):
                room.see("the end of the datagrams")

        loop = asyncio.get_running_loop()
        address = "127.0.0.1", 7000 + self.number % 3
        self.transport, _ = await loop.create_datagram_endpoint(Notes, local_addr=address)
        self.send()

    def send(self):
        for number in range(3):
            self.transport.sendto(f"{self.number}".encode(), ("127.0.0.1", 7000 + number))
        asyncio.get_running_loop().call_later(0.1, self.send)


class LeavesASocket(Leaves):
    """The first one listens, and the others connect to it."""

    async def begin(self):
        if self.number == 0:
            self.listener = await asyncio.start_server(self.serve, "127.0.0.1", 7000)
        elif self.number < 3:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", 7000)
            self.reading = asyncio.create_task(self.wait_for_end(self.reader))

    async def serve(self, reader, writer):
        self.writers = [*getattr(self, "writers", []), writer]
        await self.wait_for_end(reader)

    async def wait_for_end(self, reader):
        self.see(f"{await reader.read()!r} and the end")


def left_by(kind, killed: int) -> tuple[list[v9.Room], Trace]:
    rooms, make = [], numbered(kind)

    def remember(path=None):
        rooms.append(make(path))
        return rooms[-1]

    kills = [Kill(2, 1, server=killed)]
    trace = simulate(remember, three(*commuters(*ALL_NINE), kills=kills, duration=8), seed=1)
    assert len(rooms) == 4 and not trace.errors and not endless_tasks
    return rooms, trace


def seen_late(room) -> set[str]:
    """What a room has seen after the kill, and before the end of the run. (The loop's clock is a little ahead.)"""
    return {what for moment, what in room.seen if 2.2 < moment < 8}


def test_a_transaction_that_a_killed_server_had_begun_is_undone_and_the_others_go_on():
    _, trace = left_by(LeavesATransaction, killed=0)
    assert not trace.of("refused") and not any(event.message.endswith("half") for event in trace.of("heard"))
    assert [event.seq for event in trace.of("heard", who="Bob")] == [*range(1, 76)]


def test_not_a_timer_a_task_or_a_finally_of_a_killed_server_goes_on_and_those_of_the_others_do():
    rooms, _ = left_by(LeavesTimersAndTasks, killed=0)
    assert seen_late(rooms[0]) == set()
    assert {what for moment, what in rooms[0].seen if moment < 8} == {"a timer", "a task"}
    for room in rooms[1:]:
        assert {"a timer", "a task"} <= seen_late(room)


def test_a_port_of_a_killed_server_is_free_and_hears_nothing_more():
    rooms, _ = left_by(LeavesAPort, killed=0)
    before = {what for moment, what in rooms[0].seen if moment < 2}
    assert before == {f"a datagram of {number}" for number in range(3)} and seen_late(rooms[0]) == set()
    for room in rooms[1:]:
        assert seen_late(room) == {f"a datagram of {number}" for number in (1, 2, 3)}  # 3 is in place of 0


@pytest.mark.parametrize("killed", [0, 1], ids=["who listens", "who connected"])
def test_the_connections_of_a_killed_server_to_the_others_end(killed):
    rooms, _ = left_by(LeavesASocket, killed)
    assert seen_late(rooms[killed]) == set()
    for room in rooms[1:3] if killed == 0 else rooms[:1]:
        assert [what for moment, what in room.seen if 2 <= moment < 2.2] == ["b'' and the end"]


# ---------------------------------------------------------------- one of them stands still


def test_a_server_that_stands_still_does_nothing_for_that_long_and_then_catches_up():
    for seed in range(3):
        pauses = [Pause(2, 2, server=0), Pause(3, 1, server=2)]
        trace = simulate(Fluent, three(*commuters(*ALL_NINE), pauses=pauses), seed)
        heard = {name: times_heard(trace, name) for name in trace.names}
        assert not in_this_time(heard["Ann"], 2.01, 4) and not in_this_time(heard["Cy"], 3.01, 4)
        assert in_this_time(heard["Ann"], 4, 4.1) and len(in_this_time(heard["Bob"], 2, 4)) > 10
        assert len(heard["Ann"]) == len(heard["Bob"]) == len(heard["Cy"]) == 75
        assert not trace.evicted() and all(len(visits) == 1 for visits in trace.visits().values())


def test_whoever_comes_to_a_server_that_stands_still_waits_for_it():
    late = commuter("Di", joins=2.5, resumes=True)
    people = [*commuters(*ALL_NINE), late]
    trace = simulate(Fluent, three(*people, pauses=[Pause(2, 2, server=0)]))
    (visit,) = trace.visits()["Di"]
    assert visit.server == "room 1" and 4 < visit.joined < 4.1


# ---------------------------------------------------------------- live


@pytest.mark.real
@pytest.mark.slow
def test_live_servers_are_processes_of_which_one_is_killed_and_another_one_stands_still(monkeypatch):
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    ends_when(monkeypatch, lambda run: run.trace.of("started") and all(len(run.trace.heard(n)) > 71 for n in ALL_NINE))
    scenario = three(
        *commuters(*ALL_NINE, says=24, every=0.1),
        kills=[Kill(0.8, 0.1, server=1)],
        pauses=[Pause(1, 1, server=2)],
        duration=60,
    )
    trace = played_live(Fluent, scenario)
    visits = trace.visits()
    assert [visit.server for visit in visits["Bob"]] == ["room 2", "room 3"] and len(visits["Ann"]) == 1
    assert [event.who for event in trace.of("killed", "started")] == ["room 2", "room 2"]
    numbers = [[event.seq for event in trace.of("heard", who=name)] for name in ("Ann", "Cy")]
    assert numbers == [[*range(1, 73)]] * 2 and set(trace.heard("Bob")) == set(trace.heard("Ann"))
    assert not in_this_time(times_heard(trace, "Cy"), 1.3, 1.9) and in_this_time(times_heard(trace, "Ann"), 1.3, 1.9)
    assert not trace.errors and not trace.evicted()
    assert {process.pid for process in psutil.Process().children(recursive=True)} <= before


@in_both_worlds
def test_one_room_object_cannot_be_several_servers(play):
    with pytest.raises(RoomError, match="is one room, and each server has its own: name its class, or a function"):
        play(v1.Room(), three(listener("Ann")))


# ---------------------------------------------------------------- what a scenario may say


@pytest.mark.parametrize("number", [0, -1, 10, 1.5, "3", None])
def test_there_are_one_to_nine_servers(number):
    with pytest.raises(ValueError, match=re.escape(f"a scenario has 1 to 9 servers, not {number!r}")):
        Scenario([listener("Ann")], servers=number)


@pytest.mark.parametrize(
    "what", [{"kills": [Kill(1, server=3)]}, {"cuts": [Cut(1, 2, 3)]}, {"pauses": [Pause(1, 1, 3)]}]
)
def test_what_happens_to_a_server_that_is_not_there_is_an_error(what):
    with pytest.raises(ValueError, match="there is no server 3: they are counted from 0"):
        three(listener("Ann"), **what)


def test_what_makes_no_sense_with_several_servers_is_an_error():
    for kill in (Kill(1, power=True), Kill(1, disk=True)):
        with pytest.raises(ValueError, match="several servers share one disk: one alone cannot lose it, nor its power"):
            three(listener("Ann"), kills=[kill])
    with pytest.raises(ValueError, match="a server can be cut off once"):
        three(listener("Ann"), cuts=[Cut(1, 2, 1), Cut(3, 4, 1)])
    with pytest.raises(ValueError, match="a server can be killed only while it runs"):
        three(listener("Ann"), kills=[Kill(1, 2, server=1), Kill(2, 1, server=1)])
    three(listener("Ann"), kills=[Kill(1, 2, server=1), Kill(2, 1, server=2)], cuts=[Cut(1, 2, 0), Cut(1, 2, 1)])
    three(listener("Ann"), kills=[Kill(1, power=True, disk=True, server=LOG)])  # that one has a machine of its own


@pytest.mark.parametrize("times", [(-1, 1), (2, 2), (2, 1), (1, float("inf")), (float("nan"), 1)])
def test_a_cut_has_a_beginning_and_an_end(times):
    with pytest.raises(ValueError, match="a server is cut off from one time to a later one: not Cut"):
        Cut(*times)


@pytest.mark.parametrize("times", [(-1, 1), (1, 0), (1, float("inf")), (float("inf"), 1)])
def test_a_pause_has_a_beginning_and_takes_some_time(times):
    with pytest.raises(ValueError, match="a server stands still at one time for some seconds: not Pause"):
        Pause(*times)


# ---------------------------------------------------------------- what a Trace tells


def test_a_trace_names_its_servers_if_there_are_several():
    alone, several = trace_of(), trace_of(servers=3)
    assert (alone.server_name(0), alone.which(0)) == ("room", "")
    assert (several.server_name(0), several.which(2)) == ("room 1", "room 3")


def test_a_trace_with_several_servers_comes_back_from_plain_data_as_it_was():
    trace = simulate(Fluent, three(*commuters("Ann", "Bob"), kills=[Kill(2, server=1)], duration=4))
    again = from_plain(to_plain(trace), trace.clients)
    assert again.servers == 3 and again.visits() == trace.visits() and again.digest() == trace.digest()
    assert {visit.server for visits in again.visits().values() for visit in visits} == {"room 1", "room 2", "room 3"}


def test_a_visit_is_ended_by_a_kill_of_its_own_server_and_of_no_other():
    kills = [(5, "killed", "room 2"), (7, "started", "room 2")]
    trace = trace_of(*kills, (5, "killed", LOG), clients=[], servers=3)
    for visit, ended in [
        (Visit(1, 5.1, "lost", "room 2"), True),
        (Visit(1, 5.1, "lost", "room 1"), False),
        (Visit(1, 4.9, "lost", "room 2"), False),
        (Visit(6, 6.5, "lost", "room 2"), True),  # it was being opened
        (Visit(8, 9, "lost", "room 2"), False),
    ]:
        assert trace.killed_during(visit) is ended, visit


def test_a_server_is_cut_off_while_its_line_is_dark_or_the_log_is_down():
    cut = [(3, "cut off", "room 1"), (6, "reconnected", "room 1"), (90, "killed", LOG)]
    log = [(20, "killed", LOG), (21, "started", LOG)]
    trace = trace_of(*cut, *log, clients=[], servers=2)
    trace.events.sort(key=lambda event: event.time)
    trace.forget_index()
    assert trace.cut_off("room 1") == [(3, 6), (20, 21), (90, 100)] and trace.cut_off("room 2") == [(20, 21), (90, 100)]


def test_what_was_lost_on_the_way_counts_from_when_it_was_said_again():
    def said(kind, time, written):
        events = [(1, "said", "Ann", "Ann 1", None, "x"), (time, "said again", "Ann", "Ann 1", None, "x")]
        return trace_of(*events, *([(written, "written", "Ann", "Ann 1", None, "x")] if written else []))

    assert said("again", 5, 5.1).said_at(0) == 5  # the first time it was lost
    assert said("again", 5, 1.1).said_at(0) == 1  # the first time it was written, and the answer was lost
    assert said("again", 5, None).said_at(0) == 1


# ---------------------------------------------------------------- where rooms are tried


def test_scenarios_for_several_servers_are_tried_with_rooms_that_say_so_and_cuts_with_those_that_take_nats():
    some = {name: SCENARIOS[name] for name in ("healthy", "restart", "three servers", "cut off")}

    class OnlyOne(v9.Room):
        many_servers = False

    def makes_one(path=None):
        return v9.Room(path)

    for room, why in (
        ("v4", {"restart": NO_PATH, "three servers": NO_PATH, "cut off": NO_PATH}),
        (OnlyOne, {"three servers": ONE_SERVER, "cut off": ONE_SERVER}),
        (makes_one, {"cut off": NO_NATS}),
        ("v9.1", {}),
    ):
        card = check(room, 1, scenarios=some, progress=False, processes=1)
        assert card.tried == [name for name in some if name not in why], room
        untested = {name: card.cells["delivery", name].untested for name in some}
        assert {name: untested[name] for name in why} == why, room


# ---------------------------------------------------------------- the judge, and good rooms


@cache
def verdicts(room, scenario, seed):
    return judge(simulate(room, SCENARIOS[scenario], seed))


SCENARIOS_OF_MANY = ["three servers", "one of three", "one stands still"]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "room, scenario",
    [(room, name) for room in (v9.Room, v9_1.Room) for name in SCENARIOS_OF_MANY] + [(v9_1.Room, "cut off")],
    ids=lambda value: value if isinstance(value, str) else value.__module__.rpartition(".")[2],
)
def test_good_rooms_keep_everything_at_several_servers(room, scenario, seed):
    found = verdicts(room, scenario, seed)
    assert not [verdict for verdict in found.values() if verdict.kept is False]
    tested = {"delivery", "total-order", "one-history", "answered", "kept", "no-gap", "in-order", "catch-up"}
    tested -= {"one stands still": {"kept"}, "cut off": {"catch-up"}}.get(scenario, set())
    assert all(found[name].kept for name in tested)
    assert found["isolation"].kept if scenario == "cut off" else found["isolation"] == (None, NO_CUT)


# ---------------------------------------------------------------- wrong ones


def sharing(history: type[SharedHistory]):
    """v9 with another history."""

    class Sharing(v9.Room):
        def __init__(self, path=None, keep=v9.KEEP):
            super().__init__(path, keep=keep)
            self.history = history(path, keep, recent=v9.RECENT)

    Sharing.__name__ = history.__name__
    return Sharing


@sharing
class KnowsItsOwnIds(SharedHistory):
    def take_in(self):
        known = dict(self.numbers)
        super().take_in()
        self.numbers = known


@sharing
class NumbersBeforehand(SharedHistory):
    """It looks in a call of its own which number is the next, before the transaction."""

    async def append(self, messages, once=False):
        await self.learn()
        return await super().append(messages, once)

    def meet_others(self):
        if self.last == 0:
            return super().meet_others()
        self.writer.execute("DELETE FROM message WHERE seq > ?", [self.last])


@sharing
class PassesOnByName(SharedHistory):
    async def follow(self, seq):
        async for messages in super().follow(seq):
            yield sorted(messages, key=lambda message: message.token)


@sharing
class GoesOnFromWhatItHasWritten(SharedHistory):
    async def follow(self, seq):
        while True:
            self.rung.clear()
            if some := await self.after(seq, LARGEST, CHUNK):
                seq = max(some[-1].seq, self.last)
                yield some
            else:
                await self.rings_within(LONGEST_SILENCE)


@sharing
class LooksWhenItWrites(SharedHistory):
    async def follow(self, seq):
        while True:
            await self.rung.wait()
            self.rung.clear()
            while some := await self.after(seq, LARGEST, CHUNK):
                seq = some[-1].seq
                yield some

    async def append(self, messages, once=False):
        kept = await self.on(self.writing, self.write, messages, once)
        self.bell.ring([])
        return kept


@sharing
class KeepsOnlyTheNewest(SharedHistory):
    def first_to_keep(self, last):
        return last


class NumbersOnItsOwn(v9.Room):
    def __init__(self, path=None):
        super().__init__(f"{path}-{random.getrandbits(60)}")


class HasANameOfItsOwn(v9.Room):
    async def __aenter__(self):
        await super().__aenter__()
        self.history.epoch = os.urandom(8).hex()
        return self


class SetsBackWhoIsAhead(v9.Room):
    async def catch_up_with(self, heard):
        pass


class TellsAGapWhileBehind(v9.Room):
    async def welcome(self, reader, path):
        wanted = since_wanted(path)
        if wanted and wanted.epoch == self.history.epoch and wanted.seq > self.last:
            reader.resumes = True
            gap = Gap(self.last + 1, self.last + 40)  # it does not know how many
            return await self.tell(reader, Position(wanted.epoch, self.last + 40, gap))
        await super().welcome(reader, path)


class HidesAHole(v9.Room):
    def broadcast(self, messages):
        self.last = max(self.last, messages[0].seq - 1)
        super().broadcast(messages)


class AnswersAlways(v9.Room):
    """It says one's own messages twice: when they are written, and when it hears of them."""

    def acknowledge_again(self, batch, kept, level):
        for (connection, _), message in zip(batch, kept):
            if connection in self.readers:
                self.reply(connection, message)


class AnswersNobodyAgain(v9.Room):
    def acknowledge_again(self, batch, kept, level):
        pass


class AnswersBeforehand(v9.Room):
    async def next_batch(self):
        batch = await super().next_batch()
        for connection, message in batch:
            self.reply(connection, message)
        return batch


class IsLate(v9.Room):
    async def follow(self):
        async for messages in self.history.follow(self.last):
            await asyncio.sleep(1.2)
            self.broadcast(messages)


class RefusesNothing(v9_1.Room):
    """While it is cut off, it says nothing."""

    def reply(self, connection, message):
        if message.refused is None:
            super().reply(connection, message)


class RefusesAndKeeps(v9_1.Room):
    """What it refuses it writes down all the same, when it can again."""

    def refusal(self, message, why):
        self.again.append((None, message))
        return super().refusal(message, why)

    async def __aenter__(self):
        self.again = []
        await super().__aenter__()
        self.tasks.append(asyncio.create_task(self.try_again()))
        return self

    async def try_again(self):
        while True:
            await asyncio.sleep(0.5)
            if self.again and not self.history.in_doubt and self.history.connection.is_connected:
                await self.history.append([message for _, message in self.again])
                self.again.clear()


class SaysItAllTheSame(v9_1.Room):
    """What cannot be written down, people at this server hear."""

    def reply(self, connection, message):
        super().reply(connection, message)
        if message.refused is not None:
            for each in self.readers:
                super().reply(each, Message("Ann", message.refused, id=message.id))


class SendsPeopleAway(v9_1.Room):
    def reply(self, connection, message):
        super().reply(connection, message)
        if message.refused is not None:
            connection.transport.abort()


def on_nats(history: type[JetStreamHistory]):
    """v9.1 with another history."""

    class OnNats(v9_1.Room):
        def __init__(self, nats=URL, keep=v9.KEEP):
            super().__init__(nats, keep=keep)
            self.history = history(nats, keep, recent=v9.RECENT)

    OnNats.__name__ = history.__name__
    return OnNats


@on_nats
class PublishesUnderNewIds(JetStreamHistory):
    async def begin(self):
        await super().begin()
        publish = self.jetstream.publish
        self.jetstream.publish = lambda subject, data, timeout, headers: publish(
            subject, data, timeout=timeout, headers={"Nats-Msg-Id": uuid4().hex}
        )


@on_nats
class PublishesOnce(JetStreamHistory):
    """What has not been answered in time it forgets."""

    async def append(self, messages, once=True):
        kept = await super().append(messages, once)
        for task in list(self.in_doubt):
            task.cancel()
        return kept


WRONG = [
    (KnowsItsOwnIds, "three servers", "said-once", "said again at .* was number"),
    (NumbersBeforehand, "three servers", "one-history", "number .* was .* and .* to "),
    (PassesOnByName, "one of three", "at-most-once", "heard .* 2 times"),
    (PassesOnByName, "three servers", "total-order", "the other way round"),
    (GoesOnFromWhatItHasWritten, "three servers", "delivery", "never heard"),
    (LooksWhenItWrites, "one of three", "delivery", "never heard|heard .* only"),
    (KeepsOnlyTheNewest, "three servers", "said-once", "said again at"),
    (NumbersOnItsOwn, "one stands still", "one-history", "number 1 was "),
    (HasANameOfItsOwn, "three servers", "no-gap", "that this is another history, and no server was started again"),
    (HasANameOfItsOwn, "one stands still", "no-gap", "that this is another history, and no server was started again"),
    (SetsBackWhoIsAhead, "one stands still", "in-order", "was set back to"),
    (TellsAGapWhileBehind, "one stands still", "no-gap", "was told at .* are gone, and .* heard"),
    (HidesAHole, "one stands still", "no-gap", "had not heard .* and was not told that it is gone"),
    (AnswersAlways, "one of three", "one-history", "right after"),
    (AnswersNobodyAgain, "three servers", "answered", "was never told what became of it"),
    (AnswersBeforehand, "one of three", "kept", "did not find it"),
    (IsLate, "one stands still", "catch-up", "when others had heard up to number"),
    (RefusesNothing, "cut off", "isolation", "room .* was cut off .* was not told so within 3 s"),
    (SaysItAllTheSame, "cut off", "isolation", "room .* was cut off .* heard .* which was said there"),
    (RefusesAndKeeps, "cut off", "isolation", "was told that .* is refused .* heard it"),
    (SendsPeopleAway, "cut off", "isolation", "room .* was cut off .* was disconnected"),
    (PublishesUnderNewIds, "three servers", "said-once", "said again at .* was number"),
    (PublishesOnce, "cut off", "answered", "was never told what became of it"),
    (REFERENCE_ROOMS["LocalFirst"], "three servers", "total-order", "the other way round"),
    (REFERENCE_ROOMS["LocalFirst"], "one of three", "kept", "the server was killed at .* did not find it"),
    (REFERENCE_ROOMS["RelayCore"], "cut off", "total-order", "the other way round"),
    (REFERENCE_ROOMS["RelayCore"], "cut off", "answered", "was never told what became of it"),
    (REFERENCE_ROOMS["RelayCore"], "cut off", "delivery", "never heard"),
    (REFERENCE_ROOMS["RelayCore"], "cut off", "isolation", "room .* was cut off from the log"),
]


@pytest.mark.parametrize(
    "room, scenario, guarantee, evidence", WRONG, ids=[f"{room.__name__}-{name}" for room, _, name, _ in WRONG]
)
def test_a_wrong_room_is_found_out(room, scenario, guarantee, evidence):
    found = (verdicts(room, scenario, seed)[guarantee] for seed in range(10))
    verdict = next((verdict for verdict in found if verdict.kept is False), None)
    assert verdict and re.search(evidence, verdict.evidence), verdict


def test_at_one_server_the_order_of_local_first_and_the_relay_is_one():
    for room in ("LocalFirst", "RelayCore"):
        trace = simulate(REFERENCE_ROOMS[room], Scenario(commuters(*ALL_NINE, resumes=False), duration=20), 1)
        assert not trace.disagreements() and not trace.missed()["Ann"], room
