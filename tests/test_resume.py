"""v7 on real sockets and in virtual time: whoever says what they heard last hears the rest, once and in order.

.venv/bin/python -m tests.test_resume 1000     # seeds with 7 cuts and 2 kills each; the test makes 5
"""

import asyncio
import json
import socket
import sqlite3
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from random import Random

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from chatroom_lib import Kill, Message, Scenario, commuter, simulate, slow_reader
from chatroom_lib.checker.guarantees import judge
from chatroom_lib.history import History, HistoryError
from chatroom_lib.rooms import v6, v7
from chatroom_lib.server.server import Server
from tests.helpers import (
    A_MOMENT,
    A_STOP,
    AT_MOST,
    HANDSHAKE,
    client_frame,
    close_code,
    frozen,
    heard,
    hears_nothing,
    in_a_loop,
    joining,
    said,
    until,
)

FRAME = 100_000  # bytes: what one of these messages may take, and the buffers that no room decides about


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "chat.db")


async def write(path: str, first: int, last: int, size: int = 1, **options) -> str:
    """Messages "1", "2", ... of Cy's into the file; returns its epoch."""
    async with History(path, **options) as history:
        numbers = range(first, last + 1)
        await history.append([Message("Cy", f"{number}".ljust(size, "."), id=f"{number}") for number in numbers])
        return history.epoch


async def serve(path: str | None = None, **options) -> Server:
    """With small buffers, so that whoever does not read falls behind soon."""
    server = await Server(partial(v7.Room, path, **{"limit": None, **options}), compression=None).start()
    server.listener.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return server


async def numbers(client, count: int) -> list[int]:
    """Of the next messages."""
    return [(await heard(client))["seq"] for _ in range(count)]


def welcome(epoch: str, since: int, first: int | None = None, last: int | None = None) -> dict:
    gap = None if last is None else {"from": first, "to": last}
    return {"token": "chatroom", "content": "", "epoch": epoch, "since": since, "gap": gap}


class Gate:
    """Whatever a room looks up in its history waits here."""

    def __init__(self, room):
        self.find, self.open, self.waiting = room.history.after, asyncio.Event(), 0
        room.history.after = self.after

    async def after(self, *arguments):
        self.waiting += 1
        await self.open.wait()
        self.waiting -= 1
        return await self.find(*arguments)


# ---------------------------------------------------------------- what the room answers


@in_a_loop
async def test_whoever_does_not_ask_is_told_no_position(path):
    await write(path, 1, 5)
    server = await serve(path)
    async with joining(server.url) as plain, joining(f"{server.url}?last=3") as newcomer:
        await until(lambda: len(server.room.members()) == 2)
        assert await numbers(newcomer, 3) == [3, 4, 5]
        await plain.send(json.dumps({"before": 3, "limit": 2}))
        assert await numbers(plain, 2) == [1, 2]
        await plain.send(said("hi"))
        for client in (plain, newcomer):
            assert await heard(client) == {"token": "Ann", "content": "hi", "seq": 6}
            assert await hears_nothing(client)
    await server.stop()


@in_a_loop
@pytest.mark.parametrize(
    "asks, since, gap",
    [
        (":", 0, ()),
        ("EPOCH:0", 0, ()),
        ("EPOCH:1", 1, ()),
        ("EPOCH:9", 9, ()),
        ("EPOCH:10", 10, ()),
        ("EPOCH:11", 0, (None, 0)),  # it has heard of no such number from us
        ("EPOCH:9223372036854775808", 0, (None, 0)),
        ("other:10", 0, (None, 0)),
        ("a:b:10", 0, (None, 0)),
        ("%C3%A9%00%26:0", 0, (None, 0)),
        ("EPOCH:8&last=50", 8, ()),
        ("EPOCH:3&last=2", 3, ()),
        (":&last=3", 7, ()),
        (":&last=0", 10, ()),
        ("other:3&last=2", 8, (None, 0)),
    ],
)
async def test_the_first_frame_says_from_where_on_and_then_nothing_is_left_out(path, asks, since, gap):
    epoch = await write(path, 1, 10)
    server = await serve(path)
    async with joining(f"{server.url}?since={asks.replace('EPOCH', epoch)}") as ann:
        assert await heard(ann) == welcome(epoch, since, *gap)
        assert await numbers(ann, 10 - since) == [*range(since + 1, 11)]
        await ann.send(said("hi", id="1"))
        assert await heard(ann) == {"token": "Ann", "content": "hi", "id": "1", "seq": 11}
        assert await hears_nothing(ann)
    await server.stop()


