"""What is left of a room's files when its process is killed, and when the power is cut."""

import asyncio
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import psutil
import pytest

from chatroom_lib import Kill, Message, Scenario, check, commuter, encode, listener, live, run, serve, simulate, talker
from chatroom_lib.reference_rooms import BoundedBroadcast
from chatroom_lib.rooms import RoomError, v1, v6
from tests.helpers import ends_when, in_both_worlds

people = talker("Ann", says=20, every=0.05), listener("Bob")
found = []  # what each room has found in its file when it started


class Keeps(v1.Room):
    """Keeps what is said in a file, and says what it has found there."""

    def __init__(self, path):
        super().__init__()
        self.path = Path(path)

    async def __aenter__(self):
        found.append(self.open())
        return self

    async def broadcast(self, message):
        self.keep(int(message.content.split()[0]))
        await super().broadcast(message)


class Plain(Keeps):
    buffering, sync = -1, False

    def open(self):
        before = self.path.read_text().split() if self.path.exists() else []
        self.file = self.path.open("a", buffering=self.buffering)
        return len(before)

    def keep(self, number):
        self.file.write(f"{number}\n")
        if self.sync:
            self.file.flush()
            os.fsync(self.file.fileno())


class Flushed(Plain):
    buffering = 1


class Synced(Plain):
    sync = True


class Database(Keeps):
    how = "FULL", "WAL"
    commits = True

    def open(self):
        self.db = sqlite3.connect(self.path)
        self.db.execute(f"PRAGMA journal_mode = {self.how[1]}")
        self.db.execute(f"PRAGMA synchronous = {self.how[0]}")
        self.db.execute("CREATE TABLE IF NOT EXISTS message (number)")
        self.db.commit()
        return self.db.execute("SELECT count(*) FROM message").fetchone()[0]

    def keep(self, number):
        self.db.execute("INSERT INTO message VALUES (?)", [number])
        if self.commits:
            self.db.commit()


class Uncommitted(Database):
    commits = False


class Normal(Database):
    how = "NORMAL", "WAL"


class Off(Database):
    how = "OFF", "WAL"


class Journal(Database):
    how = "NORMAL", "DELETE"


def left_after(room, **kill) -> int:
    found.clear()
    trace = simulate(room, Scenario([*people, commuter("Cy")], duration=9, kills=[Kill(0.7, **kill)]))
    assert trace.errors == [] and len(found) == 2 and found[0] == 0
    assert 5 < len(trace.heard("Cy")) < 20
    return found[1]


@pytest.mark.parametrize("room", [Flushed, Synced, Database, Normal, Off, Journal])
def test_what_was_written_survives_a_kill(room):
    assert left_after(room) > 5


@pytest.mark.parametrize("room", [Plain, Uncommitted])
def test_what_was_in_the_process_alone_does_not(room):
    assert left_after(room) == 0


@pytest.mark.parametrize("room", [Synced, Database, Journal])
def test_what_has_reached_the_medium_survives_when_the_power_is_cut(room):
    assert left_after(room, power=True) == left_after(room) > 5


@pytest.mark.parametrize("room", [Plain, Flushed, Uncommitted, Normal, Off])
def test_what_has_not_does_not(room):
    assert left_after(room, power=True) == 0


def test_what_a_checkpoint_has_written_survives_with_normal_as_well():
    class Checkpoints(Normal):
        def keep(self, number):
            super().keep(number)
            if number == 4:
                self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    assert left_after(Checkpoints, power=True) == 4


def test_each_run_has_a_file_of_its_own_and_leaves_nothing():
    paths = []

    class Notes(Synced):
        def __init__(self, path):
            super().__init__(path)
            paths.append(path)

    for seed in (1, 1):
        simulate(Notes, Scenario(people, duration=2), seed)
    assert len(set(paths)) == 2 and not any(Path(path).parent.parent.exists() for path in paths)


