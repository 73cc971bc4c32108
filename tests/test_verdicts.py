"""Rooms that are right in unusual ways are not blamed, and rooms that are wrong in hidden ways are found out."""

import asyncio
import contextlib
import random
import threading
import time
import weakref
from collections import deque

import pytest
from websockets.exceptions import ConnectionClosed

from chatroom_lib import Message, Scenario, check, decode, encode, listener, rate_limits, simulate, talker
from chatroom_lib.checker.guarantees import GUARANTEES, judge
from chatroom_lib.checker.package import Conditions, pack
from chatroom_lib.checker.scenarios import SCENARIOS, needs_path
from chatroom_lib.checker.worker import Worker
from chatroom_lib.runs.virtual_time import EPOCH


class Good:
    """A correct room of another build than ours: a queue and a writer for each client, and no hub."""

    def __init__(self):
        self.queues = {}

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        pass

    def members(self):
        return list(self.queues)

    async def handle(self, connection):
        self.queues[connection] = queue = self.make_queue()
        writer = asyncio.create_task(self.write(connection, queue))
        try:
            await self.joined(connection)
            await self.read(connection)
        except ConnectionClosed:
            pass
        finally:
            await self.leave(connection, writer)

    def make_queue(self):
        return asyncio.Queue(100)

    async def joined(self, connection):
        pass

    async def leave(self, connection, writer):
        self.queues.pop(connection, None)
        writer.cancel()

    async def read(self, connection):
        bucket, clock = rate_limits.TokenBucket(1, 5), asyncio.get_running_loop().time
        async for frame in connection:
            message = decode(frame)
            if bucket.wait(clock()):
                self.put(connection, encode(Message("room", "please wait", message.content)))
            else:
                await self.accept(message)

    async def accept(self, message):
        self.say(encode(message))

    def say(self, frame):
        for connection in list(self.queues):
            self.put(connection, frame)

    def put(self, connection, frame):
        if connection in self.queues:
            try:
                self.queues[connection].put_nowait(frame)
            except asyncio.QueueFull:
                self.full(connection, frame)

    def full(self, connection, frame):
        del self.queues[connection]
        connection.transport.abort()

    async def write(self, connection, queue):
        with contextlib.suppress(ConnectionClosed):
            while True:
                await connection.send(await queue.get())


def broken(room, *scenarios, seeds=range(3)) -> dict[str, str]:
    """What the room breaks in these scenarios, or in all for a room without a path, and the first evidence for it."""
    found = {}
    for name in scenarios or [name for name, scenario in SCENARIOS.items() if not needs_path(scenario)]:
        for seed in seeds:
            for guarantee, verdict in judge(simulate(room, SCENARIOS[name], seed)).items():
                if verdict.kept is False:
                    found.setdefault(guarantee, verdict.evidence)
    return found


# ---------------------------------------------------------------- right, and not blamed


class SleepsOffItsBucket(Good):
    """A wait that is lost in rounding must not stop the clock."""

    async def read(self, connection):
        bucket, clock = rate_limits.TokenBucket(2, 5), asyncio.get_running_loop().time
        async for frame in connection:
            while wait := bucket.wait(clock()):
                await asyncio.sleep(wait)
            self.say(frame)


class ReapsLazily(Good):
    """The first visit starts a task that is nobody's."""

    reaper = None

    async def joined(self, connection):
        self.reaper = self.reaper or asyncio.create_task(self.reap())

    async def reap(self):
        while True:
            await asyncio.sleep(30)


class LooksAtItsWriterLate(Good):
    """An error that is awaited after a while is a handled one."""

    async def write(self, connection, queue):
        while True:
            await connection.send(await queue.get())

    async def leave(self, connection, writer):
        await asyncio.sleep(0.7)
        self.queues.pop(connection, None)
        writer.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionClosed):
            await writer


class UsesThreads(Good):
    async def accept(self, message):
        await super().accept(await asyncio.to_thread(self.translate, message))

    def translate(self, message):
        return message


