"""The file in which a room keeps what was said, and what becomes of speakers when it cannot be written."""

import asyncio
import contextlib
import json
import logging
import sqlite3
from functools import partial

import pytest

from chatroom_lib import Message, history, rooms
from chatroom_lib.history import History, HistoryError
from chatroom_lib.rooms import v5, v6, v7
from chatroom_lib.runs.live import small_socket
from chatroom_lib.server.server import Server, ServerError
from tests.helpers import A_MOMENT, close_code, heard, hears_nothing, in_a_loop, joining, said, until

both = pytest.mark.parametrize("version", [v5, v6], ids=["v5", "v6"])
HI = Message("Ann", "hi")


def say(*contents: str, **more) -> list[Message]:
    return [Message("Ann", content, **more) for content in contents]


def contents(messages: list[Message]) -> list[str]:
    return [message.content for message in messages]


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "chat.db")


def open_room(version, path: str | None = None, **options) -> Server:
    return Server(partial(version.Room, path, **{"limit": None, **options}))


async def hear(client, number: int) -> list[dict]:
    return [await heard(client) for _ in range(number)]


# ---------------------------------------------------------------- the file


@in_a_loop
async def test_messages_get_the_numbers_1_2_3_and_keep_them(path):
    async with History(path) as kept:
        assert [message.seq for message in await kept.append(say("a", "b"))] == [1, 2]
        assert await kept.append([HI]) == [Message("Ann", "hi", seq=3)]
    async with History(path) as again:
        assert again.last == 3 and contents(await again.after(0, 3, 10)) == ["a", "b", "hi"]
        assert (await again.append(say("c")))[0].seq == 4


@in_a_loop
async def test_whatever_is_text_comes_back(path):
    odd = ["", "\x00", "世界 👋🏽", "'; DROP TABLE message; --", "a" * 70_000, "\u2028"]
    async with History(path) as kept:
        await kept.append([Message(text, text, id=text or None) for text in odd])
        assert contents(await kept.after(0, 99, 99)) == odd == [m.token for m in await kept.before(99, 99)]


@in_a_loop
async def test_a_page_is_the_newest_before_a_number_the_oldest_first(path):
    async with History(path) as kept:
        await kept.append(say(*"abcdef"))
        assert contents(await kept.before(5, 2)) == ["c", "d"] and contents(await kept.before(2, 9)) == ["a"]
        assert await kept.before(1, 9) == [] and contents(await kept.before(10**30, 1)) == ["f"]
        assert contents(await kept.after(1, 4, 2)) == ["b", "c"] and contents(await kept.after(4, 5, 9)) == ["e"]


@in_a_loop
async def test_of_a_known_id_there_is_one_message_and_no_number_is_burnt(path):
    async with History(path) as kept:
        await kept.append([Message("Ann", "hi", id="1")], once=True)
        again = await kept.append([Message("Ann", "hi again", id="1"), Message("Bob", "hi", id="1"), HI, HI], once=True)
        assert [(message.token, message.content, message.seq) for message in again] == [
            ("Ann", "hi", 1), ("Bob", "hi", 2), ("Ann", "hi", 3), ("Ann", "hi", 4),
        ]  # fmt: skip
        assert (
            kept.knows(Message("Ann", "", id="1")) and not kept.knows(HI) and not kept.knows(Message("Cy", "", id="1"))
        )
    async with History(path) as again:
        assert again.knows(Message("Bob", "", id="1"))
        assert await again.append([Message("Ann", "", id="1")], once=True) == [Message("Ann", "hi", id="1", seq=1)]


