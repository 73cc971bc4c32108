"""Who is there, and who is there again: `noticed`, `no-false-alarm`, `return`; kept by v8, broken by spoilt rooms."""

import asyncio
import re
from collections import Counter
from functools import cache, partial
from random import Random

import pytest
from websockets.exceptions import ConnectionClosed

from chatroom_lib import Kill, Scenario, commuter, frozen, listener, simulate, slow_reader, talker, unplugged
from chatroom_lib.checker.guarantees import NO_PINGS, judge
from chatroom_lib.checker.scenarios import SCENARIOS
from chatroom_lib.clients.scenario import NEVER, Client
from chatroom_lib.reference_rooms import BoundedBroadcast, WebsocketsBroadcast
from chatroom_lib.rooms import v4, v7, v8
from tests.helpers import STORM
from tests.test_guarantees import trace_of

DARK, SLOW = "dark line", "slow but alive"
PRESENCE = ["noticed", "no-false-alarm"]


@cache
def verdicts(room, scenario, seed=0, **conditions):
    return judge(simulate(room, SCENARIOS[scenario], seed, **conditions))


# ---------------------------------------------------------------- good rooms


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("scenario, guarantee", [(DARK, "noticed"), (SLOW, "no-false-alarm"), (STORM, "return")])
def test_v8_keeps_everything(scenario, guarantee, seed):
    found = verdicts(v8.Room, scenario, seed)
    assert found[guarantee].kept and not [verdict for verdict in found.values() if verdict.kept is False]


def test_the_storm_is_one_for_a_server_that_is_stopped_and_for_one_that_is_killed():
    kills = [SCENARIOS[STORM](Random(seed)).kills for seed in range(2)]
    assert [kill.politely for (kill,) in kills] == [False, True]


class PingsBesides(v4.Room):
    """It evicts whoever does not read, and notices those who are merely gone: both in time."""

    server_options = {"ping_interval": 20, "ping_timeout": 20}

    def __init__(self):
        super().__init__(buffer_size=8 * 1024)


def test_a_small_bound_and_the_librarys_keepalive_notice_the_dead_too():
    assert verdicts(PingsBesides, DARK)["noticed"].kept


# ---------------------------------------------------------------- spoilt ones


class LetsTheDeadStay(v8.Room):
    def look_after(self, reader):
        reader.alive = asyncio.get_running_loop().time()
        super().look_after(reader)


class KeepsTheirConnections(v8.Room):
    """It only takes the dead off its list."""

    def __init__(self, path=None):
        super().__init__(path)
        self.dead = []

    def look_after(self, reader):
        transport, abort = reader.connection.transport, reader.connection.transport.abort
        transport.abort = lambda: self.dead.append(reader.connection)
        super().look_after(reader)
        transport.abort = abort

    def members(self):
        return [connection for connection in self.readers if connection not in self.dead]


class CountsOnlyPongs(v8.Room):
    """What else comes from a client, and what it takes of what waits for it, is no sign of life."""

    def watch(self, reader):
        super().watch(reader)
        protocol, received = reader.connection.protocol, reader.connection.protocol.receive_data

        def receive(data):
            alive = reader.alive
            received(data)
            if data[0] != 0x8A:  # the first byte of a pong
                reader.alive = alive

        protocol.receive_data = receive

    def look_after(self, reader):
        reader.waiting = 0
        super().look_after(reader)

    async def send_next(self, reader, level):
        alive = reader.alive
        await super().send_next(reader, level)
        reader.alive = alive


class SeesOnlyWhatGrowsLess(v8.Room):
    """While more is said than somebody takes, what waits for them never becomes less."""

    def look_after(self, reader):
        reader.written = 0
        super().look_after(reader)


class LimitsPingAndPong(v7.Room):
    """A timeout around both, and the ping waits for space in the buffer."""

    async def handle(self, connection):
        pinging = asyncio.create_task(self.ping(connection))
        try:
            await super().handle(connection)
        finally:
            pinging.cancel()

    async def ping(self, connection):
        try:
            while True:
                await asyncio.sleep(20)
                async with asyncio.timeout(20):
                    await (await connection.ping())
        except TimeoutError:
            connection.transport.abort()
        except ConnectionClosed:
            pass


