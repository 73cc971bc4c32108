"""What every version owes its users, and for each version the failure that its docstring names, and its cure."""

import asyncio
from functools import partial

import pytest

from chatroom_lib import (
    Scenario,
    flooder,
    frozen,
    late_joiner,
    leaving,
    listener,
    live,
    rooms,
    run,
    simulate,
    slow_reader,
    talker,
)  # fmt: skip
from chatroom_lib.rooms import v2, v2_rw, v3, v3_1, v3_2
from chatroom_lib.rooms.requirements import takes
from tests.helpers import every_version

NO_LIMIT = {name: partial(room, limit=None) for name, room in rooms.VERSIONS.items() if takes(room, "limit")}
EVERY_VERSION = [pytest.param(NO_LIMIT.get(name, name), id=name) for name in rooms.VERSIONS]
SEEDS = range(3)

# ---------------------------------------------------------------- what they all owe

meeting = Scenario([talker("Ann", says=5), talker("Bob", says=5, every=0.07), listener("Cy")], duration=60)


@pytest.mark.parametrize("room", EVERY_VERSION)
@pytest.mark.parametrize("seed", SEEDS)
def test_everyone_hears_everything_once_and_in_each_speakers_order(room, seed):
    trace = simulate(room, meeting, seed)
    for name in trace.names:
        heard = trace.heard(name)
        for speaker in ("Ann", "Bob"):
            assert [m for m in heard if m.startswith(speaker)] == [f"{speaker} {n}" for n in range(1, 6)]
    assert trace.errors == [] and not trace.stuck
    assert trace.ending == "quiescent" or trace.room in ("v8", "v9", "v9.1")  # a room that pings is never at rest


@pytest.mark.parametrize("room", EVERY_VERSION)
def test_whoever_joins_late_hears_what_is_said_from_then_on(room):
    trace = simulate(room, Scenario([talker("Ann", says=10), late_joiner("Bob", joins=0.55)], duration=60))
    heard = trace.heard("Bob")
    assert heard and set(heard) == {f"Ann {n}" for n in range(11 - len(heard), 11)}


@pytest.mark.parametrize("room", [room for room in EVERY_VERSION if room.id != "v2-rw"])  # see its own test
def test_whoever_leaves_leaves_the_others_alone(room):
    scenario = Scenario([talker("Ann", says=10), leaving("Bob", leaves=0.35), listener("Cy")], duration=60)
    trace = simulate(room, scenario)
    assert trace.heard("Ann") == trace.heard("Cy") == [f"Ann {n}" for n in range(1, 11)]
    assert trace.heard("Bob") == trace.heard("Ann")[: len(trace.heard("Bob"))]
    assert trace.errors == []


@every_version
def test_a_room_that_has_been_left_has_no_task_any_more(room):
    async def visit():
        async with rooms.create(room) as entered:
            if hasattr(entered, "broadcasts"):  # one that waits for a client that does not read
                entered.broadcasts.add(asyncio.create_task(asyncio.Event().wait()))
            await asyncio.sleep(0)
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert asyncio.run(visit()) == set()


# ---------------------------------------------------------------- v1 and its cure

leavers = Scenario([talker("Ann", says=10), *(leaving(name, leaves=0.25) for name in ("Bob", "Cy", "Di"))], duration=60)
frozen_reader = Scenario([talker("Ann", says=60, every=0.02), frozen("Bob"), listener("Cy")], duration=60)
frozen_dies = Scenario(
    [talker("Ann", says=60, every=0.02), frozen("Bob", vanishes=1), listener("Cy"), listener("Di")], duration=150
)
slow = Scenario([talker("Ann", says=60, every=0.02), slow_reader("Bob", 0.05), listener("Cy")], duration=150)


def test_v1_keeps_dead_connections_and_v1_1_removes_them():
    trace = simulate("v1", leavers)
    assert trace.pool_size()[-1][1] == 4
    assert trace.failed_per_broadcast()[-1][1] == 3
    cured = simulate("v1.1", leavers)
    assert cured.pool_size()[-1][1] == 1
    assert cured.failed_per_broadcast()[-1][1] == 0


def test_v1_stalls_the_speaker_and_v1_1_does_not():
    trace = simulate("v1", frozen_reader)
    assert trace.stuck
    assert len(trace.heard("Ann")) < 20 and len(trace.heard("Cy")) < 20
    assert [str(wait) for wait in trace.waits if wait.blocked and wait.on == "Bob"]
    cured = simulate("v1.1", frozen_reader)
    assert len(cured.heard("Ann")) == 60


# ---------------------------------------------------------------- v1.1 and its cure