@in_a_loop
async def test_the_oldest_are_forgotten_but_never_the_last(path, monkeypatch):
    async with History(path, keep=3) as kept:
        await kept.append(say(*"abcde"))
        assert contents(await kept.after(0, 99, 99)) == ["c", "d", "e"]
    now = [1000]
    monkeypatch.setattr(history.time, "time", lambda: now[0])
    async with History(path + "2", max_age=10) as kept:
        for now[0] in (1000, 1005, 1011):
            await kept.append(say(str(now[0])))
        assert contents(await kept.after(0, 99, 99)) == ["1005", "1011"]
        now[0] = 1016
        assert contents(await kept.before(99, 99)) == ["1011"]  # also when nobody speaks
        now[0] = 2000
        assert await kept.before(99, 99) == await kept.after(0, 99, 99) == []
        assert (await kept.append([HI]))[0].seq == 4 and contents(await kept.before(99, 99)) == ["hi"]
    async with History(path + "2", max_age=10) as kept:
        assert kept.last == 4


@in_a_loop
async def test_an_id_is_forgotten_with_its_message(path):
    async with History(path, keep=2) as kept:
        for id in "abca":
            await kept.append([Message("Ann", id, id=id)], once=True)
        assert [(message.content, message.seq) for message in await kept.before(99, 99)] == [("c", 3), ("a", 4)]
        assert [*kept.numbers.values()] == [3, 4]


@in_a_loop
async def test_whoever_reads_sees_nothing_that_is_not_committed(path):
    async with History(path) as kept:
        kept.writer.execute("BEGIN IMMEDIATE")
        kept.writer.execute("INSERT INTO message VALUES (1, 'Ann', 'hi', NULL, 0)")
        assert await kept.before(99, 99) == []
        kept.writer.execute("ROLLBACK")


@in_a_loop
async def test_a_temporary_history_is_removed_at_its_end():
    async with History() as kept:
        await kept.append([HI])
        with open(kept.path, "rb") as file:
            assert file.read(6) == b"SQLite"
    with pytest.raises(FileNotFoundError):
        open(kept.path)


# ---------------------------------------------------------------- a file that cannot be had


@in_a_loop
@pytest.mark.parametrize(
    "content, why", [(b"not a database " * 100, "file is not a database"), (None, "unable to open database file")]
)
async def test_a_room_with_a_file_that_is_none_does_not_start_and_says_why(path, content, why):
    if content:
        with open(path, "wb") as file:
            file.write(content)
    else:
        path = path + "/no/such/folder"
    with pytest.raises(ServerError, match=f"the room does not start: HistoryError: {path}: {why}"):
        await open_room(v6, path).start()


def fill(kept: History) -> None:
    kept.writer.execute(f"PRAGMA max_page_count = {kept.writer.execute('PRAGMA page_count').fetchone()[0]}")


def protect(kept: History) -> None:
    kept.writer.execute("PRAGMA query_only = 1")


def release(kept: History) -> None:
    kept.writer.execute("PRAGMA max_page_count = 1000000")
    kept.writer.execute("PRAGMA query_only = 0")


@in_a_loop
@both
@pytest.mark.parametrize("fail, why", [(fill, "database or disk is full"), (protect, "readonly database")])
async def test_when_a_message_cannot_be_written_its_speaker_is_told_and_nobody_hears_it(
    version, fail, why, path, caplog
):
    server = await open_room(version, path).start()
    async with joining(server.url) as ann, joining(server.url) as bob:
        await until(lambda: len(server.room.members()) == 2)
        await ann.send(said("first"))
        assert await hear(ann, 1) == await hear(bob, 1)
        fail(server.room.history)
        await ann.send(said("x" * 60_000, id="7"))
        refusal = await heard(ann)
        assert refusal["refused"] == "x" * 60_000 and refusal["id"] == "7" and "seq" not in refusal
        assert await hears_nothing(bob)
        release(server.room.history)
        await ann.send(said("last"))
        assert [(message["content"], message["seq"]) for message in await hear(bob, 1)] == [("last", 2)]
    await server.stop()
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert path in line and why in line and not server.errors


@in_a_loop
async def test_what_is_known_is_not_refused_when_the_disk_is_full(path):
    server = await open_room(v6, path).start()
    async with joining(server.url) as ann:
        await ann.send(said("first", id="1"))
        await heard(ann)
        fill(server.room.history)
        (member,) = server.room.members()
        for message in (Message("Ann", "x" * 60_000, id="2"), Message("Ann", "first", id="1")):
            server.room.incoming.put_nowait((member, message))
        assert (await heard(ann))["id"] == "2" and await hears_nothing(ann)
        release(server.room.history)
        await ann.send(said("first", id="1"))
        assert (await heard(ann))["seq"] == 1
    await server.stop()


