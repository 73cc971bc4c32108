"""`check_server`: real servers, in rooms and in programs of their own, tried from outside in short scenarios."""

import asyncio
import json
import os
import signal
import sys
import textwrap
import time
from importlib import import_module

import psutil
import pytest
from websockets import ConnectionClosed

from chatroom_lib import (
    Scenario,
    flooder,
    frozen,
    late_joiner,
    leaving,
    listener,
    run,
    serve,
    stop_all,
    talker,
    vanishing,
)
from chatroom_lib.checker.check import check
from chatroom_lib.checker.outside.check_server import check_server
from chatroom_lib.checker.outside.scenarios import NONSENSE
from chatroom_lib.clients.address import Address
from chatroom_lib.clients.scenario import SMALL_BUFFER
from chatroom_lib.rooms import v4
from chatroom_lib.runs.outside import OutsideRun
from chatroom_lib.runs.program import PROGRAM, Program, Usage
from chatroom_lib.runtime.addresses import free_port
from chatroom_lib.server.server import ServerError
from tests.helpers import AT_MOST, in_a_loop, wait_until
from tests.test_command_line import outcome, started

pytestmark = pytest.mark.real


def meeting(rng, load) -> Scenario:
    """Two seconds: some talk, one of them very fast, one comes late, one leaves and one dies."""
    people = [talker(f"P{number}", 8, every=0.2, size=100) for number in range(8)]
    others = late_joiner("Eve", 0.6, says=1, size=50), leaving("Lou", 1.0), vanishing("Max", 1.0)
    return Scenario([*people, flooder("Flo", 40, joins=0.5), listener("Cy"), *others], 5)


def hanging(rng, load) -> Scenario:
    """Bob never reads, while half a megabyte is said."""
    people = [talker(f"P{number}", 10, every=0.2, size=load.size) for number in range(12)]
    return Scenario([*people, listener("Cy"), frozen("Bob")], 6)


MEETING, HANGING = {"meeting": meeting}, {"hanging": hanging}


@pytest.fixture
def served():
    """What serves a room on the background thread until the test is over."""
    yield lambda room, **options: run(serve(room, **options)).url
    run(stop_all())


class Hub:
    """A right room, of which the faulty ones below are made: a queue for each, and eviction."""

    def __init__(self):
        self.outboxes, self.number = {}, 0

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        pass

    async def handle(self, connection):
        self.outboxes[connection] = outbox = asyncio.Queue(200)
        writing = asyncio.create_task(self.write(connection, outbox))
        try:
            async for frame in connection:
                self.number += 1
                await self.pass_on(frame, connection)
        except ConnectionClosed:
            pass
        finally:
            writing.cancel()
            self.outboxes.pop(connection, None)
            self.left(connection)

    async def write(self, connection, outbox):
        try:
            while True:
                await connection.send(await outbox.get())
        except ConnectionClosed:
            pass

    async def pass_on(self, frame, connection):
        for other in list(self.outboxes):
            self.give(other, frame)

    def give(self, other, frame):
        try:
            self.outboxes[other].put_nowait(frame)
        except asyncio.QueueFull:
            other.transport.abort()

    def left(self, connection):
        pass

    def members(self):
        return list(self.outboxes)


class LosesSome(Hub):
    def give(self, other, frame):
        self.number += 1
        if self.number % 97:
            super().give(other, frame)


class Reorders(Hub):
    """Every other message comes after the next one, or a moment later if there is none."""

    held = None

    async def pass_on(self, frame, connection):
        if self.held is None:
            self.held = frame
            asyncio.get_running_loop().call_later(0.05, self.release, frame)
        else:
            await super().pass_on(frame, connection)
            self.release(self.held)

    def release(self, frame):
        if self.held is frame:
            self.held = None
            for other in list(self.outboxes):
                self.give(other, frame)


class ClosesAll(Hub):
    def left(self, connection):
        if connection.close_code == 1006:
            for other in self.outboxes:
                other.transport.abort()


class StandsStill(Hub):
    async def pass_on(self, frame, connection):
        for other in list(self.outboxes):
            await other.send(frame)