@pytest.mark.parametrize("seed", SEEDS)
def test_v1_1_evicts_healthy_clients_without_an_error_and_v2_does_not(seed):
    trace = simulate("v1.1", frozen_dies, seed)
    assert set(trace.evicted()) == {"Cy", "Di"}
    assert trace.errors == []
    assert not trace.of("left", "lost", who="Cy")
    assert simulate("v2", frozen_dies, seed).evicted() == {}


def test_whoever_was_evicted_in_v1_1_can_speak_but_is_deaf():
    talking = [talker("Ann", says=60, every=0.02), frozen("Bob", vanishes=1), talker("Cy", says=5, every=0.5)]
    trace = simulate("v1.1", Scenario(talking, duration=30))
    evicted_at = trace.evicted()["Cy"]
    said = [event.message for event in trace.of("said", who="Cy") if event.time > evicted_at]
    assert said and set(said) <= set(trace.heard("Ann"))
    assert not set(said) & set(trace.heard("Cy"))


def test_v1_shows_people_different_orders_when_two_talk_and_v2_one():
    two = Scenario([*slow.clients[:1], talker("Di", says=60, every=0.02), *slow.clients[1:]], duration=150)
    assert simulate("v1", two).disagreements()
    assert not simulate(partial(v2.Room, delay=0), two).disagreements()


def test_v1_1_keeps_its_order_only_because_tasks_run_in_the_order_in_which_they_became_ready():
    trace = simulate("v1.1", slow)
    assert trace.of("overlap") and not trace.disagreements()
    assert simulate("v1.1", slow, schedule="any").disagreements()
    cured = simulate(partial(v2.Room, delay=0), slow, schedule="any")
    assert not cured.disagreements() and not cured.of("overlap")


def test_v1_1_keeps_a_task_for_every_message_while_somebody_is_frozen():
    trace = simulate("v1.1", frozen_reader)
    in_flight = trace.sends_in_flight()[-1][1]
    assert in_flight > 30
    assert len([wait for wait in trace.waits if wait.blocked]) == in_flight


# ---------------------------------------------------------------- v2, v2-rw and their cure

newcomer = Scenario([talker("Ann", says=5, every=0.1), late_joiner("Bob", joins=0.45)], duration=60)


def join_wait(trace, name: str) -> float:
    return trace.of("entered", who=name)[0].time - trace.of("joined", who=name)[0].time


def test_v2_lets_a_newcomer_wait_for_the_backlog_and_v3_does_not():
    wait = join_wait(simulate("v2", newcomer), "Bob")
    assert 5.5 < wait < 6  # three messages of 2 s stand before him, and the first is being sent
    assert join_wait(simulate(partial(v2.Room, delay=0.0), newcomer), "Bob") < 0.1
    assert join_wait(simulate("v3", newcomer), "Bob") < 0.1


def test_v2_keeps_everybody_out_while_somebody_is_frozen_and_v3_does_not():
    scenario = Scenario([*frozen_reader.clients, late_joiner("Eve", joins=0.9)], duration=600)
    trace = simulate("v2", scenario)
    assert trace.stuck and not trace.of("entered", who="Eve")
    cured = simulate("v3", scenario)
    assert cured.of("entered", who="Eve") and not cured.stuck


@pytest.mark.parametrize("seed", SEEDS)
def test_v2_rw_is_silent_for_good_after_one_death_and_v2_is_not(seed):
    scenario = Scenario([*frozen_dies.clients, talker("Eve", says=3, joins=5)], duration=600)
    trace = simulate("v2-rw", scenario, seed)
    assert trace.stuck
    assert {wait.kind for wait in trace.waits if wait.blocked} >= {"write"}
    assert not trace.of("entered", who="Eve")
    cured = simulate("v2", scenario, seed)
    assert cured.of("entered", who="Eve") and not cured.stuck


def test_v2_rw_sends_twice_at_once_again():
    assert simulate(partial(v2_rw.Room, delay=0), slow).of("overlap")


# ---------------------------------------------------------------- v3, v3.1, v3.2

SMALL_OUTBOX = {"outbox_size": 8}


def test_v3_makes_everybody_wait_for_a_slow_reader_and_v3_1_drops_for_it():
    trace = simulate(partial(v3.Room, **SMALL_OUTBOX), slow)
    waits = [delay for event, delay in trace.latencies() if event.who == "Cy"]
    assert max(waits) > 0.5 and not trace.stuck and len(trace.heard("Bob")) == 60
    cured = simulate(partial(v3_1.Room, **SMALL_OUTBOX), slow)
    assert max(delay for event, delay in cured.latencies() if event.who == "Cy") < 0.1
    assert len(cured.heard("Cy")) == 60 and 0 < len(cured.heard("Bob")) < 60