class LetsAllKnock(v8.Room):
    """It turns nobody away, and tells all to come back at once."""

    def process_request(self, connection, request):
        return None

    def return_within(self):
        return 0.1


class TellsThemTooMuch(v8.Room):
    def return_within(self):
        return 90


MUTANTS = [
    (LetsTheDeadStay, "noticed", DARK, "'s line went dark at .* s, and a minute later they were still in the pool"),
    (KeepsTheirConnections, "no-leak", DARK, "left at .* s, and a task still serves them"),
    (WebsocketsBroadcast, "noticed", DARK, "Bob's line went dark"),
    (BoundedBroadcast, "noticed", DARK, "Bob's line went dark"),
    (CountsOnlyPongs, "no-false-alarm", SLOW, "Bob, who was reading, and had heard .* messages, was cut off at "),
    (LimitsPingAndPong, "no-false-alarm", SLOW, "Bob, who was reading"),
    (LetsAllKnock, "return", STORM, "30 s later 1.. of the 200 who had been in the room were not, such as P"),
    (TellsThemTooMuch, "return", STORM, "30 s later .* of the 200"),
]


@pytest.mark.parametrize("room, guarantee, scenario, evidence", MUTANTS)
def test_a_spoilt_room_is_found_out(room, guarantee, scenario, evidence):
    verdict = verdicts(room, scenario)[guarantee]
    assert verdict.kept is False and re.search(evidence, verdict.evidence), verdict


@pytest.mark.parametrize("room", ["v3", "v3.1", "v4", "v7"])
def test_with_the_librarys_keepalive_the_ping_waits_in_the_full_buffer(room):
    assert verdicts(room, DARK, keepalive=20)["noticed"].kept is False


def test_whoever_takes_some_of_what_waits_is_seen_although_more_is_added():
    talk = [talker(name, says=20, starts=start, every=2, size=1000) for name, start in (("Ann", 0.2), ("Cy", 0.9))]
    talk.append(talker("Di", says=20, starts=1.5, every=2, size=1000))
    steady = Scenario([*talk, slow_reader("Bob", pause=2)], duration=150)
    found = {
        room: [judge(simulate(room, steady, seed))["no-false-alarm"].kept for seed in range(12)]
        for room in (v8.Room, SeesOnlyWhatGrowsLess)
    }
    assert all(found[v8.Room]) and not all(found[SeesOnlyWhatGrowsLess])


# ---------------------------------------------------------------- not tested


@pytest.mark.parametrize("room", ["v1", "v4", "v7"])
def test_a_room_that_pings_nobody_has_promised_nothing(room):
    for scenario in (DARK, SLOW):
        assert [verdicts(room, scenario)[name] for name in PRESENCE] == [(None, NO_PINGS)] * 2


def test_what_a_run_cannot_tell_is_not_tested():
    quick = partial(v8.Room, deadline=3)
    back_again = simulate(quick, Scenario([talker("Ann"), unplugged("Bob", 5, light=50)], duration=90))
    assert "dark for good" in judge(back_again)["noticed"].evidence
    too_short = simulate(quick, Scenario([talker("Ann"), unplugged("Bob", 35)], duration=90))
    assert "dark for good" in judge(too_short)["noticed"].evidence
    much = [talker("Ann", says=20, every=1, size=4000), slow_reader("Bob", pause=2)]
    assert "what could be kept" in judge(simulate(quick, Scenario(much, duration=60)))["no-false-alarm"].evidence
    for pause, size in ((7, 4000), (3, 500)):  # nobody can tell this slow a reader from somebody who is dead
        slow = [talker("Ann", says=8, every=0.1, size=size), slow_reader("Bob", pause=pause)]
        assert judge(simulate(quick, Scenario(slow, duration=60)))["no-false-alarm"].kept is None
    long = Client("Ann", texts=["x" * 60_001], starts=1), slow_reader("Bob", pause=2)
    assert judge(simulate(quick, Scenario(long, duration=60)))["no-false-alarm"].kept is None
    killed = Scenario([talker("Ann"), unplugged("Bob", 10)], duration=150, kills=[Kill(40)])
    assert judge(simulate(LetsTheDeadStay, killed))["noticed"].kept is None  # it was the kill that removed him
    hung = simulate(quick, Scenario([talker("Ann"), frozen("Bob")], duration=60))
    assert judge(hung)["no-false-alarm"].kept is None  # who never reads is no reader