@in_a_loop
@pytest.mark.parametrize(
    "asks, gap",
    [
        (":", ()),
        ("EPOCH:0", (1, 7)),
        ("EPOCH:3", (4, 7)),
        ("EPOCH:6", (7, 7)),
        ("EPOCH:7", ()),
        ("EPOCH:13", (None, 7)),
        ("other:3", (None, 7)),
    ],
)
async def test_what_is_forgotten_is_told_with_both_ends(path, asks, gap):
    epoch = await write(path, 1, 7)
    await write(path, 8, 12, keep=5)
    server = await serve(path, keep=5)
    async with joining(f"{server.url}?since={asks.replace('EPOCH', epoch)}") as ann:
        assert await heard(ann) == welcome(epoch, 7, *gap)
        assert await numbers(ann, 5) == [8, 9, 10, 11, 12]
    await server.stop()


@in_a_loop
async def test_the_welcome_comes_first_also_to_whoever_speaks_before_it_has_come(path):
    server = await serve(path, limit=0.001, burst=1)
    client = await asyncio.open_connection("127.0.0.1", server.port)
    asks = HANDSHAKE.replace(b"/chatroom", b"/chatroom?since=:")
    client[1].write(asks + b"".join(client_frame(1, said(f"hi {number}").encode()) for number in range(3)))
    async with asyncio.timeout(AT_MOST):
        answers = (await client[0].readuntil(b'"seq":1}')).partition(b"\r\n\r\n")[2]
    assert b'"since":0' in answers[:99] and answers.count(b'"refused"') == 2
    client[1].close()
    await server.stop()


@in_a_loop
async def test_a_room_in_which_nothing_was_said_says_where_it_begins():
    server = await serve()
    epoch = server.room.history.epoch
    for asks, gap in ((":", ()), (f"{epoch}:0", ()), (f"{epoch}:1", (None, 0)), ("other:1", (None, 0))):
        async with joining(f"{server.url}?since={asks}") as ann:
            assert await heard(ann) == welcome(epoch, 0, *gap) and await hears_nothing(ann)
    await server.stop()


@in_a_loop
async def test_what_is_no_position_ends_the_visit_and_says_what_is_one():
    server = await serve()
    for wrong in ("", "5", "abc", "abc:", ":5", "::", "abc:-1", "abc:1.5", "abc:%C2%B2", "abc:x", f"abc:{10**19}"):
        async with joining(f"{server.url}?since={wrong}") as ann:
            assert await close_code(ann) == 1007 and ann.close_reason == "since must be EPOCH:SEQ, or a colon alone"
    await until(lambda: not server.room.members())
    assert not server.errors
    await server.stop()


@in_a_loop
async def test_a_gap_that_opens_while_one_catches_up_is_told_before_what_follows(path):
    epoch = await write(path, 1, 60, size=3000)
    server = await serve(path, keep=60)
    async with frozen(f"{server.url}?since={epoch}:0") as slow, joining(server.url) as ann:
        await until(lambda: len(server.room.members()) == 2)
        for _ in range(300):
            await ann.send(said("." * 3000))
            await heard(ann)
        assert await heard(slow) == welcome(epoch, 0)
        position, gaps = 0, []
        while position < 360:
            frame = await heard(slow)
            if "since" in frame:
                gaps.append((frame["gap"]["from"], frame["gap"]["to"]))
                assert gaps[-1][0] == position + 1 and frame["since"] == gaps[-1][1] and frame["epoch"] == epoch
                position = frame["since"]
            else:
                position += 1
                assert frame["seq"] == position
        assert len(gaps) == 1
        await ann.send(said("hi"))
        assert await numbers(slow, 1) == [361]
    assert not server.errors
    await server.stop()


# ---------------------------------------------------------------- while it catches up


@in_a_loop
async def test_whoever_catches_up_can_speak_and_hears_all_in_its_place(path):
    epoch = await write(path, 1, 40)
    server = await serve(path)
    gate = Gate(server.room)
    async with joining(server.url) as ann, joining(f"{server.url}?since={epoch}:5") as bob:
        await until(lambda: gate.waiting)
        assert len(server.room.members()) == 2
        for number in range(3):
            await bob.send(said(f"hi {number}", token="Bob", id=f"{number}"))
            assert (await heard(ann))["content"] == f"hi {number}"
        gate.open.set()
        assert await heard(bob) == welcome(epoch, 5)
        assert await numbers(bob, 38) == [*range(6, 44)]
        assert await hears_nothing(bob)
    await server.stop()


