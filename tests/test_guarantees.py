"""Each guarantee is kept by a good room, broken by one spoilt on purpose, and not tested where nothing tests it."""

import asyncio
import functools
from pathlib import Path

import pytest
from websockets.exceptions import NegotiationError

from chatroom_lib import (
    Message,
    Scenario,
    decode,
    flooder,
    frozen,
    late_joiner,
    leaving,
    listener,
    live,
    rate_limits,
    rooms,
    run,
    simulate,
    slow_reader,
    talker,
    unplugged,
    vanishing,
)
from chatroom_lib.channels import select
from chatroom_lib.checker.guarantees import GROUPS, GUARANTEES, describe_error, judge, most_within
from chatroom_lib.checker.scenarios import SCENARIOS, needs_path
from chatroom_lib.clients.scenario import Client
from chatroom_lib.instrumentation.memory import MemorySample
from chatroom_lib.rooms import v1
from chatroom_lib.trace import Event, Trace, Wait

SEEDS = range(3)
SOLUTIONS = Path(__file__).parent.parent / "notebooks" / "solutions" / "chapter_04.py"
Good = rooms.resolve(f"{SOLUTIONS}:Room1")


def verdicts(room, scenario, seeds=SEEDS):
    """(scenario, seed) -> guarantee -> verdict."""
    return {seed: judge(simulate(room, scenario, seed)) for seed in seeds}


# ---------------------------------------------------------------- a good room, and the same room spoilt


@functools.cache
def good(scenario: str):
    return verdicts(Good, SCENARIOS[scenario])


@pytest.mark.parametrize("scenario", [name for name in SCENARIOS if not needs_path(SCENARIOS[name])])
def test_a_good_room_breaks_nothing(scenario):
    broken = {name: v.evidence for seed in SEEDS for name, v in good(scenario)[seed].items() if v.kept is False}
    assert broken == {}


class Drops(Good):
    """Every fifth message is not for Cy."""

    count = 0

    def broadcast(self, message):
        self.count += 1
        for client in self.clients[:-1] if self.count % 5 == 0 else self.clients:
            self.deliver(client, message)


class Duplicates(Good):
    def broadcast(self, message):
        for _ in range(2):
            super().broadcast(message)


class Reorders(Good):
    """Cy hears Ann a little later than the others do."""

    def broadcast(self, message):
        loop = asyncio.get_running_loop()
        for client in self.clients:
            delay = 1.6 if client.connection.name == "Cy" and message.token == "Ann" else 0
            loop.call_later(delay, self.deliver, client, message)


class Evicts(Good):
    def broadcast(self, message):
        super().broadcast(message)
        if message.content.startswith("5 "):
            self.clients.pop()


class Awaiting(Good):
    """Its hub waits for `pass_on`, as v3's does."""

    async def run_hub(self):
        while True:
            channel, value = await select(self.register, self.unregister, self.incoming)
            if channel is self.register:
                self.clients.append(value)
            elif channel is self.incoming:
                await self.pass_on(value)
            elif value in self.clients:
                self.clients.remove(value)


class Disconnects(Awaiting):
    async def pass_on(self, message):
        self.broadcast(message)
        if message.content.startswith("5 "):
            await self.clients[-1].connection.close()


class Deafens(Good):
    """From the fifth message on the last in the list hears nothing, and stays in it."""

    def broadcast(self, message):
        for client in self.clients if int(message.content.split()[0]) < 5 else self.clients[:-1]:
            self.deliver(client, message)


class LetsWait(Good):
    async def handle(self, connection):
        if self.clients:
            await asyncio.sleep(4)
        await super().handle(connection)


class TurnsAway(Good):
    async def handle(self, connection):
        if len(self.clients) < 2:
            await super().handle(connection)
        else:
            await connection.close(1013, "full")


class Refuses(Good):
    """In the handshake, all but the first two."""

    def __init__(self):
        super().__init__()
        self.server_options = {"subprotocols": ["two"], "select_subprotocol": self.choose}

    def choose(self, connection, offered):
        if len(self.clients) >= 2:
            raise NegotiationError("full")


