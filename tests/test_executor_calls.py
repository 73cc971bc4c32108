"""What a simulated room hands to a thread takes time, which the seed decides, and a kill finds it before or after."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chatroom_lib import Kill, Scenario, commuter, listener, simulate, talker
from chatroom_lib.rooms import v1
from chatroom_lib.runs.executor_calls import CALL_TIME

meeting = Scenario([talker("Ann", says=20, every=0.02), listener("Bob")], duration=30)


class Writes(v1.Room):
    """Passes a message on when a thread has noted it."""

    def __init__(self, path):
        super().__init__()
        self.path, self.times = Path(path), []
        self.executor = ThreadPoolExecutor(1)

    def note(self, message):
        with self.path.open("a") as file:
            file.write(f"{message.content.split()[0]}\n")

    async def broadcast(self, message):
        clock = asyncio.get_running_loop().time
        start = clock()
        await asyncio.get_running_loop().run_in_executor(self.executor, self.note, message)
        self.times.append(clock() - start)
        await super().broadcast(message)


def made(kind, *, into, **changes):
    """A function that makes such rooms, and appends them to a list."""

    def make(path):
        into.append(kind(path, **changes))
        return into[-1]

    return make


def test_a_call_takes_time_which_the_seed_decides_and_no_thread_races():
    rooms = []
    make = made(Writes, into=rooms)
    traces = [simulate(make, meeting, seed) for seed in (1, 1, 2)]
    times = rooms[0].times
    assert len(times) == 20 and len(set(times)) > 15 and all(CALL_TIME[0] <= each <= CALL_TIME[1] for each in times)
    assert traces[0].digest() == traces[1].digest() != traces[2].digest()
    assert [trace.threads for trace in traces] == [0, 0, 0] and traces[0].heard("Bob") == [
        f"Ann {n}" for n in range(1, 21)
    ]


def test_calls_of_one_thread_take_effect_one_after_the_other():
    class AllAtOnce(Writes):
        async def broadcast(self, message):
            loop = asyncio.get_running_loop()
            self.order = []
            calls = [loop.run_in_executor(self.executor, self.order.append, number) for number in range(10)]
            start = loop.time()
            await asyncio.gather(*calls)
            self.took = loop.time() - start

    rooms = []
    simulate(made(AllAtOnce, into=rooms), Scenario([talker("Ann", says=1)], duration=9))
    assert rooms[0].order == [*range(10)] and rooms[0].took > 10 * CALL_TIME[0]


def test_calls_of_several_threads_overlap():
    class ManyThreads(Writes):
        async def broadcast(self, message):
            start = asyncio.get_running_loop().time()
            await asyncio.gather(*(asyncio.to_thread(int) for _ in range(8)))
            self.times.append(asyncio.get_running_loop().time() - start)

    rooms = []
    simulate(made(ManyThreads, into=rooms), Scenario([talker("Ann", says=5)], duration=9))
    assert len(rooms[0].times) == 5 and max(rooms[0].times) <= CALL_TIME[1]


def test_an_error_in_a_call_reaches_whoever_waits_for_it():
    class Fails(Writes):
        def note(self, message):
            raise OSError("no space left")

        async def broadcast(self, message):
            with pytest.raises(OSError, match="no space left"):
                await super().broadcast(message)

    assert not simulate(made(Fails, into=[]), meeting).errors


def test_a_call_sees_virtual_time_and_the_loop_goes_on_while_it_sleeps():
    class Sleeps(Writes):
        def note(self, message):
            self.before = time.monotonic()
            time.sleep(0.5)
            self.after = time.monotonic()

    rooms = []
    trace = simulate(made(Sleeps, into=rooms), Scenario([talker("Ann", says=1), listener("Bob")], duration=30))
    assert rooms[0].after - rooms[0].before >= 0.5 and rooms[0].times[0] >= 0.5
    assert trace.threads and trace.heard("Bob") == ["Ann 1"]


def test_a_call_that_is_given_up_has_its_effect_all_the_same_once_it_has_begun():
    class GivesUp(Writes):
        async def broadcast(self, message):
            call = asyncio.get_running_loop().run_in_executor(self.executor, self.note, message)
            waiting = asyncio.get_running_loop().run_in_executor(self.executor, self.times.append, "never begun")
            await asyncio.sleep(0.0002)
            call.cancel()
            waiting.cancel()
            await asyncio.sleep(0.1)
            self.times.append(self.path.read_text())

    rooms = []
    simulate(made(GivesUp, into=rooms), Scenario([talker("Ann", says=1)], duration=9))
    assert rooms[0].times == ["1\n"]


def test_threads_of_an_executor_to_which_a_room_submits_itself_are_waited_for():
    class Submits(Writes):
        async def broadcast(self, message):
            await asyncio.get_running_loop().run_in_executor(self.executor, int)
            await asyncio.wrap_future(self.executor.submit(self.note, message))
            await v1.Room.broadcast(self, message)

    trace = simulate(made(Submits, into=[]), meeting)
    assert trace.threads == 1 and len(trace.heard("Bob")) == 20


def test_a_kill_comes_before_between_or_after():
    """Not written; written, and nobody has heard of it; written and heard."""
    found = set()
    for seed in range(40):
        last = []

        class Looks(Writes):
            async def __aenter__(self, last=last):
                last.append(self.path.read_text().split() if self.path.exists() else [])
                return await super().__aenter__()

        people = talker("Ann", says=20, every=0.02, starts=0.5), commuter("Bob")
        trace = simulate(Looks, Scenario(people, duration=30, kills=[Kill(0.71)]), seed)
        written, heard, said = len(last[1]), len(trace.heard("Bob")), len(trace.of("accepted", who="Ann"))
        assert heard <= written <= said and last[0] == []
        found.add((said > written, written > heard))
    assert {(True, False), (False, True), (False, False)} <= found


def test_no_thread_is_left_when_runs_are_over():
    before = threading.active_count()
    people = [talker("Ann", says=20, every=0.02), commuter("Bob")]
    for seed in range(5):
        simulate(Writes, Scenario(people, duration=30, kills=[Kill(0.3)]), seed)
    latest = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < latest:
        time.sleep(0.01)
    assert threading.active_count() <= before