@in_a_loop
async def test_what_is_said_again_while_one_catches_up_comes_in_its_place_alone(path):
    epoch = await write(path, 1, 40)
    server = await serve(path)
    gate = Gate(server.room)
    async with joining(f"{server.url}?since={epoch}:5") as cy:
        await until(lambda: gate.waiting)
        for number in (4, 5, 6, 40):
            await cy.send(said(f"{number}", token="Cy", id=f"{number}"))
        assert await heard(cy) == welcome(epoch, 5)
        assert await numbers(cy, 2) == [4, 5]  # these it has been sent already, and hears once more
        assert await hears_nothing(cy)
        gate.open.set()
        assert await numbers(cy, 35) == [*range(6, 41)]
        assert await hears_nothing(cy)
        await cy.send(said("40", token="Cy", id="40"))
        assert await numbers(cy, 1) == [40]
    await server.stop()


@in_a_loop
async def test_whoever_catches_up_is_told_of_what_is_refused(path):
    epoch = await write(path, 1, 40)
    server = await serve(path, limit=0.001, burst=1)
    gate = Gate(server.room)
    async with joining(f"{server.url}?since={epoch}:5") as ann:
        await until(lambda: gate.waiting)
        append, server.room.history.append = server.room.history.append, fail
        await ann.send(said("unwritten"))
        await ann.send(said("too soon"))
        assert await heard(ann) == welcome(epoch, 5)
        assert sorted([(await heard(ann))["refused"] for _ in range(2)]) == ["too soon", "unwritten"]
        server.room.history.append = append
        gate.open.set()
        assert await numbers(ann, 35) == [*range(6, 41)]
    await server.stop()


async def fail(*arguments, **options):
    raise HistoryError("the disk is full")


@in_a_loop
@pytest.mark.parametrize("buffer_size", [4096, 65536])
async def test_an_answer_does_not_end_the_visit_of_somebody_whose_buffer_is_full_of_what_they_missed(path, buffer_size):
    epoch = await write(path, 1, 100, size=10_000)
    server = await serve(path, buffer_size=buffer_size)
    async with frozen(f"{server.url}?since={epoch}:0") as cy:
        await until(lambda: any(c.transport.get_write_buffer_size() > 4096 for c in server.room.members()))
        for _ in range(3):
            await cy.send(said("1".ljust(10_000, "."), token="Cy", id="1"))
        assert await heard(cy) == welcome(epoch, 0)
        told = await numbers(cy, 103)
        assert sorted(told) == sorted([*range(1, 101), 1, 1, 1])
    await server.stop()


async def until_read(room, count: int) -> None:
    """The last message may still wait for room in the queue."""
    async with asyncio.timeout(AT_MOST):
        while len(room.unwritten) < count:
            await asyncio.sleep(0)


@in_a_loop
async def test_what_somebody_says_who_leaves_before_they_have_caught_up_is_heard(path):
    """Also if the disk is so slow then that the room reads no more."""
    epoch = await write(path, 1, 200, size=3000)
    server = await serve(path)
    append, go, count = server.room.history.append, asyncio.Event(), 0

    async def slow(*arguments, **options):
        await go.wait()
        return await append(*arguments, **options)

    server.room.history.append = slow
    async with joining(server.url) as ann:
        async with frozen(f"{server.url}?since={epoch}:0") as bob:
            waits = False
            while not waits:
                waits = server.room.incoming.full()
                await bob.send(said(f"{count}", token="Bob", id=f"{count}"))
                count += 1
                await until_read(server.room, count)
        await asyncio.sleep(A_MOMENT)  # Bob has gone
        go.set()
        assert await numbers(ann, count) == [*range(201, 201 + count)]
    await until(lambda: not server.room.members())
    assert not server.room.unwritten
    await server.stop()


# ---------------------------------------------------------------- whoever does not keep up