@pytest.mark.parametrize("seed", SEEDS)
def test_v3_deadlocks_when_a_client_dies_with_a_full_outbox_and_v3_1_does_not(seed):
    scenario = Scenario([*frozen_dies.clients, late_joiner("Eve", joins=2)], duration=150)
    trace = simulate(partial(v3.Room, **SMALL_OUTBOX), scenario, seed)
    assert trace.stuck
    waiting = {(wait.doing, wait.kind) for wait in trace.waits if wait.blocked}
    assert ("Room.broadcast", "put") in waiting
    assert ("Room.write", "hand over") in waiting
    cured = simulate(partial(v3_1.Room, **SMALL_OUTBOX), scenario, seed)
    assert not cured.stuck and len(cured.heard("Cy")) == 60 and cured.of("entered", who="Eve")


def test_v3_1_counts_what_it_drops():
    room = v3_1.Room(**SMALL_OUTBOX)
    trace = simulate(room, slow)
    assert room.dropped == 60 - len(trace.heard("Bob")) > 0


def test_v3_1_drops_nothing_for_those_who_read_however_fast_others_speak():
    speakers = [flooder(name, says=300, every=0.0) for name in ("Ann", "Bob", "Cy")]
    room = v3_1.Room(**SMALL_OUTBOX)
    trace = simulate(room, Scenario([*speakers, listener("Di")], duration=60))
    assert room.dropped == 0 and len(trace.heard("Di")) == 900


def test_v3_2_limits_a_flood_and_says_so_to_the_sender():
    crowd = Scenario([flooder("Ann", says=100, every=0.05), listener("Bob")], duration=20)
    assert len(simulate("v3.1", crowd).heard("Bob")) == 100
    room = v3_2.Room()
    trace = simulate(room, crowd)
    assert 5 <= len(trace.heard("Bob")) <= 6  # five seconds, one message a second
    assert room.refused == len(trace.of("refused", who="Ann")) == 100 - len(trace.heard("Bob"))
    times = [event.time for event in trace.of("accepted") if event.message in trace.heard("Bob")]
    assert all(later - earlier >= 1 for earlier, later in zip(times, times[1:]))


def test_v3_2_refuses_people_who_type_two_lines_in_a_second():
    trace = simulate("v3.2", Scenario([talker("Ann", says=2, every=0.6)], duration=20))
    assert trace.heard("Ann") == ["Ann 1"] and len(trace.of("refused")) == 1


# ---------------------------------------------------------------- on real sockets


@pytest.mark.real
@pytest.mark.slow
def test_on_real_sockets_v1_stalls():
    trace = run(live("v1", frozen_reader.lasting(1.8)))
    assert len(trace.heard("Ann")) < 60 and len(trace.heard("Cy")) < 60
    assert [wait for wait in trace.waits if wait.doing == "Room.broadcast" and wait.on == "Bob"]


@pytest.mark.real
@pytest.mark.slow
def test_on_real_sockets_v1_1_evicts_healthy_clients():
    trace = run(live("v1.1", frozen_dies.lasting(2)))
    assert set(trace.evicted()) == {"Cy", "Di"}
    assert trace.errors == [] and trace.gone().keys() == {"Bob"}


@pytest.mark.real
@pytest.mark.slow
def test_on_real_sockets_v2_lets_a_newcomer_wait_and_v3_does_not():
    slower = partial(v2.Room, delay=0.3)
    wait = join_wait(run(live(slower, newcomer.lasting(2.5))), "Bob")
    quick = join_wait(run(live("v3", newcomer.lasting(1))), "Bob")
    assert wait > 0.6 and wait > 2 * quick


# When Bob dies, what Ann has said must have filled his buffers, on a busy machine, too; and she goes on.
dies_later = Scenario(
    [talker("Ann", says=100, every=0.02), frozen("Bob", vanishes=1.6), *(listener(name) for name in ("Cy", "Di")),
     late_joiner("Eve", joins=2)], duration=3)  # fmt: skip


@pytest.mark.real
@pytest.mark.slow
def test_on_real_sockets_v2_rw_is_silent_after_one_death():
    trace = run(live(partial(v2_rw.Room, delay=0), dies_later))
    assert not trace.of("entered", who="Eve")
    assert {"write", "read"} <= {wait.kind for wait in trace.waits}


@pytest.mark.real
@pytest.mark.slow
def test_on_real_sockets_v3_deadlocks_and_v3_1_does_not():
    trace = run(live(partial(v3.Room, **SMALL_OUTBOX), dies_later))
    assert not trace.of("entered", who="Eve")
    waiting = {(wait.doing, wait.kind) for wait in trace.waits if wait.blocked}
    assert ("Room.broadcast", "put") in waiting
    assert ("Room.write", "hand over") in waiting
    cured = run(live(partial(v3_1.Room, **SMALL_OUTBOX), dies_later))
    assert cured.of("entered", who="Eve") and len(cured.heard("Cy")) == 100
