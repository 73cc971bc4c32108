"""Simulated people do what their description says, in virtual time and on real sockets."""

import asyncio
import math
from functools import partial

import pytest

from chatroom_lib import (
    Client,
    Scenario,
    commuter,
    frozen,
    late_joiner,
    leaving,
    listener,
    simulate,
    talker,
    unplugged,
)  # fmt: skip
from chatroom_lib.rooms import v1_1, v7, v8
from tests.helpers import in_both_worlds

# ---------------------------------------------------------------- what they are told


def test_the_times_of_messages_may_come_from_anything_that_yields_numbers():
    ann = talker("Ann", at=(moment / 10 for moment in (1, 2)))
    assert ann.send_times == [0.1, 0.2] and len(simulate("v1", Scenario([ann])).of("said")) == 2


@pytest.mark.parametrize(
    "changes", [{"at": (math.nan, 1)}, {"joins": -1}, {"latency": math.nan}, {"dark": 3, "light": 2}]
)
def test_times_that_are_none_are_an_error(changes):
    with pytest.raises(ValueError, match="Ann: "):
        Client("Ann", **changes)


def test_a_client_without_a_time_follows_the_one_before_it_that_has_none():
    people = [talker("Ann", says=2), late_joiner("Di", joins=5), listener("Cy")]
    joined = simulate("v1", Scenario(people, duration=20)).first("joined")
    assert joined["Ann"] < joined["Cy"] < 0.1 and joined["Di"] > 5


# ---------------------------------------------------------------- what they do


class Pings(v1_1.Room):
    """Notes who answers a ping within a moment."""

    def __init__(self):
        super().__init__()
        self.answered = {}

    async def handle(self, connection):
        await asyncio.sleep(0.1)
        answer = await connection.ping()
        await asyncio.wait([answer], timeout=0.5)
        self.answered[connection.name] = answer.done()
        await super().handle(connection)


@in_both_worlds
def test_a_frozen_client_answers_no_ping(play):
    room = Pings()
    play(room, Scenario([frozen("Bob"), listener("Cy")], duration=1))
    assert room.answered == {"Bob": False, "Cy": True}


@in_both_worlds
def test_on_a_dark_line_nothing_passes_and_nobody_is_told_and_what_was_sent_arrives_later(play):
    people = [talker("Ann", says=20, every=0.05), unplugged("Bob", dark=0.5, light=1.2), listener("Cy")]
    trace = play("v1.1", Scenario(people, duration=1.8))
    heard = [event.time for event in trace.of("heard", who="Bob")]
    assert len(heard) == 20 and not [time for time in heard if 0.6 < time < 1.2]
    assert any(time < 0.6 for time in heard) and not trace.of("lost", "failed")


@in_both_worlds
def test_a_line_that_stays_dark_tells_nobody_that_its_client_has_gone(play):
    people = [talker("Ann", says=20, every=0.05), unplugged("Bob", dark=0.5, says=0), listener("Cy")]
    trace = play("v1.1", Scenario(people, duration=1.5))
    assert 0 < len(trace.heard("Bob")) < 20 and trace.in_pool() == ["Ann", "Bob", "Cy"]
    assert not trace.of("lost", "failed")


@in_both_worlds
def test_whoever_is_far_away_hears_later_and_as_much(play):
    people = [talker("Ann", says=10, starts=1.1, every=0.05), listener("Cy"), listener("Bob", latency=0.3)]
    trace = play("v1.1", Scenario(people, duration=2.5))
    delays = [delay for event, delay in trace.latencies() if event.who == "Bob"]
    assert len(delays) == len(trace.heard("Cy")) == 10 and min(delays) > 0.3
    assert 0.6 < trace.first("joined")["Bob"]  # there and back


@in_both_worlds
def test_a_client_that_was_disconnected_does_not_leave_later(play):
    class Disconnects(v1_1.Room):
        async def handle(self, connection):
            await asyncio.sleep(0.2)
            await connection.close()

    trace = play(Disconnects, Scenario([listener("Ann"), leaving("Bob", leaves=0.8)], duration=1))
    assert [event.who for event in trace.of("lost")] == ["Ann", "Bob"] and not trace.of("left")


# ---------------------------------------------------------------- those who resume


@pytest.mark.parametrize(
    "changes, why",
    [
        ({"returns": False}, "only a client that returns can resume"),
        ({"path": "/chatroom?since=a:1"}, "says itself what it has heard"),
        ({"path": "/chatroom?last=5&since="}, "says itself what it has heard"),
        ({"path": "chatroom"}, "a path begins with a slash"),
    ],
)
def test_whoever_resumes_comes_back_and_says_itself_what_it_has_heard(changes, why):
    with pytest.raises(ValueError, match=f"Cy: .*{why}"):
        Client("Cy", **{"returns": True, "resumes": True, **changes})


class Notes(v7.Room):
    """What each visitor has asked for."""

    asked = []

    async def welcome(self, reader, path):
        self.asked.append(path)
        await super().welcome(reader, path)


@in_both_worlds
def test_whoever_resumes_says_on_each_connection_what_it_has_heard(play):
    Notes.asked = []
    cy = commuter("Cy", away=[(0.8, 1.1), (1.8, 2.1)], resumes=True, path="/chatroom?x=1")
    trace = play(Notes, Scenario([talker("Ann", says=4, starts=0.3, every=0.3), cy], duration=4))
    epoch = trace.of("welcomed")[0].message
    heard, visits = trace.of("heard", who="Cy"), trace.visits()["Cy"]
    before = [sum(event.time <= visit.ended for event in heard) for visit in visits[:-1]]
    first, *later = [path for path in Notes.asked if "since" in path]
    assert first == "/chatroom?x=1&since=:"
    assert later == [f"/chatroom?x=1&since={epoch}:{number}" for number in before] and 0 < before[0] < before[1]
    assert [event.seq for event in heard] == [1, 2, 3, 4]
    assert [event.seq for event in trace.of("welcomed")] == [0, *before] and not trace.of("told a gap")


@in_both_worlds
def test_whoever_goes_away_silently_leaves_a_dead_connection_behind_and_comes_back_on_a_new_one(play):
    people = [talker("Ann", says=40, every=0.05), commuter("Cy", away=[(0.6, 1)], silently=True, resumes=True)]
    pools = {}
    for room in (v7.Room, partial(v8.Room, deadline=1)):
        trace = play(partial(room, limit=None), Scenario([*people, listener("Di")], duration=3.5))
        assert [visit.how for visit in trace.visits()["Cy"]] == ["away", ""] and not trace.evicted()
        assert trace.heard("Cy") == [f"Ann {number}" for number in range(1, 41)]
        assert trace.in_pool() == ["Ann", "Cy", "Di"]
        pools[len(pools) + 7] = trace.pool_size()[-1][1]
    assert pools == {7: 4, 8: 3}


@pytest.mark.parametrize("changes", [{"silently": True}, {"away": [(1, 2)], "silently": True, "dark": 3}])
def test_only_who_goes_away_can_do_it_silently(changes):
    with pytest.raises(ValueError, match="silently"):
        commuter("Cy", **changes)


def test_a_client_has_some_patience():
    with pytest.raises(ValueError, match="patience"):
        commuter("Cy", patience=0)