@in_a_loop
async def test_a_history_needs_a_file():
    with pytest.raises(HistoryError, match=":memory:: no write-ahead log can be kept there"):
        await History(":memory:").__aenter__()


@in_a_loop
async def test_when_another_program_has_locked_the_file_speakers_are_told_after_a_while(path, monkeypatch):
    monkeypatch.setattr(history, "PATIENCE", 0.05)
    server = await open_room(v6, path).start()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    async with joining(server.url) as ann:
        await ann.send(said("hi"))
        assert (await heard(ann))["refused"] == "hi"
        other.execute("ROLLBACK")
        await ann.send(said("hi"))
        assert (await heard(ann))["seq"] == 1
    other.close()
    await server.stop()


@in_a_loop
async def test_a_file_that_another_program_is_making_is_waited_for(path):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        opening = asyncio.create_task(open_and_close(path))
        await asyncio.sleep(A_MOMENT)
        assert not opening.done()
        other.execute("COMMIT")
        await opening


async def open_and_close(path: str) -> None:
    async with History(path) as kept:
        assert await kept.append([HI])


@in_a_loop
async def test_two_rooms_on_one_file_give_no_number_twice(path):
    async with History(path) as one, History(path) as other:
        await one.append([HI])
        with pytest.raises(HistoryError, match="another server writes to it, too"):
            await other.append([HI])
        assert (await one.append([HI]))[0].seq == 2


@in_a_loop
async def test_a_history_that_cannot_be_read_ends_the_visit_that_asks_for_it(path):
    server = await open_room(v6, path).start()
    async with joining(server.url) as ann:
        await ann.send(said("hi"))
        await heard(ann)
        server.room.history.reader.close()
        async with joining(f"{server.url}?last=5") as bob:
            assert await close_code(bob) == 1011 and bob.close_reason == "the history cannot be read"
        await ann.send(said("still here"))
        assert (await heard(ann))["content"] == "still here"
    server.room.history.reader = server.room.history.connect()
    await server.stop()


# ---------------------------------------------------------------- what clients ask for


@in_a_loop
@both
async def test_a_newcomer_gets_the_last_ones_and_whoever_asks_for_nothing_gets_nothing(version, path):
    server = await open_room(version, path).start()
    async with joining(server.url) as ann, joining(server.url) as seed:
        await until(lambda: len(server.room.members()) == 2)
        for number in range(1, 41):
            await ann.send(said(str(number)))
        await hear(ann, 40)
        async with joining(f"{server.url}?last=30") as bob, joining(f"{server.url}?last=5000") as cy:
            assert [message["seq"] for message in await hear(bob, 30)] == [*range(11, 41)]
            assert [message["seq"] for message in await hear(cy, 40)] == [*range(1, 41)]
            async with joining(server.url) as di:
                await until(lambda: len(server.room.members()) == 5)
                await ann.send(said("more"))
                for client in (bob, cy, di):
                    assert [message["seq"] for message in await hear(client, 1)] == [41]
        assert len(await hear(seed, 41)) == 41
    await server.stop()


@in_a_loop
@both
async def test_a_page_goes_to_whoever_asks_and_an_empty_one_says_so(version, path):
    server = await open_room(version, path).start()
    async with joining(server.url) as ann, joining(server.url) as bob:
        await until(lambda: len(server.room.members()) == 2)
        for number in range(1, 121):
            await ann.send(said(str(number), id=f"id {number}"))
        await hear(ann, 120)
        await hear(bob, 120)
        for before, limit, numbers in (
            (50, 10, [*range(40, 50)]),
            (4, 99, [1, 2, 3]),
            (10**30, 5000, [*range(21, 121)]),
        ):
            await ann.send(json.dumps({"before": before, "limit": limit}))
            page = await hear(ann, len(numbers))
            assert [(message["seq"], message["id"]) for message in page] == [(n, f"id {n}") for n in numbers]
        await ann.send(json.dumps({"before": 1, "limit": 10}))
        assert await heard(ann) == {"token": "chatroom", "content": "", "before": 1, "end": True}
        assert await hears_nothing(bob)
    await server.stop()


