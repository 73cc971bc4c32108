"""A history that several servers write to: one file, one sequence of numbers, and bells; and v9, which has one."""

import asyncio
import sqlite3
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial

import psutil
import pytest

from chatroom_lib import history, shared_history
from chatroom_lib.history import HistoryError
from chatroom_lib.message import Message, decode_position
from chatroom_lib.rooms import v9
from chatroom_lib.server.server import Server
from chatroom_lib.shared_history import HERE, SharedHistory, is_free
from tests.helpers import A_MOMENT, heard, hears_nothing, in_a_loop, joining, said, two_of, until

NEVER = 1e6  # seconds


def say(*contents: str, **more) -> list[Message]:
    return [Message("Ann", content, **more) for content in contents]


def named(*ids: str, token: str = "Ann") -> list[Message]:
    return [Message(token, f"message {id}", id=id) for id in ids]


def numbers(messages: list[Message]) -> list[int]:
    return [message.seq for message in messages]


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "chat.db")


@pytest.fixture
def only_bells(monkeypatch):
    """Whoever hears something new within this test has heard a bell."""
    monkeypatch.setattr(shared_history, "LONGEST_SILENCE", NEVER)


@contextmanager
def locked(path: str):
    """Another program has locked the file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


def bells(path: str) -> list[int]:
    with closing(sqlite3.connect(path)) as file:
        return [port for (port,) in file.execute("SELECT port FROM bell ORDER BY port")]


@asynccontextmanager
async def listening_to(kept: SharedHistory, seq: int = 0):
    """What `follow` yields, in lists, as it comes."""
    found: list[list[Message]] = []

    async def listen():
        async for messages in kept.follow(seq):
            found.append(messages)

    task = asyncio.create_task(listen())
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.wait([task])


def all_of(found: list[list[Message]]) -> list[Message]:
    return [message for messages in found for message in messages]


# ---------------------------------------------------------------- one history


@in_a_loop
async def test_two_servers_give_one_sequence_of_numbers_under_one_name(path):
    async with SharedHistory(path) as one, SharedHistory(path) as other:
        assert one.epoch == other.epoch != ""
        assert numbers(await one.append(say("a", "b"))) == [1, 2]
        assert numbers(await other.append(say("c"))) == [3]
        assert numbers(await one.append(say("d"))) == [4]
        many = await asyncio.gather(*(kept.append(say("x", "y")) for kept in (one, other) * 10))
        given = [numbers(pair) for pair in many]
        assert all(second == first + 1 for first, second in given)
        assert sorted(seq for pair in given for seq in pair) == [*range(5, 45)]
        assert numbers(await one.after(0, 99, 99)) == numbers(await other.after(0, 99, 99)) == [*range(1, 45)]


@in_a_loop
async def test_an_id_that_one_has_written_is_known_to_the_other_after_it_has_learnt_or_written(path):
    async with SharedHistory(path) as one, SharedHistory(path) as other:
        (first,) = await one.append(named("1"), once=True)
        assert not other.knows(first)
        await other.learn()
        assert other.knows(first) and not other.knows(*named("1", token="Bob"))
        await one.append(named("2"), once=True)
        again = await other.append([Message("Ann", "anything", id="2"), *named("3")], once=True)
        assert [(message.content, message.seq) for message in again] == [("message 2", 2), ("message 3", 3)]
    async with SharedHistory(path) as third:
        assert third.knows(*named("3")) and numbers(await third.append(named("1"), once=True)) == [1]


@in_a_loop
async def test_of_what_is_written_by_two_at_once_under_one_id_there_is_one(path):
    async with SharedHistory(path) as one, SharedHistory(path) as other:
        for number in range(20):
            found = await asyncio.gather(*(kept.append(named(str(number)), once=True) for kept in (one, other)))
            assert [numbers(each) for each in found] == [[number + 1]] * 2


@in_a_loop
async def test_an_id_is_forgotten_with_its_message_whoever_forgets_that(path):
    async with SharedHistory(path, keep=2) as one, SharedHistory(path, keep=2) as other:
        await one.append(named("1"), once=True)
        await other.append(named("2", "3"), once=True)
        await one.learn()
        assert not one.knows(*named("1")) and one.knows(*named("3")) and one.first == 2
        assert numbers(await one.append(named("1"), once=True)) == [4]
        assert numbers(await other.append(named("1"), once=True)) == [4]


@in_a_loop
async def test_a_server_that_reads_after_the_others_have_written_has_no_hole_in_its_memory(path):
    async with SharedHistory(path, recent=10) as one, SharedHistory(path, recent=10) as other:
        await one.append(say("a"))
        await other.append(say("b"))
        await one.append(say("c"))
        assert numbers(await one.after(0, 9, 9)) == numbers(await other.after(0, 9, 9)) == [1, 2, 3]


# ---------------------------------------------------------------- what is new


@in_a_loop
async def test_all_is_heard_in_order_ones_own_and_what_others_write(path, only_bells):
    async with SharedHistory(path, recent=9) as one, SharedHistory(path) as other, SharedHistory(path) as third:
        await one.append(say("before"))
        async with listening_to(one) as here, listening_to(other) as there:
            for kept in (one, other, third) * 10:
                await kept.append(say("a", "b"))
            await until(lambda: len(all_of(here)) == len(all_of(there)) == 61)
        assert numbers(all_of(here)) == numbers(all_of(there)) == [*range(1, 62)]
        assert all_of(here) == all_of(there)


@in_a_loop
async def test_it_begins_after_the_number_asked_for(path):
    async with SharedHistory(path) as kept:
        await kept.append(say("a", "b", "c"))
        async with listening_to(kept, 2) as found:
            await until(lambda: found)
            assert numbers(all_of(found)) == [3]


@in_a_loop
async def test_after_a_hole_it_goes_on_and_what_is_in_memory_has_none(path):
    async with SharedHistory(path, recent=9) as one, SharedHistory(path, keep=3) as other:
        await one.append(say("a", "b"))
        async with listening_to(one) as found:
            await until(lambda: numbers(all_of(found)) == [1, 2])
        await other.append(say(*"cdef"))
        await other.append(say(*"ghij"))  # one has read neither, and what is just written is left
        async with listening_to(one, 2) as found:
            await until(lambda: found and all_of(found)[-1].seq == 10)
        assert numbers(all_of(found)) == numbers(one.recent) == [7, 8, 9, 10]
        assert numbers(await one.after(0, 10, 9)) == [7, 8, 9, 10]


@in_a_loop
async def test_while_nothing_is_new_it_does_not_look(path, only_bells, monkeypatch):
    async with SharedHistory(path) as kept:
        looks, after = [], kept.after

        async def look(*arguments):
            looks.append(arguments)
            return await after(*arguments)

        monkeypatch.setattr(kept, "after", look)
        async with listening_to(kept) as found:
            await kept.append(say("a"))
            await until(lambda: found)
            await asyncio.sleep(A_MOMENT)
        assert len(looks) <= 4


@in_a_loop
async def test_what_is_just_being_written_is_not_forgotten_however_little_is_kept(path):
    async with SharedHistory(path, keep=2) as one, SharedHistory(path, keep=2) as other:
        async with listening_to(other) as found:
            await one.append(say(*"abcdef"))
            await until(lambda: len(all_of(found)) == 6)
        assert numbers(all_of(found)) == [*range(1, 7)]


@in_a_loop
async def test_without_bells_all_is_heard_all_the_same(path, monkeypatch):
    monkeypatch.setattr(shared_history, "LONGEST_SILENCE", 0.02)
    monkeypatch.setattr(shared_history.Bell, "ring", lambda bell, others: None)
    async with SharedHistory(path) as one, SharedHistory(path) as other:
        async with listening_to(other) as found:
            await one.append(say("a"))
            await until(lambda: len(all_of(found)) == 1)
            await one.append(say("b"))
            await until(lambda: numbers(all_of(found)) == [1, 2])


@in_a_loop
async def test_a_ring_that_comes_while_it_looks_is_not_lost(path, only_bells, monkeypatch):
    async with SharedHistory(path) as one, SharedHistory(path) as other:
        looked, go_on, after = asyncio.Event(), asyncio.Event(), other.after

        async def slow(*arguments):
            found = await after(*arguments)
            looked.set()
            await go_on.wait()
            return found

        monkeypatch.setattr(other, "after", slow)
        async with listening_to(other) as found:
            await looked.wait()  # it has found nothing
            await one.append(say("a"))
            await until(other.rung.is_set)
            go_on.set()
            await until(lambda: numbers(all_of(found)) == [1])


@in_a_loop
async def test_while_it_cannot_be_read_it_tries_again(path, monkeypatch):
    monkeypatch.setattr(shared_history, "LONGEST_SILENCE", 0.02)
    async with SharedHistory(path) as kept:
        failures, after = [], kept.after

        async def fail(*arguments):
            if len(failures) < 3:
                failures.append(arguments)
                raise HistoryError("not now")
            return await after(*arguments)

        monkeypatch.setattr(kept, "after", fail)
        async with listening_to(kept) as found:
            await kept.append(say("a"))
            await until(lambda: numbers(all_of(found)) == [1])
        assert len(failures) == 3


# ---------------------------------------------------------------- bells


@in_a_loop
async def test_each_server_has_a_bell_as_long_as_it_is_there(path):
    async with SharedHistory(path) as one:
        async with SharedHistory(path) as other:
            assert bells(path) == sorted([one.bell.port, other.bell.port]) and other.ports == [one.bell.port]
            await one.learn()
            assert one.ports == [other.bell.port]
        assert bells(path) == [one.bell.port]
        await one.learn()
        assert one.ports == []
    assert bells(path) == []


@in_a_loop
async def test_the_bell_of_a_server_that_was_killed_is_taken_down_by_the_next_and_nobody_elses(path):
    async with SharedHistory(path) as one:
        dead = SharedHistory(path)
        await dead.__aenter__()
        dead.bell.transport.close()  # as the system does
        await asyncio.sleep(0)
        assert await is_free(dead.bell.port) and not await is_free(one.bell.port)
        async with SharedHistory(path) as third:
            assert bells(path) == sorted([one.bell.port, third.bell.port]) and third.ports == [one.bell.port]
            await one.append(say("a"))
            assert one.ports == [third.bell.port]
        await dead.__aexit__(None, None, None)


@in_a_loop
async def test_a_bell_that_another_container_took_down_is_hung_again_at_the_next_write(path, only_bells):
    async with SharedHistory(path) as one, SharedHistory(path) as other:
        with closing(sqlite3.connect(path)) as file, file:
            file.execute("DELETE FROM bell")  # nobody seems to listen there
        async with listening_to(one) as found:
            await one.append(say("a"))
            assert bells(path) == [one.bell.port]
            await other.append(say("b"))  # which rings one, and hangs its own again
            await until(lambda: numbers(all_of(found)) == [1, 2])
            assert bells(path) == sorted([one.bell.port, other.bell.port])


@in_a_loop
async def test_any_datagram_at_its_port_makes_a_server_look_and_does_no_harm(path, only_bells):
    async with SharedHistory(path) as one:
        async with listening_to(one) as found:
            await until(lambda: not one.rung.is_set())
            with closing(sqlite3.connect(path)) as file, file:
                file.execute("INSERT INTO message VALUES (1, 'Bob', 'hi', NULL, 0)")
            one.bell.transport.sendto(b"\xff" * 1000, (HERE, one.bell.port))
            await until(lambda: numbers(all_of(found)) == [1])


# ---------------------------------------------------------------- trouble


@in_a_loop
async def test_a_locked_file_only_delays(path, only_bells):
    async with SharedHistory(path) as one, SharedHistory(path) as other, listening_to(other) as found:
        with locked(path) as program:
            writing = asyncio.create_task(one.append(say("a")))
            learning = asyncio.create_task(other.learn())
            await asyncio.wait([writing], timeout=0.2)
            assert not writing.done() and not found
            program.execute("COMMIT")
        assert numbers(await writing) == [1]
        await learning
        await until(lambda: numbers(all_of(found)) == [1])


@in_a_loop
async def test_a_file_that_stays_locked_is_an_error_and_nothing_of_it_is_written(path, monkeypatch):
    monkeypatch.setattr(history, "PATIENCE", 0.05)
    async with SharedHistory(path) as one, SharedHistory(path) as other:
        with locked(path):
            with pytest.raises(HistoryError, match=f"{path}: database is locked"):
                await one.append(named("1"))
        assert not one.knows(*named("1"))
        assert numbers(await other.append(say("a"))) == [1] and numbers(await one.append(named("1"))) == [2]


def open_files(path: str) -> list[str]:
    return [each.path for each in psutil.Process().open_files() if each.path.startswith(path)]


@in_a_loop
async def test_closing_while_the_file_is_locked_does_not_wait_for_that_and_leaves_nothing_open(path, monkeypatch):
    monkeypatch.setattr(history, "PATIENCE", NEVER)
    kept = SharedHistory(path)
    await kept.__aenter__()
    port = kept.bell.port
    assert open_files(path)
    with locked(path):
        await kept.__aexit__(None, None, None)
        assert open_files(path)  # the other program's
    assert not open_files(path) and await is_free(port)
    with pytest.raises(RuntimeError):
        kept.writing.submit(int)
    assert bells(path) == [port]  # the next one takes it down
    async with SharedHistory(path):
        assert port not in bells(path)


@in_a_loop
async def test_a_clock_that_is_set_back_leaves_no_hole_whoever_writes(path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(history.time, "time", lambda: now[0])
    async with SharedHistory(path, max_age=60) as one, SharedHistory(path, max_age=60) as other:
        await one.append(say("a"))
        now[0] = 500.0  # the clock is set back, and then the other one writes
        await other.append(say("b"))
        await one.append(say("c"))
        with closing(sqlite3.connect(path)) as file:
            times = [moment for (moment,) in file.execute("SELECT time FROM message ORDER BY seq")]
        assert times == sorted(times)
        now[0] = 1030.0
        await other.append(say("d"))
        found = [numbers(await kept.after(0, 9, 9)) for kept in (one, other)]
        assert found == [[1, 2, 3, 4]] * 2
        now[0] = 1075.0
        await one.append(say("e"))
        assert numbers(await other.after(0, 9, 9)) == [4, 5]


@in_a_loop
async def test_a_server_that_starts_with_a_clock_set_back_goes_on_from_the_newest_time(path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(history.time, "time", lambda: now[0])
    async with SharedHistory(path, max_age=60) as one:
        await one.append(say("a"))
    now[0] = 900.0
    async with SharedHistory(path, max_age=60) as one:
        await one.append(say("b"))
    now[0] = 1050.0
    async with SharedHistory(path, max_age=60) as one:
        assert numbers(await one.after(0, 9, 9)) == [1, 2]


# ---------------------------------------------------------------- v9


def two_servers(path: str, **options):
    return two_of(partial(v9.Room, path, **{"limit": None, **options}))


class Slow:
    """Keeps a room from sending what is new, until it is let `go_on`."""

    def __init__(self, server: Server):
        self.broadcast, self.waiting = server.room.broadcast, []
        server.room.broadcast = self.waiting.append

    def go_on(self) -> None:
        for messages in self.waiting:
            self.broadcast(messages)


def since(server: Server, seq: int) -> str:
    return f"{server.url}?since={server.room.history.epoch}:{seq}"


@in_a_loop
async def test_people_at_two_servers_hear_the_same_in_the_same_order_under_the_same_numbers(path, only_bells):
    async with two_servers(path) as (one, other), joining(one.url) as ann, joining(other.url) as bob:
        await until(lambda: one.room.members() and other.room.members())
        for number in range(20):
            await ann.send(said(f"a{number}", id=f"{number}"))
            await bob.send(said(f"b{number}", token="Bob", id=f"{number}"))
        at_one, at_other = [[await heard(client) for _ in range(40)] for client in (ann, bob)]
        assert at_one == at_other and [message["seq"] for message in at_one] == [*range(1, 41)]
        for token in ("Ann", "Bob"):
            theirs = [message["content"] for message in at_one if message["token"] == token]
            assert theirs == [f"{token[0].lower()}{number}" for number in range(20)]
        assert await hears_nothing(ann) and await hears_nothing(bob)


@in_a_loop
async def test_who_comes_from_another_server_and_is_ahead_waits_and_is_neither_told_a_gap_nor_set_back(path):
    async with two_servers(path) as (one, other), joining(one.url) as ann:
        await until(one.room.members)
        slow = Slow(other)
        for number in range(1, 6):
            await ann.send(said(f"{number}"))
            await heard(ann)
        await until(lambda: len(all_of(slow.waiting)) == 5)
        async with joining(since(other, 4)) as cy:
            assert await hears_nothing(cy)
            slow.go_on()
            told = decode_position(await cy.recv())
            assert (told.seq, told.gap) == (4, None)
            assert (await heard(cy))["seq"] == 5 and await hears_nothing(cy)


@in_a_loop
async def test_a_number_that_no_server_has_given_yet_is_not_waited_for(path):
    async with two_servers(path) as (one, _), joining(since(one, 50)) as cy:
        told = decode_position(await cy.recv())
        assert told.seq == 0


@in_a_loop
async def test_what_is_new_is_acknowledged_once(path, only_bells):
    async with two_servers(path) as (one, _), joining(one.url) as ann:
        for number in range(30):
            await ann.send(said(f"{number}", id=f"{number}"))
        found = [(await heard(ann))["seq"] for _ in range(30)]
        assert found == [*range(1, 31)] and await hears_nothing(ann)


@in_a_loop
async def test_what_is_said_again_at_another_server_is_acknowledged_there_to_whoever_says_it_and_nobody_else(path):
    async with two_servers(path) as (one, other):
        async with joining(one.url) as ann, joining(other.url) as bob:
            await until(lambda: one.room.members() and other.room.members())
            await ann.send(said("hi", id="1"))
            assert (await heard(ann))["seq"] == (await heard(bob))["seq"] == 1
            async with joining(other.url) as again:
                await until(lambda: len(other.room.members()) == 2)
                await again.send(said("hi", id="1"))
                assert (await heard(again))["seq"] == 1
                assert await hears_nothing(bob) and await hears_nothing(ann)


@in_a_loop
async def test_what_another_server_knows_is_not_refused_for_coming_too_soon(path):
    async with two_servers(path, limit=0.001, burst=1) as (one, other):
        async with joining(one.url) as ann, joining(other.url) as again:
            await until(lambda: one.room.members() and other.room.members())
            await again.send(said("first", id="1"))
            assert (await heard(again))["seq"] == (await heard(ann))["seq"] == 1
            await ann.send(said("hi", id="2"))
            assert (await heard(again))["seq"] == (await heard(ann))["seq"] == 2
            await again.send(said("hi", id="2"))
            assert (await heard(again))["seq"] == 2
            await again.send(said("more", id="3"))
            assert (await heard(again))["refused"] == "more"


@in_a_loop
async def test_what_is_forgotten_before_a_server_has_read_it_is_told_to_be_gone(path):
    async with two_servers(path, keep=3) as (one, other), joining(one.url) as ann, joining(since(other, 0)) as cy:
        await until(one.room.members)
        assert decode_position(await cy.recv()).seq == 0
        await until(lambda: not other.room.readers[next(iter(other.room.readers))].behind.is_set())
        after, held = other.room.history.after, asyncio.Event()

        async def slow(*arguments):
            await held.wait()
            return await after(*arguments)

        other.room.history.after = slow
        for number in range(1, 11):
            await ann.send(said(f"{number}"))
            await heard(ann)
        other.room.history.after = after
        held.set()
        told = decode_position(await cy.recv())
        assert told.gap.first == 1 and told.seq == told.gap.last >= 6
        assert [(await heard(cy))["seq"] for _ in range(10 - told.seq)] == [*range(told.seq + 1, 11)]