@in_both_worlds
def test_the_room_after_a_kill_finds_the_file_of_the_one_before(play, monkeypatch):
    both = commuter("Ann", says=10, every=0.3, size=20), commuter("Cy", path="/chatroom?last=99")

    def is_over(run):  # Cy hears all in order
        return "Ann 10" in run.trace.heard("Cy") and len(run.trace.of("acknowledged")) == 10

    ends_when(monkeypatch, is_over)
    trace = play(partial(v6.Room, limit=None), Scenario(both, duration=11, kills=[Kill(1.5, 0.2)]))
    before, after = trace.visits()["Cy"]
    replayed = {event.message for event in trace.of("heard", who="Cy") if event.time >= after.joined}
    assert {event.message for event in trace.of("heard", who="Cy") if event.time <= before.ended} <= replayed
    numbers = {event.message: event.seq for event in trace.of("heard")}
    assert [*numbers.values()] == [*range(1, 11)] and len(trace.of("acknowledged")) == 10


def test_the_power_can_be_cut_in_a_simulation_only():
    scenario = Scenario(people, kills=[Kill(1, power=True)])
    with pytest.raises(ValueError, match=r"live\(\) cannot cut the power"):
        run(live("v6", scenario))


def test_a_room_that_needs_a_path_is_tried_but_not_served_without():
    assert not check(Synced, seeds=1, scenarios={"meeting": Scenario(people)}, progress=False).failed
    with pytest.raises(RoomError, match="missing a required argument: 'path'"):
        run(serve(Synced))


@pytest.mark.parametrize("room", [Synced, Database, Journal])
@pytest.mark.parametrize("power", [False, True])
def test_of_a_disk_that_is_lost_nothing_is_left(room, power):
    assert left_after(room, disk=True, power=power) == 0


def test_a_room_after_a_lost_disk_begins_a_new_file():
    both = commuter("Ann", says=10, every=0.4, size=20), commuter("Cy", path="/chatroom?last=99")
    trace = simulate(partial(v6.Room, limit=None), Scenario(both, duration=11, kills=[Kill(1.5, 0.2, disk=True)]))
    assert [event.time for event in trace.of("started")]
    numbers = [event.seq for event in trace.of("heard", who="Cy")]
    before = numbers[1:].index(1) + 1
    assert numbers == [*range(1, before + 1), *range(1, 11 - before)]


def test_a_killed_room_leaves_no_open_file():
    scenario = Scenario(people, duration=2, kills=[Kill(0.5)])
    simulate("v7", scenario)
    before = psutil.Process().num_fds()
    for seed in range(5):
        simulate("v7", scenario, seed)
    assert psutil.Process().num_fds() <= before + 2


class Statements(BoundedBroadcast):
    """Each statement is a call of its own, so its transactions stay open over several, as with aiosqlite."""

    many_servers = True

    def __init__(self, path=None):
        super().__init__()
        self.path, self.thread, self.lock = path, ThreadPoolExecutor(1), asyncio.Lock()

    async def __aenter__(self):
        self.db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        await self.sql("CREATE TABLE IF NOT EXISTS said (message TEXT)")
        return self

    async def sql(self, *statement):
        run = asyncio.get_running_loop().run_in_executor
        return await run(self.thread, lambda: self.db.execute(*statement).fetchall())

    async def handle(self, connection):
        async for frame in connection:
            async with self.lock:
                await self.sql("BEGIN IMMEDIATE")
                await self.sql("INSERT INTO said VALUES (?)", [frame])
                await self.sql("COMMIT")
            (count,) = (await self.sql("SELECT count(*) FROM said"))[0]
            await connection.send(encode(Message("chatroom", f"{count}")))


def test_servers_wait_for_a_transaction_of_several_calls_in_virtual_time():
    talk = [talker(name, says=4, every=1) for name in ("Ann", "Bob", "Cy")]
    trace = simulate(Statements, Scenario(talk, duration=10, servers=3), seed=1)
    assert trace.errors == [] and len(trace.of("accepted")) == 12


def test_a_killed_server_leaves_no_transaction_open():
    class Stuck(Statements):
        async def handle(self, connection):
            await self.sql("BEGIN IMMEDIATE")
            await self.sql("INSERT INTO said VALUES ('?')")
            async for _ in connection:  # and no COMMIT
                pass

    class First(Statements):
        async def handle(self, connection):
            kind = Stuck if connection.name == "Bob" else Statements
            await kind.handle(self, connection)

    people = [listener("Ann"), listener("Bob"), talker("Cy", says=3, starts=2, every=1)]
    trace = simulate(First, Scenario(people, duration=6, servers=3, kills=[Kill(1, server=1)]), seed=1)
    assert trace.errors == [] and len(trace.of("accepted")) == 3