def test_the_return_is_tested_wherever_a_server_is_started_again():
    people = [talker("Ann"), commuter("Bob", away=[(3, 50)]), commuter("Cy"), listener("Di")]
    again = Scenario(people, duration=60, kills=[Kill(5)])
    assert judge(simulate("v4", again))["return"].kept
    for_good = Scenario(people, duration=60, kills=[Kill(5, back_after=NEVER)])
    nobody = Scenario([talker("Ann"), commuter("Bob", away=[(3, 50)])], duration=60, kills=[Kill(5)])
    late = Scenario(people, duration=30, kills=[Kill(5)])
    assert [judge(simulate("v4", each))["return"].kept for each in (for_good, nobody, late)] == [None] * 3


def test_who_is_out_of_reach_or_leaves_is_not_missed():
    people = [
        *(talker("Ann", says=20, every=1.5), commuter("Cy"), commuter("Di", leaves=10.6)),
        commuter("Bob", away=[(10.2, 50)]),
    ]
    assert judge(simulate("v8", Scenario(people, duration=120, kills=[Kill(10)])))["return"].kept


def test_a_line_that_is_dark_for_longer_than_anybody_can_tell_is_not_healthy():
    found = judge(simulate("v8", Scenario([talker("Ann"), unplugged("Bob", 10, light=60)], duration=100)))
    assert not [verdict for verdict in found.values() if verdict.kept is False]
    found = judge(simulate(partial(v8.Room, deadline=3), Scenario([talker("Ann"), unplugged("Bob", 10, light=19)], 40)))
    assert found["no-false-eviction"].kept is False


# ---------------------------------------------------------------- the small print, on traces made by hand


@pytest.mark.parametrize(
    "more, kept",
    [
        ([], False),  # Ann does not come back
        ([(40, "joined", "Ann"), (40, "entered", "Ann")], True),
        ([(41, "joined", "Ann"), (41, "entered", "Ann")], False),  # too late
        ([(40, "joined", "Ann")], False),  # connected, but not let in
        ([(12, "joined", "Ann"), (12, "entered", "Ann"), (20, "removed", "Ann"), (20, "lost", "Ann")], False),
        ([(12, "joined", "Ann"), (12, "entered", "Ann"), (20, "left", "Ann"), (20, "removed", "Ann")], True),
        ([(12, "joined", "Ann"), (12, "entered", "Ann"), (20, "away", "Ann"), (20, "removed", "Ann")], True),
        ([(30, "killed", "room"), (31, "started", "room")], None),  # it may have been about to come
    ],
)
def test_who_counts_as_back(more, kept):
    lost = [(9, "killed", "room"), (9, "removed", "Ann"), (9, "lost", "Ann"), (10.5, "started", "room")]
    trace = trace_of(*lost, *more, clients=[commuter("Ann"), listener("Cy")])
    assert judge(trace)["return"].kept is kept


@pytest.mark.parametrize(
    "removed, pings, kept", [(69, 1, True), (69, 0, True), (71, 1, False), (71, 0, None), (None, 1, False)]
)
def test_a_minute_is_enough_to_notice(removed, pings, kept):
    events = [(removed, "removed", "Bob")] if removed else []
    trace = trace_of(*events, clients=["Ann", unplugged("Bob", 10)], pings=Counter({"Ann": pings}))
    assert judge(trace)["noticed"].kept is kept
