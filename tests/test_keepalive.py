"""Keepalive: nobody is pinged unless somebody asks for it: the room, or whoever runs it."""

import json
import math
from functools import partial

import pytest

from chatroom_lib import Scenario, Server, check, frozen, listener, rooms, serve, simulate, stop_all, talker
from chatroom_lib.checker.guarantees import judge
from chatroom_lib.reference_rooms import WebsocketsBroadcast
from chatroom_lib.rooms import RoomError, v1, v1_1, v3_1
from chatroom_lib.server.options import options_for
from tests.helpers import frozen as frozen_client, hears, in_a_loop, in_both_worlds, joining, said, until

quiet = partial(check, progress=False)


class Hasty(WebsocketsBroadcast):
    """It gives up on a closing handshake at once; the library does after 10 s."""

    server_options = {"ping_interval": 0.2, "ping_timeout": 0.2, "close_timeout": 0.1}


def with_bob_frozen(**talk) -> Scenario:
    return Scenario([talker("Ann", **talk), frozen("Bob"), listener("Cy")], duration=2)


# ---------------------------------------------------------------- what it does


@in_both_worlds
def test_whoever_answers_no_ping_is_disconnected_and_the_others_are_not(play):
    trace = play(Hasty, with_bob_frozen(says=15, size=20))
    assert trace.in_pool() == ["Ann", "Cy"] and 0.4 < trace.evicted()["Bob"] < 1.5
    assert len(trace.heard("Cy")) == 15 and not trace.of("lost")


@in_both_worlds
def test_while_a_buffer_is_full_the_ping_waits_too_and_nobody_is_disconnected(play):
    trace = play(Hasty, with_bob_frozen(says=60, starts=0.05, every=0.001, size=4000))
    assert trace.in_pool() == ["Ann", "Bob", "Cy"] and trace.heard("Cy")[-1] == "Ann 60"
    assert not trace.missed()["Cy"]


@in_both_worlds
@pytest.mark.parametrize("room, options", [(WebsocketsBroadcast, {"keepalive": 0}), ("v3.1", {})])
def test_without_pings_a_frozen_client_stays(play, room, options):
    trace = play(room, with_bob_frozen(says=3), **options)
    assert trace.in_pool() == ["Ann", "Bob", "Cy"] and trace.keepalive is None


talk = dict(says=40, every=2, size=300)
hanging = Scenario([talker("Ann", **talk), frozen("Bob"), talker("Cy", **talk)], duration=120)


def test_with_the_librarys_keepalive_v1_1_evicts_the_healthy_and_nobody_has_died():
    for seed in range(5):
        evicted = simulate("v1.1", hanging, seed, keepalive=20).evicted()
        assert "Bob" in evicted and {"Ann", "Cy"} & set(evicted)
        assert not simulate("v1.1", hanging, seed).evicted()


@in_both_worlds
def test_whoever_the_room_does_not_read_from_is_disconnected_although_healthy(play):
    """Their pongs wait behind what they have said."""

    class HastyV1(v1.Room):
        server_options = {**Hasty.server_options, "ping_timeout": 0.4}

    talk = dict(says=100, starts=0.1, every=0.005, size=4000)
    trace = play(HastyV1, Scenario([talker("Ann", **talk), frozen("Bob"), talker("Cy", **talk)], duration=3))
    assert {event.who for event in trace.of("lost")} == {"Ann", "Cy"}


@pytest.mark.real
@in_a_loop
async def test_a_server_pings_if_it_is_told_to():
    class Quick(v3_1.Room):
        server_options = {"close_timeout": 0.1}

    server = await serve(Quick, keepalive=0.5)
    try:
        async with frozen_client(server.url) as bob, joining(server.url) as ann:
            bob.transport.pause_reading()
            await until(lambda: len(server.room.members()) == 1)
            await ann.send(said("still here"))
            assert await hears(ann, "still here")
    finally:
        await stop_all()


# ---------------------------------------------------------------- who decides


class Pinging(v3_1.Room):
    server_options = {"ping_interval": 7, "compression": "deflate"}


@pytest.mark.parametrize(
    "room, keepalive, given, interval",
    [
        ("v3.1", None, {}, None),
        ("v3.1", 20, {}, 20),
        (Pinging, None, {}, 7),
        (Pinging, 20, {}, 20),
        (Pinging, 0, {}, None),
        (Pinging, 20, {"ping_interval": 3}, 3),
    ],
)
def test_the_caller_decides_before_the_room_and_the_room_before_this_project(room, keepalive, given, interval):
    server = Server(room, keepalive=keepalive, **given)
    assert server.options["ping_interval"] == interval
    assert server.options["compression"] == ("deflate" if room is Pinging else None)


def test_the_timeout_is_as_long_as_the_interval():
    assert options_for(object(), 5, {})["ping_timeout"] == 5


@pytest.mark.parametrize("keepalive", [-1, math.nan, math.inf, "20", True])
def test_what_is_no_number_of_seconds_is_an_error(keepalive):
    for way in (Server, partial(simulate, scenario=with_bob_frozen()), partial(quiet, seeds=1)):
        with pytest.raises(ValueError, match="keepalive must be a number of seconds, 0 for no pings, not"):
            way("v1", keepalive=keepalive)


@pytest.mark.parametrize(
    "options, says",
    [
        ({"ping_intervall": 20}, "cannot set 'ping_intervall'; it can set what websockets.serve takes"),
        ({"process_request": print}, "cannot set 'process_request'"),
        ({3: 4}, "cannot set 3"),
        ("ping", "must be a dictionary, not 'ping'"),
    ],
)
def test_options_that_a_room_cannot_have_are_an_error(options, says):
    class Wrong(v1_1.Room):
        server_options = options

    with pytest.raises(RoomError, match=says):
        rooms.create(Wrong)


# ---------------------------------------------------------------- where it is said


def test_a_trace_and_a_card_say_so_and_the_runs_behind_a_card_are_pinged_too():
    card = quiet("v1.1", seeds=1, scenarios={"hanging": hanging}, keepalive=20)
    assert "v1.1, keepalive 20 s" in repr(card) and json.loads(json.dumps(card.as_dict()))["keepalive"] == 20
    for trace in (card.replay("no-false-eviction"), card.shortest("no-false-eviction")):
        assert trace.keepalive == 20 and "keepalive 20 s" in repr(trace)
        assert judge(trace)["no-false-eviction"].kept is False


def test_it_follows_the_seed_like_everything_else():
    assert len({simulate(Hasty, with_bob_frozen(says=15), 3).digest() for _ in range(3)}) == 1