@in_a_loop
async def test_whoever_does_not_read_falls_behind_costs_little_and_hears_all_when_they_read(path):
    server = await serve(path, buffer_size=8192)
    room = server.room
    async with frozen(f"{server.url}?since=:") as slow, joining(server.url) as ann:
        await until(lambda: len(room.members()) == 2)
        most = 0
        for number in range(600):
            await ann.send(said(f"{number}".ljust(5000, ".")))
            await heard(ann)
            most = max(most, *(c.transport.get_write_buffer_size() for c in room.members()))
        assert room.fallen and most < FRAME < 600 * 5000
        assert len(room.members()) == 2 and len(room.history.recent) == v7.RECENT and not room.unwritten
        assert await heard(slow) == welcome(room.history.epoch, 0)
        assert await numbers(slow, 600) == [*range(1, 601)]
        await ann.send(said("hi"))
        assert await numbers(slow, 1) == [601]
    await server.stop()


@in_a_loop
async def test_whoever_did_not_ask_and_is_too_slow_for_what_is_kept_is_sent_away(path):
    server = await serve(path, keep=20, buffer_size=8192)
    async with frozen(server.url) as slow, joining(server.url) as ann:
        await until(lambda: len(server.room.members()) == 2)
        for number in range(400):
            await ann.send(said(f"{number}".ljust(5000, ".")))
            await heard(ann)
        position = 0
        with suppress(ConnectionClosedError):
            while True:
                assert await numbers(slow, 1) == [position + 1]
                position += 1
        assert slow.close_code == 1013 and slow.close_reason == "what you have not heard yet is gone"
        assert 0 < position < 380
        await ann.send(said("hi"))
        assert await numbers(ann, 1) == [401]
        await until(lambda: len(server.room.members()) == 1)
    assert not server.errors
    await server.stop()


@in_a_loop
@pytest.mark.parametrize("asks", ["", "?since=:"])
@pytest.mark.parametrize("options", [{}, {"server_no_context_takeover": True}], ids=["context", "no context"])
async def test_compressed_frames_are_right_for_whoever_is_behind_and_live_by_turns(path, asks, options):
    await write(path, 1, 20, size=2000)
    server = await Server(partial(v7.Room, path, limit=None, buffer_size=0), compression="deflate").start()
    server.listener.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    factory = ClientPerMessageDeflateFactory(**options)
    texts = [Random(number).randbytes(4000).hex() for number in range(60)]
    async with joining(server.url + asks, extensions=[factory], compression=None, max_queue=2) as slow:
        if asks:
            assert (await heard(slow))["since"] == 0
            await numbers(slow, 20)
        async with joining(server.url, extensions=[factory], compression=None) as ann:
            await until(lambda: len(server.room.members()) == 2)
            for start in range(0, 60, 20):
                for text in texts[start : start + 20]:
                    await ann.send(said(text, id=text[:9]))
                    assert (await heard(ann))["content"] == text
                await slow.send(said(texts[start], id=texts[start][:9]))  # an answer between them
                answers = []
                while texts[start + 19] not in answers:
                    answers.append((await heard(slow))["content"])
                new = [text for text in dict.fromkeys(answers) if text not in texts[:start]]
                assert new == texts[start : start + 20]
            assert server.room.fallen
    assert not server.errors
    await server.stop()


# ---------------------------------------------------------------- ends


@in_a_loop
async def test_a_server_stops_in_time_while_somebody_catches_up_and_leaves_no_task(path):
    before = asyncio.all_tasks()
    epoch = await write(path, 1, 300, size=5000)
    server = await serve(path)
    async with frozen(f"{server.url}?since={epoch}:0"), frozen(f"{server.url}?since=:") as bob:
        await until(lambda: len(server.room.members()) == 2)
        await bob.send(said("hi"))
        await until(lambda: server.room.last == 301)
        async with asyncio.timeout(A_STOP):
            await server.stop()
        assert not server.room.members() and not server.errors
    await asyncio.sleep(A_MOMENT)
    assert asyncio.all_tasks() <= before


@in_a_loop
async def test_a_history_that_cannot_be_read_ends_the_visit_with_one_line(path, caplog):
    epoch = await write(path, 1, 300)
    server = await serve(path)
    server.room.history.reader.close()
    async with joining(server.url) as ann:
        async with joining(f"{server.url}?since={epoch}:3") as bob:
            assert await close_code(bob) == 1011 and bob.close_reason == "the history cannot be read"
        (line,) = [record.getMessage() for record in caplog.records]
        assert line == f"{path}: Cannot operate on a closed database." and not server.errors
        await ann.send(said("still here"))
        assert await numbers(ann, 1) == [301]
        async with joining(f"{server.url}?since={epoch}:290") as cy:  # that is in memory
            assert await heard(cy) == welcome(epoch, 290)
            assert await numbers(cy, 11) == [*range(291, 302)]
    server.room.history.reader = server.room.history.connect()
    await server.stop()