class WaitsForTheSlow(Awaiting):
    async def pass_on(self, message):
        for client in self.clients:
            await client.outbox.put(message)


class DiesWithTheDead(Good):
    def __init__(self):
        super().__init__(outbox_size=200)  # it evicts nobody before that

    async def write(self, client):
        try:
            await super().write(client)
        finally:
            self.hub.cancel()


class NeverForgets(Good):
    async def run_hub(self):
        while True:
            self.unregister.putters.clear()
            await asyncio.sleep(0.5)
            for channel in (self.register, self.incoming):
                while channel.ready():
                    value = channel.take()
                    self.clients.append(value) if channel is self.register else self.broadcast(value)


class LeavesTasksBehind(Good):
    async def handle(self, connection):
        self.later = [*getattr(self, "later", ()), asyncio.create_task(self.wait_for_ever())]
        await super().handle(connection)

    async def wait_for_ever(self):
        await asyncio.get_running_loop().create_future()


class KeepsSeats(Good):
    """For five minutes after somebody has left."""

    seconds = 300

    async def handle(self, connection):
        await super().handle(connection)
        self.later = [*getattr(self, "later", ()), asyncio.create_task(self.expire())]

    async def expire(self):
        await asyncio.sleep(self.seconds)


class KeepsSeatsForEver(KeepsSeats):
    async def expire(self):
        while True:
            await asyncio.sleep(60)


class WithoutBound(Good):
    def __init__(self):
        super().__init__(outbox_size=0)


class KeepsHistory(Good):
    def __init__(self):
        super().__init__()
        self.history = {}

    def broadcast(self, message):
        self.history[len(self.history)] = (message,)
        super().broadcast(message)


class PilesUpTasks(Good):
    def broadcast(self, message):
        self.tasks = [*getattr(self, "tasks", ()), asyncio.create_task(asyncio.sleep(10_000))]
        super().broadcast(message)


class HidesItInClosures(Good):
    def broadcast(self, message):
        asyncio.get_running_loop().call_later(1, lambda: message)
        self.closures = [*getattr(self, "closures", ()), lambda: message]
        super().broadcast(message)


class Raises(Good):
    def broadcast(self, message):
        super().broadcast(message)
        self.task = asyncio.create_task(self.fail())

    async def fail(self):
        raise LookupError("on purpose")


class NoLimit(Good):
    def refuse(self, client, message, wait):
        self.incoming.putters.append((message, asyncio.get_running_loop().create_future()))
        for getter in self.incoming.getters:
            if not getter.done():
                getter.set_result(None)


class RefusesPeople(Good):
    async def read(self, client):
        limiter, clock = rate_limits.FixedInterval(1), asyncio.get_running_loop().time
        async for frame in client.connection:
            message = decode(frame)
            if wait := limiter.wait(clock()):
                self.refuse(client, message, wait)
            else:
                await self.incoming.put(message)
        await self.unregister.put(client)


class SwallowsTheFlood(Good):
    """Limits without a word."""

    def refuse(self, client, message, wait):
        pass


MUTANTS = [
    (Drops, "delivery", "healthy"),
    (SwallowsTheFlood, "delivery", "flood"),
    (Duplicates, "at-most-once", "healthy"),
    (Reorders, "total-order", "healthy"),
    (Evicts, "no-false-eviction", "healthy"),
    (Disconnects, "no-false-eviction", "healthy"),
    (Deafens, "no-false-eviction", "healthy"),
    (LetsWait, "prompt-join", "late joiner"),
    (LetsWait, "admission", "healthy"),
    (TurnsAway, "admission", "healthy"),
    (TurnsAway, "no-false-eviction", "healthy"),
    (Refuses, "admission", "healthy"),
    (WaitsForTheSlow, "no-head-of-line-blocking", "slow reader"),
    (WaitsForTheSlow, "no-head-of-line-blocking", "frozen reader"),
    (DiesWithTheDead, "recovery", "frozen then dies"),
    (WaitsForTheSlow, "recovery", "frozen then dies"),
    (NeverForgets, "no-leak", "mass leave"),
    (NeverForgets, "no-leak", "stillborn"),
    (LeavesTasksBehind, "no-leak", "churn"),
    (KeepsSeatsForEver, "no-leak", "churn"),
    (KeepsSeatsForEver, "no-leak", "mass leave"),
    (WithoutBound, "bounded-memory", "frozen reader"),
    (KeepsHistory, "bounded-memory", "frozen reader"),
    (PilesUpTasks, "bounded-memory", "frozen reader"),
    (HidesItInClosures, "bounded-memory", "frozen reader"),
    (Raises, "no-crash", "healthy"),
    (NoLimit, "rate-limit", "flood"),
    (RefusesPeople, "rate-limit", "flood"),
]