class GoesByTheWallClock(Good):
    def __init__(self):
        super().__init__()
        self.opened = time.time()

    async def read(self, connection):
        bucket = rate_limits.TokenBucket(1, 5)
        async for frame in connection:
            message = decode(frame)
            assert time.time() >= self.opened
            if bucket.wait(time.monotonic()):
                self.put(connection, encode(Message("room", "please wait", message.content)))
            else:
                await self.accept(message)


class PutsTheFloodOut(Good):
    async def read(self, connection):
        bucket, clock = rate_limits.TokenBucket(1, 5), asyncio.get_running_loop().time
        async for frame in connection:
            if bucket.wait(clock()):
                await connection.close(1008, "you say too much")
                return
            self.say(frame)


class Remembers(Good):
    """Weak references, odd objects, the last two people, and a history that has an end."""

    class Odd:
        def __getattr__(self, name):
            return "anything"

    def __init__(self):
        super().__init__()
        self.recent, self.last, self.odd = deque(maxlen=5), deque(maxlen=2), self.Odd()
        self.history = deque(maxlen=50)

    async def joined(self, connection):
        self.recent.append(weakref.proxy(connection))
        self.last.append(connection)

    async def accept(self, message):
        self.history.append(message)
        await super().accept(message)


class Beats(Good):
    async def __aenter__(self):
        self.heart = asyncio.create_task(self.beat())
        return self

    async def beat(self):
        while True:
            await asyncio.sleep(1)
            self.say(encode(Message("room", "still here")))