@in_a_loop
@both
async def test_what_cannot_be_asked_for_ends_the_visit_and_says_why(version, path):
    server = await open_room(version, path).start()
    wrong = [
        ({"before": "5"}, "before must be a whole number, 0 or more"),
        ({"before": True}, "before must be a whole number, 0 or more"),
        ({"before": 5, "limit": 0}, "limit must be a whole number, 1 or more"),
        ({"before": 5, "limit": 1.5}, "limit must be a whole number, 1 or more"),
        ({"token": "Ann", "content": "hi", "id": "x" * 65}, "id must have 1 to 64 characters"),
        ({"token": "Ann", "content": "hi", "id": 7}, "id must be text"),
    ]
    for request, why in wrong:
        async with joining(server.url) as ann:
            await ann.send(json.dumps(request))
            assert await close_code(ann) == 1007 and ann.close_reason == why
    for query in ("?last=-1", "?last=many", "?last=1.5", "?last=%F0%9F%98%80"):
        async with joining(server.url + query) as ann:
            assert await close_code(ann) == 1007 and ann.close_reason == "last must be a whole number"
    assert not server.errors
    await server.stop()


@in_a_loop
@both
async def test_a_newcomer_that_does_not_read_its_history_holds_up_nobody(version, path):
    server = await open_room(version, path).start()
    async with joining(server.url) as ann:
        for _ in range(100):
            await ann.send(said("x" * 60_000))
            await heard(ann)
        sock = await small_socket("127.0.0.1", server.port)
        async with joining(f"{server.url}?last=1000", max_queue=1, sock=sock) as slow:
            slow.transport.pause_reading()
            await ann.send(said("hi"))
            assert (await heard(ann))["content"] == "hi"
            await asyncio.sleep(A_MOMENT)
            assert len(server.room.members()) == 1  # it has not joined yet
            held = [each.transport.get_write_buffer_size() for each in server.connections]
            assert max(held) < 1_000_000  # of 6 MB
            slow.transport.resume_reading()
            assert [message["seq"] for message in await hear(slow, 101)] == [*range(1, 102)]
    await server.stop()


# ---------------------------------------------------------------- ids


@in_a_loop
async def test_in_v5_what_is_said_again_is_heard_again(path):
    server = await open_room(v5, path).start()
    async with joining(server.url) as ann:
        for _ in range(2):
            await ann.send(said("hi", id="1"))
        assert [(message["seq"], message["id"]) for message in await hear(ann, 2)] == [(1, "1"), (2, "1")]
    await server.stop()


@in_a_loop
async def test_in_v6_whoever_says_it_again_hears_it_again_alone(path):
    async def say_again(server, first: bool) -> None:
        async with joining(server.url) as ann, joining(server.url) as bob:
            await until(lambda: len(server.room.members()) == 2)
            if first:
                await ann.send(said("hi", id="1"))
                assert await hear(ann, 1) == await hear(bob, 1)
            await ann.send(said("hi", id="1"))
            assert [message["seq"] for message in await hear(ann, 1)] == [1]
            assert await hears_nothing(bob)
        await server.stop()

    await say_again(await open_room(v6, path).start(), first=True)
    await say_again(await open_room(v6, path).start(), first=False)  # on the same file


@in_a_loop
async def test_one_message_said_twice_at_once_is_one(path):
    server = await open_room(v6, path).start()
    async with joining(server.url) as ann, joining(server.url) as bob:
        await until(lambda: len(server.room.members()) == 2)
        same = {"token": "Ann", "content": "hi", "id": "1"}
        server.room.incoming.put_nowait((server.room.members()[0], Message(**same)))
        server.room.incoming.put_nowait((server.room.members()[0], Message(**same)))
        await bob.send(said("and", id="1", token="Bob"))
        assert [message["content"] for message in await hear(bob, 2)] == ["hi", "and"]
        assert [message["seq"] for message in await hear(ann, 2)] == [1, 2]
    await server.stop()