@pytest.mark.parametrize("mutant, guarantee, scenario", MUTANTS, ids=lambda value: getattr(value, "__name__", value))
def test_a_spoilt_room_is_found_out(mutant, guarantee, scenario):
    assert all(good(scenario)[seed][guarantee].kept for seed in SEEDS)
    spoilt = verdicts(mutant, SCENARIOS[scenario])
    assert [spoilt[seed][guarantee].kept for seed in SEEDS] == [False] * len(SEEDS), spoilt[0]
    assert all(spoilt[seed][guarantee].evidence for seed in SEEDS)


def test_every_guarantee_is_spoilt_at_least_once():
    elsewhere = "history", "presence"  # test_history_guarantees.py, test_resume_guarantees.py, test_presence.py
    assert {guarantee for _, guarantee, _ in MUTANTS} == {n for n in GUARANTEES if GROUPS[n] not in elsewhere}


# ---------------------------------------------------------------- never kept for want of a test


class Silent(v1.Room):
    """Lets nobody in, reads nothing, says nothing."""

    async def handle(self, connection):
        await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_room_that_does_nothing_is_not_praised_for_it(scenario):
    kept = {name for name, verdict in verdicts(Silent, SCENARIOS[scenario], seeds=[0])[0].items() if verdict.kept}
    assert kept <= {"no-crash", "bounded-memory"}  # it really holds nothing


def test_an_empty_day_tests_nothing():
    found = judge(simulate("v1", Scenario([listener("Ann")])))
    assert {name for name, verdict in found.items() if verdict.kept} == {"admission", "no-false-eviction", "no-crash"}
    assert all(verdict.evidence for verdict in found.values() if verdict.kept is None)


@pytest.mark.parametrize(
    "guarantee, people",
    [
        ("prompt-join", [talker("Ann", says=3), listener("Bob")]),  # nobody comes late
        ("prompt-join", [talker("Ann", says=3), late_joiner("Bob", 9)]),  # nothing is said after that
        ("prompt-join", [talker("Ann", says=30), leaving("Bob", joins=1, leaves=1.5)]),  # gone before a second is over
        ("no-head-of-line-blocking", [talker("Ann", says=3), listener("Bob")]),
        ("recovery", [talker("Ann", says=3), frozen("Bob")]),
        ("recovery", [talker("Ann", says=3), frozen("Bob", vanishes=9)]),  # nothing is said after that
        ("recovery", [talker("Ann", says=30), vanishing("Bob", vanishes=1)]),  # who died was well
        ("no-leak", [talker("Ann", says=3), listener("Bob")]),
        ("bounded-memory", [talker("Ann", says=299, every=0.01), frozen("Bob")]),
        ("bounded-memory", [talker("Ann", says=300, every=0.01), slow_reader("Bob", 0.1)]),
        ("rate-limit", [talker("Ann", says=30), listener("Bob")]),
        ("rate-limit", [flooder("Ann", says=300)]),  # nobody else is there to hear it
    ],
)
def test_what_a_run_cannot_tell_is_not_tested(guarantee, people):
    verdict = judge(simulate("v1.1", Scenario(people, duration=60)))[guarantee]
    assert verdict.kept is None and verdict.evidence


def test_memory_is_not_judged_in_a_live_run():
    people = [talker("Ann", says=300, every=0.001), frozen("Bob", joins=0)]
    assert judge(run(live("v3.1", Scenario(people, duration=0.5))))["bounded-memory"].kept is None


# ---------------------------------------------------------------- the small print, on traces made by hand