# ---------------------------------------------------------------- the history


@in_a_loop
async def test_an_epoch_is_as_old_as_its_file(path, tmp_path):
    first = await write(path, 1, 3)
    assert await write(path, 4, 5) == first
    assert await write(str(tmp_path / "other.db"), 1, 3) != first
    server = await serve(path)
    assert server.room.history.epoch == first
    await server.stop()


@in_a_loop
async def test_a_file_that_has_no_epoch_yet_is_given_one(path):
    server = await Server(partial(v6.Room, path, limit=None)).start()
    async with joining(server.url) as ann:
        await ann.send(said("hi"))
        await heard(ann)
    await server.stop()
    with sqlite3.connect(path) as old:
        old.execute("DROP TABLE epoch")  # as the histories of v5 and v6 were
    old.close()
    epoch = await write(path, 2, 3)
    server = await serve(path)
    async with joining(f"{server.url}?since={epoch}:1") as ann:
        assert await heard(ann) == welcome(epoch, 1) and await numbers(ann, 2) == [2, 3]
    await server.stop()


@in_a_loop
async def test_the_newest_are_in_memory_as_they_are_in_the_file(path):
    def in_memory(history: History) -> list[int]:
        return [message.seq for message in history.recent]

    async with History(path, keep=4, recent=100) as history:
        for number in range(1, 10):
            await history.append([Message("Ann", f"{number}", id=f"{number}")], once=True)
            assert in_memory(history) == [*range(max(1, number - 3), number + 1)]
            assert [*history.recent] == await history.before(number + 1, 100)
        again, new = await history.append([Message("Ann", "8", id="8"), Message("Ann", "10")], once=True)
        assert (again.seq, new.seq) == (8, 10) and in_memory(history) == [7, 8, 9, 10]
        await history.append([Message("Ann", "8", id="8")], once=True)
        assert in_memory(history) == [7, 8, 9, 10]
        history.writer.execute("CREATE TRIGGER no BEFORE INSERT ON message BEGIN SELECT RAISE(ABORT, 'no'); END")
        with pytest.raises(HistoryError):
            await history.append([Message("Ann", "11")])
        assert in_memory(history) == [7, 8, 9, 10]
        history.writer.execute("DROP TRIGGER no")
        await history.append([Message("Ann", f"{number}") for number in range(11, 31)])
        assert in_memory(history) == [27, 28, 29, 30] and history.first == 27
    async with History(path, keep=100, recent=2) as history:
        assert in_memory(history) == [29, 30]
        assert [message.seq for message in await history.after(26, 30, 100)] == [27, 28, 29, 30]
        for seq, until_, limit in ((28, 30, 1), (28, 29, 9), (29, 30, 9), (30, 30, 9), (27, 30, 2)):
            wanted = [*range(seq + 1, until_ + 1)][:limit]
            assert [message.seq for message in await history.after(seq, until_, limit)] == wanted
    async with History(path, max_age=60, recent=100) as history:
        await history.append([Message("Ann", "31")])
        assert not history.recent


@in_a_loop
@pytest.mark.parametrize("recent, reads", [(v7.RECENT, range(4)), (0, range(200, 900))])
async def test_when_all_come_back_at_once_the_history_is_read_once(path, recent, reads, monkeypatch):
    monkeypatch.setattr(v7, "RECENT", recent)
    epoch = await write(path, 1, 300)
    server = await serve(path)
    statements = []
    server.room.history.reader.set_trace_callback(statements.append)
    clients = await asyncio.gather(*(joining(f"{server.url}?since={epoch}:{250 + n % 50}") for n in range(200)))
    try:
        for number, client in enumerate(clients):
            assert await heard(client) == welcome(epoch, since := 250 + number % 50)
            assert await numbers(client, 300 - since) == [*range(since + 1, 301)]
    finally:
        await asyncio.gather(*(client.close() for client in clients))
        await server.stop()
    assert len(statements) in reads