@pytest.mark.parametrize(
    "room",
    [
        Good, SleepsOffItsBucket, ReapsLazily, LooksAtItsWriterLate, GoesByTheWallClock, PutsTheFloodOut, Remembers,
        pytest.param(UsesThreads, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_a_right_room_is_not_blamed(room):
    assert broken(room) == {}


def test_a_room_with_a_heartbeat_is_not_blamed():
    assert broken(Beats, "healthy", "churn", "flood", "late joiner", "stillborn", "mass leave") == {}


# ---------------------------------------------------------------- wrong, and found out


class WritesIntoTheConnection(Good):
    async def handle(self, connection):
        connection.outbox = []
        await super().handle(connection)

    def put(self, connection, frame):
        connection.outbox.append(frame)
        super().put(connection, frame)


class ClassHistory(Good):
    history = []

    def say(self, frame):
        self.history.append(frame)
        super().say(frame)


LOG = []


class GlobalLog(Good):
    def say(self, frame):
        LOG.append(frame)
        super().say(frame)


class OneLongText(Good):
    text = ""

    def say(self, frame):
        self.text += frame
        super().say(frame)


class Chunks(Good):
    def __init__(self):
        super().__init__()
        self.chunks = []

    def say(self, frame):
        self.chunks += [frame[start : start + 300] for start in range(0, len(frame), 300)]
        super().say(frame)


class TriesAgain(Good):
    def full(self, connection, frame):
        asyncio.get_running_loop().call_later(5, self.put, connection, frame)


class Streams(Good):
    def make_queue(self):
        return asyncio.Queue()

    async def read(self, connection):
        while True:
            self.say("".join([part async for part in connection.recv_streaming()]))


@pytest.mark.parametrize(
    "room",
    [
        WritesIntoTheConnection, ClassHistory, GlobalLog, OneLongText, Chunks, TriesAgain, Streams,
    ],
)  # fmt: skip
def test_memory_that_grows_is_found_wherever_it_is(room):
    LOG.clear()
    ClassHistory.history.clear()
    assert "bounded-memory" in broken(room, "frozen reader", seeds=[0])


class HubThatForgetsItsWriters(Good):
    async def __aenter__(self):
        self.newcomers, self.writers = asyncio.Queue(), set()
        self.hub = asyncio.create_task(self.run_hub())
        return self

    async def run_hub(self):
        while True:
            connection, queue = await self.newcomers.get()
            self.queues[connection] = queue
            self.writers.add(asyncio.create_task(self.write(connection, queue)))

    async def handle(self, connection):
        await self.newcomers.put((connection, self.make_queue()))
        try:
            await self.read(connection)
        except ConnectionClosed:
            pass
        finally:
            self.queues.pop(connection, None)


class LosersOfARace(Good):
    def __init__(self):
        super().__init__()
        self.tasks = set()

    async def joined(self, connection):
        self.tasks.add(asyncio.create_task(asyncio.Event().wait()))


class LiesAboutItsPool(Good):
    async def leave(self, connection, writer):
        writer.cancel()

    def members(self):
        return [connection for connection in self.queues if connection.state == 1]


@pytest.mark.parametrize("room", [HubThatForgetsItsWriters, LosersOfARace, LiesAboutItsPool])
def test_what_is_left_of_people_is_found(room):
    assert "no-leak" in broken(room, "mass leave")


class CutsShort(Good):
    async def accept(self, message):
        await super().accept(Message(message.token, message.content[:6]))


class ShutsUpPeople(Good):
    """A bucket that never fills again."""

    async def read(self, connection):
        number = 0
        async for frame in connection:
            number += 1
            if number > 15:
                self.put(connection, encode(Message("room", "enough", decode(frame).content)))
            else:
                self.say(frame)


class HidesItsErrors(Good):
    async def __aenter__(self):
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        return self

    async def joined(self, connection):
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)


@pytest.mark.parametrize(
    "room, guarantee, scenario",
    [
        (CutsShort, "delivery", "healthy"),
        (ShutsUpPeople, "rate-limit", "slow reader"),
        (HidesItsErrors, "no-crash", "healthy"),
    ],
)
def test_other_wrongs_are_found(room, guarantee, scenario):
    assert guarantee in broken(room, scenario, seeds=[0])


# ---------------------------------------------------------------- the seed decides the rest, too


class RollsDice(Good):
    def say(self, frame):
        people = list(self.queues)
        random.shuffle(people)
        for connection in people:
            self.put(connection, frame)


def test_a_room_that_uses_chance_does_the_same_with_the_same_seed_and_disturbs_nobody():
    before = random.getstate()
    digests = [simulate(RollsDice, SCENARIOS["healthy"], seed).digest() for seed in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2] and random.getstate() == before


def test_other_threads_have_the_real_time_meanwhile():
    real, seen = time.time, []
    stop = threading.Event()

    def look():
        while not stop.is_set():
            seen.append(time.time())
            time.sleep(0.001)

    class Looks(Good):
        async def joined(self, connection):
            now = asyncio.get_running_loop().time()
            seen_here.append((now, time.monotonic(), time.perf_counter()))
            assert time.time() == EPOCH + now

    seen_here = []
    thread = threading.Thread(target=look)
    thread.start()
    try:
        for seed in range(20):
            simulate(Looks, Scenario([talker("Ann", says=20), listener("Bob")], 60), seed)
    finally:
        stop.set()
        thread.join()
    assert seen == sorted(seen) and min(seen) > 1e9 and time.time is real
    assert seen_here and all(len(set(clocks)) == 1 for clocks in seen_here)


class CannotBeCancelled(Good):
    """Its writers take every exception for the end of one message, their own cancellation included."""

    async def write(self, connection, queue):
        while True:
            try:
                await connection.send(await queue.get())
            except BaseException:
                continue


@pytest.mark.slow
def test_tasks_that_cannot_be_ended_are_told_and_disturb_no_later_run():
    some = {name: SCENARIOS[name] for name in ("healthy", "churn", "mass leave")}
    one, two = (check(CannotBeCancelled, 2, scenarios=some, processes=number, progress=False) for number in (1, 2))
    assert one == two and one.failed == {} and "no-crash" in one.kept
    assert "CannotBeCancelled.write" in one.broken["no-leak"].evidence


def test_a_process_in_which_they_are_left_is_given_up_and_with_it_all_that_they_keep():
    worker = Worker(pack(CannotBeCancelled, SCENARIOS, GUARANTEES), Conditions())
    for scenario in ("healthy", "churn"):
        assert not worker.run(scenario, 0).failed and worker.process is None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Python says of each what it ignores
def test_a_run_with_them_ends_in_this_process_too():
    for scenario in ("churn", "mass leave"):
        assert simulate(CannotBeCancelled, SCENARIOS[scenario]).ending == "quiescent"