def trace_of(*events, clients=("Ann", "Bob", "Cy"), **fields) -> Trace:
    people = tuple(client if isinstance(client, Client) else Client(client, joins=0) for client in clients)
    come = [Event(0, kind, client.name) for client in people for kind in ("joined", "entered")]
    fields = {"duration": 100, "ending": "quiescent", **fields}
    return Trace("a room", people, seed=0, events=come + [Event(*event) for event in events], **fields)


def said_and_heard(time, message, *listeners, late=0.1):
    speaker = message.split()[0]
    heard = [(time + late, "heard", name, message) for name in listeners]
    return [(time, "said", speaker, message), (time, "accepted", speaker, message), *heard]


ALL = ("Ann", "Bob", "Cy")


def test_what_the_room_refuses_or_never_read_of_somebody_gone_need_not_arrive():
    refused = [*said_and_heard(1, "Ann 1", *ALL), (2, "said", "Ann", "Ann 2"), (2, "refused", "Ann", "Ann 2")]
    unread = [*said_and_heard(1, "Ann 1", *ALL), (2, "said", "Bob", "Bob 1"), (2, "vanished", "Bob")]
    lost = [*said_and_heard(1, "Ann 1", *ALL), (2, "said", "Bob", "Bob 1")]
    assert [judge(trace_of(*events))["delivery"].kept for events in (refused, unread, lost)] == [True, True, False]


def test_a_room_may_say_something_itself():
    notices = [(3, "heard", name, "chatroom hello") for name in ALL * 2]
    found = judge(trace_of(*said_and_heard(1, "Ann 1", *ALL), *notices))
    assert found["at-most-once"].kept and found["delivery"].kept


def test_whoever_is_blocked_on_is_not_called_deaf():
    messages = [event for n in range(1, 5) for event in said_and_heard(n, f"Ann {n}", "Ann", "Bob")]
    stalled = Wait("Room.handle", "Room.broadcast", "Ann", "send", "Cy", None, "")
    assert judge(trace_of(*messages))["no-false-eviction"].evidence.startswith("Cy, a healthy client, went deaf")
    assert judge(trace_of(*messages, waits=[stalled]))["no-false-eviction"].kept


@pytest.mark.parametrize("late, kept", [(0.99, True), (1.01, False)])
def test_a_second_is_the_limit(late, kept):
    before, after = said_and_heard(1, "Ann 1", *ALL), said_and_heard(3, "Ann 2", "Ann", "Bob", "Di", late=late)
    newcomer = [(2, "joined", "Di"), (2, "entered", "Di")]
    trace = trace_of(*before, *newcomer, *after)
    trace.clients += (late_joiner("Di", 2), frozen("Eve"))
    trace.events.insert(0, Event(0, "joined", "Eve"))
    found = judge(trace)
    assert found["prompt-join"].kept is kept and found["no-head-of-line-blocking"].kept is False  # Cy never hears it


def test_whoever_left_a_moment_ago_is_not_a_leak_yet():
    events = [(1, "left", "Ann"), (99.5, "left", "Bob")]
    assert judge(trace_of(*events, ending="time is up"))["no-leak"].evidence.startswith("Ann ")
    assert judge(trace_of(*events, (2, "removed", "Ann"), ending="time is up"))["no-leak"].kept


def test_memory_that_was_weighed_too_late_is_not_judged():
    people = talker("Ann", says=400, joins=0), frozen("Bob", joins=0)
    late = MemorySample(time=9, accepted=400, messages=400, tasks=400, bytes=400_000, buffered=0)
    early = MemorySample(time=5, accepted=200, messages=200, tasks=1, bytes=200_000, buffered=0)
    events = said_and_heard(1, "Ann 1", "Ann")
    assert judge(trace_of(*events, clients=people, memory=[late]))["bounded-memory"].kept is None
    assert judge(trace_of(*events, clients=people, memory=[early, late]))["bounded-memory"].kept is False
    assert judge(trace_of(*events, clients=people, memory=[early]))["bounded-memory"].kept is True


@pytest.mark.parametrize("ending", ["livelocked", "blocks the event loop"])
def test_a_room_that_lets_no_time_pass_has_crashed(ending):
    assert judge(trace_of(ending=ending))["no-crash"].kept is False