@in_a_loop
async def test_what_is_too_old_keeps_no_newcomer_out(path):
    epoch = await write(path, 1, 10)
    with sqlite3.connect(path) as file:
        file.execute("UPDATE message SET time = time - 1000 WHERE seq <= 7")
    file.close()
    server = await serve(path, max_age=100)
    async with joining(f"{server.url}?last=5") as ann, joining(f"{server.url}?since={epoch}:2") as bob:
        assert await numbers(ann, 3) == [8, 9, 10]
        frames = [await heard(bob) for _ in range(2)]
        assert frames == [welcome(epoch, 2), welcome(epoch, 7, 3, 7)] and await numbers(bob, 3) == [8, 9, 10]
        await ann.send(said("hi"))
        assert await numbers(ann, 1) == await numbers(bob, 1) == [11]
    await server.stop()
    with sqlite3.connect(path) as file:
        file.execute("UPDATE message SET time = time - 1000")
    file.close()
    server = await serve(path, max_age=100)
    async with joining(f"{server.url}?last=5") as ann:
        assert await hears_nothing(ann)
        await ann.send(said("hi"))
        assert await numbers(ann, 1) == [12]
    await server.stop()


@in_a_loop
async def test_what_is_read_from_memory_does_not_change_while_others_have_their_turn(path):
    async with History(path, keep=4, recent=100) as history:
        await history.append([Message("Ann", f"{number}") for number in range(4)])
        for first in range(1, 30):
            reading = asyncio.create_task(history.after(first - 1, first + 3, 9))
            await asyncio.sleep(0)  # it has begun
            history.recent.append(Message("Ann", "new", seq=first + 4))  # and forgets the first
            assert [message.seq for message in await reading] == [*range(first, first + 4)]


# ---------------------------------------------------------------- seven cuts and two kills


class NothingInMemory(v7.Room):
    def __init__(self, path=None, **options):
        super().__init__(path, **options)
        self.history = History(path)


ROOMS = {  # how -> the room, and is there a slow reader?
    "v7": (partial(v7.Room, limit=None), False),
    "nothing in memory": (partial(NothingInMemory, limit=None), False),
    "small buffers": (partial(NothingInMemory, limit=None, buffer_size=1500), True),
}
SAID = 120


def seven_cuts_and_two_kills(rng: Random, slow: bool) -> Scenario:
    def cuts(number: int) -> list[tuple[float, float]]:
        end, found = 0.1, []
        for _ in range(number):
            begin = end + rng.uniform(0.2, 1)
            found.append((begin, end := begin + rng.uniform(0.05, 0.6)))
        return found

    people = [
        commuter(name, says=SAID // 3, every=0.08, size=20, resumes=True, away=cuts(number))
        for name, number in (("Ann", 3), ("Bob", 2), ("Cy", 2))
    ]
    if slow:
        people.append(slow_reader("Dan", pause=0.05, returns=True, resumes=True))
    first = rng.uniform(0.5, 1.5)
    kills = [Kill(at, rng.uniform(0.1, 0.5)) for at in (first, first + rng.uniform(1, 2))]
    return Scenario(people, duration=60, kills=kills)


def broken_by(how: str, seed: int) -> list[str]:
    """What is wrong with one run: the evidence of broken guarantees, and who did not hear everything."""
    room, slow = ROOMS[how]
    trace = simulate(room, partial(seven_cuts_and_two_kills, slow=slow), seed)
    wrong = [f"{name}: {verdict.evidence}" for name, verdict in judge(trace).items() if verdict.kept is False]
    for client in trace.clients:
        found = {event.seq for event in trace.of("heard", who=client.name)}
        wrong += [f"{client.name} heard {len(found)}"] * (found != {*range(1, SAID + 1)})
    returns = sum(len(visits) - 1 for visits in trace.visits().values())
    wrong += [f"{returns} returns"] * (returns < 4 or len(trace.of("killed")) != 2)
    return [f"{how}, seed {seed}: {line}" for line in wrong]


@pytest.mark.parametrize("how", ROOMS)
def test_through_seven_cuts_and_two_kills_everybody_hears_everything_once_and_in_order(how):
    assert [line for seed in range(5) for line in broken_by(how, seed)] == []


def main(seeds: int) -> None:
    with ProcessPoolExecutor(2) as pool:
        for how in ROOMS:
            wrong = [line for lines in pool.map(partial(broken_by, how), range(seeds), chunksize=10) for line in lines]
            print(f"{how}: {seeds} seeds, {len(wrong)} wrong", *wrong[:10], sep="\n  ", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