class LosesNone(Hub):
    """Sends to all but the speaker."""

    async def pass_on(self, frame, connection):
        for other in self.outboxes.keys() - {connection}:
            self.give(other, frame)


def broken(card) -> dict[str, str]:
    return {name: score.evidence for name, score in card.broken.items()}


def is_busy(score) -> bool:
    """Was this machine too busy to say who is late?"""
    return not score.tested and "this machine was busy" in score.untested


@pytest.mark.parametrize("room", [Hub, lambda: v4.Room(limit=None)], ids=["hub", "v4"])
def test_a_right_room_breaks_nothing(served, room):
    card = check_server(served(room), scenarios=MEETING, progress=False)
    assert broken(card) == {}
    assert {"delivery", "at-most-once", "total-order", "no-false-eviction"} <= {*card.kept}
    assert all(score.tested or is_busy(score) for score in map(card.score_of, ("admission", "prompt-join")))


@pytest.mark.parametrize(
    "room, wrong",
    [(LosesSome, {"delivery"}), (Reorders, {"total-order"}), (ClosesAll, {"no-false-eviction"})],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_a_faulty_room_is_found_out(served, room, wrong):
    assert {*broken(check_server(served(room), scenarios=MEETING, progress=False))} == wrong


def test_a_room_that_sends_to_all_but_the_speaker_loses_that_by_contract(served):
    card = check_server(served(LosesNone), scenarios=MEETING, progress=False)
    assert [*broken(card)] == ["delivery"]


def test_a_room_that_stands_still_behind_a_frozen_reader_is_found_out(served):
    card = check_server(served(StandsStill, write_limit=SMALL_BUFFER), scenarios=HANGING, progress=False)
    score = card.score_of("no-head-of-line-blocking")
    assert is_busy(score) or "while Bob did not read" in score.evidence
    assert broken(check_server(served(Hub, write_limit=SMALL_BUFFER), scenarios=HANGING, progress=False)) == {}


def test_what_a_busy_machine_left_open_is_told_also_if_another_scenario_decides_it(served, monkeypatch):
    for module in ("check_server", "guarantees"):
        monkeypatch.setattr(import_module(f"chatroom_lib.checker.outside.{module}"), "LATE_OURSELVES", -1)
    url, scenarios = served(StandsStill, write_limit=SMALL_BUFFER), HANGING | MEETING
    card = check_server(url, scenarios=scenarios, progress=False)
    told = {where: what for where, what in card.notes if "this machine was busy" in what}
    assert "no-head-of-line-blocking" in told["hanging"]


def test_the_card_is_like_that_of_a_class_and_keeps_the_runs_that_broke_something(served):
    card = check_server(served(LosesSome), 2, scenarios=MEETING, progress=False)
    of_a_class = check("v4", seeds=1, scenarios={"one": Scenario([talker("Ann", 1)])}, progress=False)
    assert card.as_dict().keys() == of_a_class.as_dict().keys()
    assert card.as_dict()["guarantees"].keys() == of_a_class.as_dict()["guarantees"].keys()
    assert card.as_dict()["guarantees"]["delivery"].keys() == of_a_class.as_dict()["guarantees"]["delivery"].keys()
    json.dumps(card.as_dict())
    assert (card.seeds, card.scores["delivery"].tested, card.scores["delivery"].broken) == (2, 2, 2)
    assert "2 rounds" in repr(card) and "(round 1, meeting)" in repr(card) and "people talk" in repr(card)
    trace = card.replay("delivery")
    assert trace.missed()
    with pytest.raises(ValueError, match="cannot be repeated"):
        card.shortest("delivery")


# ---------------------------------------------------------------- wires, and what servers want


class Wants(Hub):
    """What a server may want of whoever comes; set by the test."""

    token, content, more, hello, user, prefix = "token", "content", {}, None, None, ""

    async def handle(self, connection):
        if (
            self.user
            and f"user={self.user}" not in connection.request.path
            and not connection.request.headers.get("X-U")
        ):
            return await connection.close(1008, "who are you?")
        if self.hello and await connection.recv() != self.hello:
            return await connection.close(1008, "say hello")
        await super().handle(connection)

    async def pass_on(self, frame, connection):
        fields = json.loads(frame)
        if self.more.items() <= fields.items():
            text = json.dumps({"from": fields[self.token], "body": f"{self.prefix}{fields[self.content]}", "at": 1})
            await super().pass_on(text, connection)


def test_other_fields_a_hello_a_query_and_headers_are_as_told(served):
    class Login(Wants):
        token, content, more, hello, user, prefix = "who", "msg", {"type": "say"}, "hi", "Ann", "> "

        async def handle(self, connection):
            self.user = connection.request.path.partition("user=")[2]
            await super().handle(connection)

    url = served(Login)
    fields = {"name": "who", "text": "msg", "more": {"type": "say"}}
    options = dict(fields=fields, hello="hi", query="user={name}", scenarios=MEETING, progress=False)
    assert broken(check_server(url, **options)) == {}
    with pytest.raises(ServerError, match="closes the connection .* 1008 say hello"):
        check_server(url, **{**options, "hello": "HI"})


class PlainText(Hub):
    async def pass_on(self, frame, connection):
        await super().pass_on(frame.upper().encode(), connection)


def test_plain_text_is_recognised_though_it_is_changed(served):
    assert broken(check_server(served(PlainText), wire="text", scenarios=MEETING, progress=False)) == {}


class SocketIo(Hub):
    async def handle(self, connection):
        await connection.send('0{"sid":"a","upgrades":[],"pingInterval":25000,"pingTimeout":20000}')
        if await connection.recv() == "40":
            await connection.send('40{"sid":"b"}')
            await connection.send("2")
            await super().handle(connection)

    async def pass_on(self, frame, connection):
        if frame != "3":
            event, data = json.loads(frame.removeprefix("42"))
            assert event == "chat message"
            await super().pass_on("42" + json.dumps([event, data]), connection)


def test_socket_io_is_spoken(served):
    card = check_server(served(SocketIo), wire="socketio", event="chat message", scenarios=MEETING, progress=False)
    assert broken(card) == {}
    with pytest.raises(ServerError, match="no Socket.IO server|nobody can join"):
        check_server(served(Hub), wire="socketio", progress=False)


class InvalidText(Hub):
    """Passes on as text whatever it gets, as some servers do with binary frames."""

    def give(self, other, frame):
        if isinstance(frame, bytes):
            other.protocol.send_text(frame)
            other.send_data()
        else:
            super().give(other, frame)


def test_what_our_clients_cannot_read_is_told(served):
    def nonsense(rng, load) -> Scenario:
        nat = vanishing("Nat", 1.0, joins=0.5, first=NONSENSE[1])
        return Scenario([talker("Ann", 8, every=0.2, size=50), listener("Cy"), nat], 4)

    card = check_server(served(InvalidText), scenarios={"nonsense": nonsense}, progress=False)
    assert "it could not read what it was sent: 1007" in broken(card)["no-false-eviction"]


# ---------------------------------------------------------------- what cannot be tried


class Silent(Hub):
    async def pass_on(self, frame, connection):
        await connection.send('{"welcome": true}')


class Closes(Hub):
    async def pass_on(self, frame, connection):
        await connection.close(1003, "cannot read that")


@pytest.mark.parametrize(
    "room, why",
    [
        (Silent, "does not come back within 6 s, and what came was '{\"welcome\": true}': is --wire json right"),
        (Closes, "closes the connection of whoever says something: 1003 cannot read that"),
    ],
    ids=["silent", "closes"],
)
def test_a_server_that_passes_nothing_on_is_told_in_a_line(served, room, why):
    with pytest.raises(ServerError) as error:
        check_server(served(room), progress=False)
    assert why in str(error.value)


def test_nobody_there_is_told_in_a_line():
    with pytest.raises(ServerError, match="nobody can join ws://127.0.0.1:1/x: ConnectionRefusedError"):
        check_server("ws://127.0.0.1:1/x", progress=False)


@pytest.mark.parametrize(
    "options, why",
    [
        (dict(url="ws://8.8.8.8/chat"), "not on this machine, nor in a private network, and this is a load on it"),
        (dict(url="ws://no.such.host.invalid/chat"), "there is no host 'no.such.host.invalid'"),
        (dict(rounds=0), "rounds must be 1 or more"),
        (dict(command="true", pid=1), "give one of them"),
        (dict(wire="xml"), "no wire 'xml'"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(options, why):
    with pytest.raises(ValueError, match=why):
        check_server(**{"url": "ws://127.0.0.1:1/x", **options}, progress=False)


# ---------------------------------------------------------------- a server's process

SERVER = """
    import asyncio, os, signal, sys
    from websockets.asyncio.server import serve

    port, how = int(sys.argv[1]), sys.argv[2:]
    connections, files = set(), []

    async def visit(connection):
        connections.add(connection)
        if "leaks" in how:
            files.append(os.open(__file__, os.O_RDONLY))
        try:
            async for frame in connection:
                for other in connections:
                    if other.transport.get_write_buffer_size() > 500_000:
                        other.transport.abort()
                    elif not other.transport.is_closing():
                        other.transport.resume_reading()
                        asyncio.ensure_future(send(other, frame))
        except Exception:
            if "crashes" in how:
                print("boom", flush=True)
                os._exit(3)
        finally:
            connections.discard(connection)

    async def send(other, frame):
        try:
            await other.send(frame)
        except Exception:
            pass

    async def main():
        print("up", flush=True)
        async with serve(visit, "127.0.0.1", port, ping_interval=None):
            await asyncio.Event().wait()

    if "stays" in how:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "forks" in how and os.fork():
        sys.exit(0)
    asyncio.run(main())
"""


@pytest.fixture
def program(tmp_path):
    """The command and the URL of a server that does this."""
    file = tmp_path / "server.py"
    file.write_text(textwrap.dedent(SERVER))

    def make(*how: str) -> dict:
        port = free_port()
        return {"url": f"ws://127.0.0.1:{port}/", "command": f"{sys.executable} {file} {port} {' '.join(how)}"}

    return make


def children() -> list[psutil.Process]:
    """Of ours: what a command has started and is still there."""
    found = []
    for process in psutil.process_iter():
        try:
            if PROGRAM in process.environ() and process.status() != psutil.STATUS_ZOMBIE:
                found += [process] if str(os.getpid()) == process.environ().get("CHATROOM_TEST") else []
        except psutil.Error:
            pass
    return found


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch):
    monkeypatch.setenv("CHATROOM_TEST", str(os.getpid()))
    yield
    assert children() == []


@pytest.mark.slow  # some seconds each
@pytest.mark.parametrize(
    "how, wrong, evidence",
    [
        ([], "", ""),
        (["leaks"], "no-leak", "more descriptors are open than before"),
        (["crashes"], "no-crash", "it ended with exit code 3: boom"),
        (["stays"], "no-crash", "told to end (SIGTERM), it still ran 5 s later"),
        (["forks"], "", ""),
    ],
    ids=lambda each: "-".join(each) if isinstance(each, list) else "",
)
def test_a_command_is_started_watched_and_ended(program, how, wrong, evidence):
    card = check_server(**program(*how), scenarios=MEETING, progress=False)
    found = broken(card)
    assert [*found] == ([wrong] if wrong else [])
    assert evidence in found.get(wrong, "")
    if not how:
        assert {"no-crash", "no-leak"} <= {*card.kept}


@pytest.mark.slow
def test_the_process_of_a_running_server_is_looked_at(program):
    @in_a_loop
    async def whole():
        server = program("leaks")
        its = Program(server["command"], "127.0.0.1", int(server["url"].rpartition(":")[2][:-1]))
        await its.start()
        try:
            options = dict(pid=its.process.pid, scenarios=MEETING, progress=False)
            card = await asyncio.to_thread(check_server, server["url"], **options)
            assert [*broken(card)] == ["no-leak"], card
            assert not its.ended
        finally:
            await its.kill()

    whole()


@in_a_loop
async def test_what_earlier_people_took_and_is_being_given_back_is_nothing_that_a_server_has_at_rest():
    outside = OutsideRun(Address(url="ws://127.0.0.1:1/"), "127.0.0.1", Scenario([listener("Cy")]), None)
    open_then = iter([50, 50, 12, 10])
    outside.usage = lambda: Usage(0.0, 0, next(open_then, 10))
    assert (await outside.at_rest()).descriptors == 10


@pytest.mark.parametrize(
    "command, why",
    [
        ("echo hi; echo cannot listen >&2; exit 4", "does not come up: it ended with exit code 4: cannot listen"),
        ("no-such-program-at-all", "does not come up: it ended with exit code 127"),
        ("kill -SEGV $$", "does not come up: it was ended by SIGSEGV"),
    ],
)
def test_a_command_that_does_not_come_up_is_told_in_a_line(command, why):
    with pytest.raises(ServerError, match=why):
        check_server(f"ws://127.0.0.1:{free_port()}/", command=command, progress=False)


def test_a_port_that_is_taken_is_told(served):
    with pytest.raises(ServerError, match="something listens at 127.0.0.1:[0-9]+ already"):
        check_server(served(Hub), command="sleep 10", progress=False)


def test_a_process_that_is_not_there_is_told(served):
    with pytest.raises(ServerError, match="there is no process 4000000"):
        check_server(served(Hub), pid=4_000_000, progress=False)


@in_a_loop
async def test_all_that_a_command_has_started_is_ended():
    port = free_port()
    listen = f"{sys.executable} -m http.server {port} --bind 127.0.0.1"
    its = Program(f"setsid {listen} >/dev/null & sleep 1000", "127.0.0.1", port)
    await its.start()
    assert len(its.processes()) >= 2
    start = time.monotonic()
    await its.kill()
    assert children() == [] and time.monotonic() - start < 5


# ---------------------------------------------------------------- on the command line

URL = "ws://127.0.0.1:1/x"


@pytest.mark.parametrize(
    "arguments, why",
    [
        ([URL], "nobody can join ws://127.0.0.1:1/x: ConnectionRefusedError"),
        ([URL, "--seeds", "3"], "--seeds is for a room, and ws://127.0.0.1:1/x is a server"),
        ([URL, "--path", "/ws"], "--path is for a room"),
        (["v1", "--rounds", "3"], "--rounds is for a server, ws://HOST:PORT/PATH, and v1 is none"),
        (["v1", "--command", "./server"], "--command is for a server"),
        (["http://127.0.0.1:1/"], "is not the address of a WebSocket server, such as ws://"),
        (["ws://8.8.8.8/"], "8.8.8.8 is not on this machine, nor in a private network"),
        ([URL, "--wire", "xml"], "invalid choice: 'xml'"),
        ([URL, "--fields", "text"], "'text' is not NAME,TEXT"),
        ([URL, "--fields", "user,msg,type"], "is not NAME,TEXT"),
        ([URL, "--header", "Bearer"], "'Bearer' is not a header, such as 'Authorization: Bearer abc'"),
        ([URL, "--pid", "0"], "'0' is not a number of processes"),
        ([URL, "--command", "exit 3"], "the server does not come up: it ended with exit code 3"),
    ],
    ids=lambda each: each if isinstance(each, str) else " ".join(each),
)
def test_a_mistake_on_the_command_line_is_told_in_one_line(arguments, why):
    told = outcome(["check", *arguments])
    assert (told.returncode, told.stdout) == (2, "")
    assert why in told.stderr and len(told.stderr.splitlines()) == 1


@pytest.mark.slow  # as long as a scenario
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_check_that_is_interrupted_leaves_nothing_behind(program, number):
    server = program()
    with started("check", server["url"], "--wire", "text", "--command", server["command"]) as checking:
        wait_until(lambda: children(), AT_MOST)
        time.sleep(1)
        checking.send_signal(number)
        assert checking.wait(AT_MOST) == 130
    assert children() == []