def test_the_most_within_a_window():
    assert most_within([], 10) == 0
    assert most_within([0, 1, 2, 9.9, 10, 19], 10) == 4
    assert most_within([0, 0, 0, 50], 10) == 3


def test_an_error_is_told_in_one_line():
    group = BaseExceptionGroup("many", [ExceptionGroup("some", [ValueError("a\nb")])])
    assert describe_error(group) == "ValueError: a b" and describe_error(KeyError()) == "KeyError"
    assert len(describe_error(ValueError("x" * 9999))) == 200


def test_an_error_is_told_without_what_differs_from_run_to_run_or_cannot_be_shown():
    class Speechless(Exception):
        def __str__(self):
            raise ValueError

    assert describe_error(KeyError(object())) == "KeyError: <object object>"
    error = OSError("no /home/ann/rooms/room.py, and/or no more")
    assert describe_error(error) == "OSError: no room.py, and/or no more"
    assert describe_error(ValueError("half \ud800 a character")) == "ValueError: half \ufffd a character"
    assert describe_error(Speechless()) == "Speechless"


def test_every_guarantee_says_what_it_promises():
    assert len(GUARANTEES) == 23 and all(function.__doc__ for function in GUARANTEES.values())


def test_judging_walks_through_the_events_at_most_once_however_many_people_there_are():
    class Counted(list):
        walks = 0

        def __iter__(self):
            Counted.walks += 1
            return super().__iter__()

    trace = simulate("v3", Scenario([talker(f"c{number}", says=1) for number in range(10)]), 1)
    trace.events = Counted(trace.events)
    assert judge(trace)["delivery"].kept and Counted.walks <= 1


# ---------------------------------------------------------------- whom a verdict is about


class OthersOnly(Good):
    """To all but the speaker."""

    def broadcast(self, message):
        for client in self.clients:
            if client.connection.name != message.token:
                self.deliver(client, message)


@pytest.mark.parametrize("scenario", [name for name, each in SCENARIOS.items() if not needs_path(each)])
def test_what_people_do_not_hear_of_themselves_counts_in_delivery_alone(scenario):
    found = verdicts(OthersOnly, SCENARIOS[scenario])
    broken = {name for seed in SEEDS for name, verdict in found[seed].items() if verdict.kept is False}
    assert broken == ({"delivery"} if scenario != "mass leave" else set())  # there nobody stays


@pytest.mark.parametrize("scenario", ["churn", "mass leave"])
def test_a_seat_that_is_kept_for_a_while_is_no_leak_and_one_kept_for_ever_is_told_where(scenario):
    found = verdicts(KeepsSeats, SCENARIOS[scenario])
    assert all(found[seed]["no-leak"].kept for seed in SEEDS)
    evidence = verdicts(KeepsSeatsForEver, SCENARIOS[scenario])[0]["no-leak"].evidence
    assert "tasks are left that were made in visits of clients that have left, such as " in evidence
    assert "await asyncio.sleep(60)" in evidence


class PutsDiOut(Good):
    """After a minute, for whatever reason."""

    async def read(self, client):
        if client.connection.name == "Di":
            asyncio.get_running_loop().call_later(60, client.connection.transport.abort)
        await super().read(client)


class GivesNames(Good):
    """Whatever is said comes from somebody whom we do not know."""

    def __init__(self):
        super().__init__(outbox_size=200)  # it evicts nobody before they die

    def broadcast(self, message):
        super().broadcast(Message("Guest", message.content))


def test_a_death_is_not_blamed_for_what_nobody_has_ever_heard():
    found = verdicts(GivesNames, SCENARIOS["frozen then dies"])
    assert all(found[seed]["recovery"].kept is None and found[seed]["delivery"].kept is False for seed in SEEDS)


def test_a_death_is_not_blamed_for_what_has_happened_before_it():
    found = verdicts(PutsDiOut, SCENARIOS["frozen then dies"])
    assert all(found[seed]["recovery"].kept and found[seed]["no-false-eviction"].kept is False for seed in SEEDS)