@in_a_loop
async def test_what_is_known_is_not_refused_for_coming_too_soon(path):
    server = await open_room(v6, path, limit=0.001, burst=2).start()
    async with joining(server.url) as ann:
        for id in ("1", "2", "1", "2"):  # the latter while the former may still be unwritten
            await ann.send(said(id, id=id))
        assert [message["seq"] for message in await hear(ann, 2)] == [1, 2]
        while not await hears_nothing(ann):
            pass
        for id in ("1", "2", "3"):
            await ann.send(said(id, id=id))
        answers = await hear(ann, 3)
        assert sorted(message["seq"] for message in answers if "seq" in message) == [1, 2]
        assert [message["refused"] for message in answers if "refused" in message] == ["3"]
    assert server.room.refused == 1
    await server.stop()


# ---------------------------------------------------------------- writing in groups


@in_a_loop
@both
async def test_what_is_said_while_the_disk_is_busy_is_one_commit(version, path):
    server = await open_room(version, path).start()
    room, batches = server.room, []
    append = room.history.append

    async def slow(messages, **options):
        batches.append(len(messages))
        await asyncio.sleep(0.2)
        return await append(messages, **options)

    room.history.append = slow
    async with joining(server.url) as ann:
        for number in range(100):
            await ann.send(said(str(number)))
        assert [message["seq"] for message in await hear(ann, 100)] == [*range(1, 101)]
    assert sum(batches) == 100 and len(batches) <= 4
    await server.stop()


@in_a_loop
@both
async def test_what_waits_for_the_disk_is_bounded(version, path, monkeypatch):
    server = await open_room(version, path).start()
    stuck = asyncio.Event()

    async def append(messages, **options):
        await stuck.wait()

    server.room.history.append = append
    async with joining(server.url) as ann:
        for _ in range(2000):
            await ann.send(said("x" * 1000))
            await asyncio.sleep(0)
        await asyncio.sleep(A_MOMENT)
        assert server.room.incoming.qsize() == version.MAX_WAITING
    await server.stop()


def test_the_versions_take_a_path_and_make_a_file_of_their_own_without():
    assert rooms.create("v6", path="x.db").history.path == "x.db" and rooms.create("v6").history.path is None
    assert not hasattr(rooms.create("v4", path="x.db"), "history")


# ---------------------------------------------------------------- where a client begins


async def welcomed(server: Server, query: str) -> tuple[dict, list[str]]:
    """What a client is told that asks so, and what it hears then, up to the last message."""
    async with joining(f"{server.url}?{query}") as ann:
        told, texts = await heard(ann), []
        while not texts or texts[-1] != "m9":
            texts.append((await heard(ann))["content"])
        return told, texts


@in_a_loop
async def test_who_has_heard_nothing_of_a_history_may_ask_for_the_last_of_it_and_who_knows_it_gets_the_rest(path):
    async with History(path) as kept:
        await kept.append(say(*(f"m{number}" for number in range(1, 10))))
        epoch = kept.epoch
    all_of_them = [f"m{number}" for number in range(1, 10)]
    lost = {"from": None, "to": 0}
    server = await open_room(v7, path).start()
    try:
        for query, since, gap in (
            ("since=:", 0, None),
            ("since=:&last=3", 6, None),
            ("since=:&last=50", 0, None),
            ("since=another:7&last=3", 6, lost),
            ("since=another:7", 0, lost),
            (f"since={epoch}:4&last=3", 4, None),
        ):
            told, texts = await welcomed(server, query)
            assert told == {"token": "chatroom", "content": "", "epoch": epoch, "since": since, "gap": gap}, query
            assert texts == all_of_them[since:], query
        async with joining(f"{server.url}?since=:&last=0") as ann:
            assert (await heard(ann))["since"] == 9 and await hears_nothing(ann)
    finally:
        await server.stop()