@pytest.mark.parametrize(
    "events, kept",
    [
        ([(1, "entered", "Di")], True),
        ([(1.9, "entered", "Di")], True),
        ([(2.1, "entered", "Di")], False),
        ([], False),
        ([(1.5, "lost", "Di")], False),
        ([(1.5, "left", "Di")], True),  # nobody can tell
        ([(1.2, "entered", "Di"), (1.5, "lost", "Di")], True),  # that is another guarantee's
    ],
)
def test_whoever_comes_is_in_within_a_second(events, kept):
    trace = trace_of((1, "joined", "Di"), *events)
    trace.clients += (late_joiner("Di", 1),)
    assert judge(trace)["admission"].kept is kept


def test_whoever_cannot_connect_was_not_admitted():
    trace = trace_of((1, "shut out", "Ann"))
    assert judge(trace)["admission"].evidence == "Ann could not connect at 1.000 s"


def test_a_newcomer_who_is_kept_out_while_the_others_have_been_silenced_counts():
    ann = talker("Ann", says=10, starts=1, every=1, joins=0)
    people = ann, "Bob", late_joiner("Di", 5)
    events = [*said_and_heard(1, "Ann 1", "Ann", "Bob"), (5, "joined", "Di")]
    kept_out, let_in = trace_of(*events, clients=people), trace_of(*events, (5.5, "entered", "Di"), clients=people)
    for trace in (kept_out, let_in):
        trace.events = [event for event in trace.events if not (event.who == "Di" and event.time == 0)]
    assert judge(kept_out)["prompt-join"].evidence.endswith("while others were due to speak, and was not let in")
    assert judge(let_in)["prompt-join"].kept is None


BOB_DIES = frozen("Bob", joins=0, vanishes=3)


@pytest.mark.parametrize(
    "before, kept",
    [
        ([], False),  # the room stood still, and afterwards still does
        ([(2.5, "heard", "Cy", "Ann 1")], False),
        ([(2.5, "heard", "Di", "Ann 1")], None),  # Cy was deaf already
        ([(2.5, "garbled", "Cy", "b'...'")], None),  # and here nobody can tell
        ([(2.5, "lost", "Cy")], None),
        ([(2.5, "removed", "Cy")], None),
    ],
)
def test_a_death_is_blamed_for_those_who_were_well(before, kept):
    people = talker("Ann", joins=0, at=(2, 5)), BOB_DIES, "Cy", "Di"
    talk = [(2, "said", "Ann", "Ann 1"), (5, "said", "Ann", "Ann 2"), (5, "accepted", "Ann", "Ann 2")]
    afterwards = [(5.1, "heard", "Di", "Ann 2")]
    trace = trace_of(*talk, *before, (3, "vanished", "Bob"), *afterwards, clients=people)
    found = judge(trace)["recovery"]
    assert (found.kept is False) is (kept is False), found
    assert kept is not False or "Bob died at 3.000 s, and Cy never heard Ann 2" in found.evidence


def test_whose_line_is_dead_for_good_is_not_healthy_and_a_room_may_put_them_out():
    scenario = Scenario([talker("Ann", says=20, every=1), unplugged("Bob", dark=2), listener("Cy")], duration=60)
    for room, who in (("v7", []), ("v8", ["Bob"])):
        trace = simulate(room, scenario, seed=1)
        assert list(trace.evicted()) == who
        assert not [name for name, verdict in judge(trace).items() if verdict.kept is False]


def test_those_whose_line_is_dead_are_blamed_for_what_others_hear_late_because_of_them():
    people = [talker("Ann", says=60, every=1, size=4000), unplugged("Bob", dark=2), talker("Cy", says=60, every=1)]
    verdict = judge(simulate("v1", Scenario(people, duration=100), seed=1))["no-head-of-line-blocking"]
    assert not verdict.kept and "Bob" in verdict.evidence


def test_a_trace_counts_pings_whoever_sends_them():
    people = [listener("Ann"), frozen("Bob")]
    for room, options, least in (("v8", {}, 2), ("v1", {"keepalive": 10}, 3), ("v1", {}, 0)):
        pings = simulate(room, Scenario(people, duration=50), **options).pings
        assert (pings["Ann"] >= least) if least else not +pings
