"""The command line as a user meets it: `python -m chatroom_lib ...`, mostly in a process of its own."""

import asyncio
import json
import os
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from urllib.parse import urlsplit

import psutil
import pytest
from websockets.exceptions import InvalidStatus

from chatroom_lib import cli, run, serve
from chatroom_lib.runtime.descriptors import NO_MORE
from chatroom_lib.server.serving import is_free
from tests.helpers import (
    A_MOMENT,
    A_STOP,
    AT_MOST,
    close_code,
    flooding,
    frozen,
    heard,
    hears,
    is_alive,
    joining,
    said,
    until,
    wait_until,
)  # fmt: skip

pytestmark = pytest.mark.real

OWN_ROOM = """
from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from dataclasses import dataclass, field

from websockets.exceptions import ConnectionClosed


@dataclass
class Client:
    connection: object
    count: int = 0


@dataclass
class Loud:
    clients: list[Client] = field(default_factory=list)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        pass

    async def handle(self, connection):
        self.clients.append(Client(connection))
        async for frame in connection:
            if "fail" in frame:
                raise ValueError("this room fails")
            for client in self.clients:
                await client.connection.send(frame.upper())

    def members(self):
        return [client.connection for client in self.clients]


class Busy(Loud):
    async def handle(self, connection):
        self.clients.append(Client(connection))
        await connection.send("busy")
        await asyncio.to_thread(time.sleep, 60)


class Blocks(Loud):
    async def handle(self, connection):
        await connection.send(threading.current_thread().name)
        time.sleep(60)


class Exits(Loud):
    async def handle(self, connection):
        sys.exit("bye")


class Repeats(Loud):
    async def handle(self, connection):
        raise ValueError(await connection.recv())


class Handles(Loud):
    async def handle(self, connection):
        self.told = asyncio.Event()
        signal.signal(signal.SIGUSR1, lambda *_: self.told.set())
        await connection.send("ready")
        reading = asyncio.create_task(super().handle(connection))
        while not self.told.is_set():
            await asyncio.sleep(0.01)
        await connection.send("signalled")
        await reading


class Pings(Loud):
    server_options = {"ping": 20}


class NeedsArguments(Loud):
    def __init__(self, size):
        self.size = size


class NeverStarts(Loud):
    async def __aenter__(self):
        raise ValueError("not today")


class NeverReady(Loud):
    async def __aenter__(self):
        print("not yet", flush=True)
        await asyncio.sleep(60)


class Calculator:
    pass


number = 1
"""


@pytest.fixture(scope="module")
def own_rooms(tmp_path_factory):
    """A folder with files that hold rooms, or should."""
    folder = tmp_path_factory.mktemp("my rooms")
    (folder / "rooms.py").write_text(OWN_ROOM, encoding="utf-8")
    (folder / "syntax.py").write_text("class Room:\n    def", encoding="utf-8")
    (folder / "raises.py").write_text("raise ValueError('two\\nlines')", encoding="utf-8")
    (folder / "shouts.py").write_text("raise ValueError('\\x1b[2J' + 100_000 * 'x')", encoding="utf-8")
    (folder / "exits.py").write_text("import sys\nsys.exit('bye')", encoding="utf-8")
    (folder / "latin.py").write_bytes(b"# \xe9\n")
    return folder


# ---------------------------------------------------------------- processes


def command(*arguments) -> list[str]:
    return [sys.executable, "-m", "chatroom_lib", *map(str, arguments)]


def outcome(arguments: list) -> subprocess.CompletedProcess:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=3 * AT_MOST)


@contextmanager
def started(*arguments, **options):
    """A running command, which is killed if it still runs at the end."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command(*arguments), **{**pipes, **options})
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def hear_hangups() -> None:
    """Also if this process was started under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@contextmanager
def serving(room, *options, **process_options):
    """A running `chatroom serve`; `url` is where."""
    process_options.setdefault("preexec_fn", hear_hangups)
    with started("serve", room, "--port", 0, *options, **process_options) as process:
        assert select.select([process.stdout], [], [], AT_MOST)[0], "it prints nothing"
        line = process.stdout.readline()
        found = re.fullmatch(rf"serving {re.escape(str(room))} at (ws://127\.0\.0\.1:\d+/chatroom)\n", line)
        assert found, line or process.stderr.read()
        process.url = found[1]
        yield process


def stops(process, *signals, stdout: str = "", stderr: str = "") -> None:
    """Send the signals, and check what every end owes."""
    start = time.monotonic()
    for number in signals:
        process.send_signal(number)
        time.sleep(0.05 if len(signals) > 1 else 0)
    assert process.communicate(timeout=AT_MOST) == (stdout, stderr)
    assert time.monotonic() - start < A_STOP
    assert process.returncode == 0


async def stops_meanwhile(process, *signals) -> None:
    """The same, while our clients go on."""
    await asyncio.to_thread(stops, process, *signals)


# ---------------------------------------------------------------- serve, and its end

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_serve_stops_at_a_signal_that_comes_as_soon_as_it_can(number):
    for _ in range(3):
        with serving("v3.2") as server:
            stops(server, number)


@pytest.mark.parametrize("room", ["v1", "v1.1", "v2-rw", "v3", "v3.2"])
def test_serve_stops_in_two_seconds_with_healthy_silent_frozen_and_flooding_clients(room):
    async def crowd(server):
        address = server.url.split("/")[2].split(":")
        silent = socket.create_connection(address)
        async with joining(server.url) as healthy, frozen(server.url), flooding(server.url):
            reading = asyncio.create_task(close_code(healthy))
            await asyncio.sleep(A_MOMENT)
            await stops_meanwhile(server, signal.SIGTERM if "." in room else signal.SIGINT)
            assert await reading in (1001, 1006)
        silent.close()

    with serving(room) as server:
        asyncio.run(crowd(server))


def test_serve_says_goodbye_to_healthy_clients():
    async def meeting(server):
        async with joining(server.url) as ann, joining(server.url) as bob:
            await ann.send(said("hello"))
            assert await hears(ann, "hello") and await hears(bob, "hello")
            await stops_meanwhile(server, signal.SIGTERM)
            assert await close_code(ann) == await close_code(bob) == 1001

    with serving("v3.2") as server:
        asyncio.run(meeting(server))


def test_serve_stops_once_if_several_signals_come():
    with serving("v1") as server:
        with socket.create_connection(server.url.split("/")[2].split(":")):  # it makes the stop take a while
            time.sleep(0.1)
            stops(server, signal.SIGINT, signal.SIGTERM, signal.SIGINT)


# ---------------------------------------------------------------- serve, and its rooms


async def hears_both(url: str) -> bool:
    """Say two things at once. Are both heard?"""
    async with joining(url) as ann:
        await ann.send(said("one"))
        await ann.send(said("two"))
        return [(await heard(ann))["content"] for _ in range(2)] == ["one", "two"]


def test_unlimited_switches_the_limit_off_where_there_is_one():
    with serving("v3.2") as limited, serving("v3.2", "--unlimited") as unlimited, serving("v1", "--unlimited") as v1:
        assert not asyncio.run(hears_both(limited.url))
        assert asyncio.run(hears_both(unlimited.url))
        assert asyncio.run(hears_both(v1.url))


def test_signals_that_a_room_handles_end_no_server(own_rooms):
    async def meeting(server):
        async with joining(server.url) as ann:
            assert await ann.recv() == "ready"
            server.send_signal(signal.SIGUSR1)
            assert await ann.recv() == "signalled"
            await ann.send("hello")
            assert await ann.recv() == "HELLO"

    with serving(f"{own_rooms}/rooms.py:Handles") as server:
        asyncio.run(meeting(server))
        stops(server, signal.SIGTERM)


def test_serve_outlives_its_terminal_under_nohup():
    async def meeting(server):
        server.send_signal(signal.SIGHUP)
        assert await hears_both(server.url)

    with serving("v1", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) as server:
        asyncio.run(meeting(server))
        stops(server, signal.SIGTERM)


def closed_output() -> None:
    os.close(1)


@contextmanager
def broken_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.parametrize("output", ["closed", "nobody reads", "full"])
def test_serve_serves_although_nobody_can_read_what_it_prints(output):
    with broken_pipe() as pipe, open("/dev/full", "w") as full, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        options = {"closed": {"preexec_fn": closed_output}, "nobody reads": {"stdout": pipe}, "full": {"stdout": full}}
        with started("serve", "v1", "--port", port, **options[output]) as server:
            wait_until(lambda: not is_free("127.0.0.1", port))
            asyncio.run(hears_both(f"ws://127.0.0.1:{port}/chatroom"))
            stops(server, signal.SIGTERM, stdout="" if output == "closed" else None)


@pytest.mark.slow  # two seconds
def test_serve_runs_the_room_on_the_main_thread_and_stops_even_if_it_blocks(own_rooms):
    async def visit(server):
        async with joining(server.url) as ann:
            assert await ann.recv() == "MainThread"
            left_behind = "chatroom: the room did not stop in time, and is left behind\n"
            await asyncio.to_thread(stops, server, signal.SIGTERM, stderr=left_behind)

    with serving(f"{own_rooms}/rooms.py:Blocks") as server:
        asyncio.run(visit(server))


def test_a_room_that_never_gets_ready_can_be_interrupted(own_rooms):
    with started("serve", f"{own_rooms}/rooms.py:NeverReady", "--port", 0) as server:
        assert server.stdout.readline() == "not yet\n"
        server.send_signal(signal.SIGINT)
        assert server.communicate(timeout=AT_MOST) == ("", "") and server.returncode == 130


def test_a_room_that_exits_ends_no_server(own_rooms):
    async def visit(server):
        for _ in range(2):
            async with joining(server.url) as ann:
                await close_code(ann)
            said = await asyncio.to_thread(server.stderr.readline)
            assert said == "chatroom: error in the room: SystemExit: bye\n"

    with serving(f"{own_rooms}/rooms.py:Exits") as server:
        asyncio.run(visit(server))
        stops(server, signal.SIGTERM)


def test_what_a_client_says_does_nothing_to_the_terminal(own_rooms):
    async def visit(server):
        async with joining(server.url) as ann:
            await ann.send("\x1b[2J\x1b]0;owned\x07\nchatroom: all is well\u202e" + 60_000 * "x")
            await close_code(ann)

    with serving(f"{own_rooms}/rooms.py:Repeats") as server:
        asyncio.run(visit(server))
        server.terminate()
        _, stderr = server.communicate(timeout=AT_MOST)
        assert stderr.endswith("\n") and stderr[:-1].isprintable() and len(stderr) < 220
        assert stderr.startswith("chatroom: error in the room: ValueError: \ufffd[2J\ufffd]0;owned\ufffd chatroom: all")


def test_serve_takes_a_room_of_ones_own_and_reports_its_errors_in_a_line(own_rooms):
    async def visit(server):
        async with joining(server.url) as ann:
            await ann.send("hello")
            assert await ann.recv() == "HELLO"
            await ann.send("fail")
            await close_code(ann)

    with serving(f"{own_rooms}/rooms.py:Loud") as server:
        asyncio.run(visit(server))
        stops(server, signal.SIGINT, stderr="chatroom: error in the room: ValueError: this room fails\n")


def test_serve_stops_in_two_seconds_although_the_rooms_own_thread_goes_on(own_rooms):
    async def visit(server):
        async with joining(server.url) as ann:
            assert await ann.recv() == "busy"
            await stops_meanwhile(server, signal.SIGTERM)

    with serving(f"{own_rooms}/rooms.py:Busy") as server:
        asyncio.run(visit(server))


def test_serve_warns_if_others_can_join():
    with started("serve", "v1", "--port", 0, "--host", "0.0.0.0") as server:
        assert server.stdout.readline().startswith("serving v1 at ws://0.0.0.0:")
        stops(server, signal.SIGINT, stderr="chatroom: anyone who can reach 0.0.0.0 can join and read along\n")


def test_serve_says_once_how_to_let_pages_opened_as_files_in():
    async def status(server) -> int:
        try:
            async with joining(server.url, origin="null"):
                return 101
        except InvalidStatus as error:
            return error.response.status_code

    with serving("v1") as strict, serving("v1", "--allow-null-origin") as open_to_files:
        assert asyncio.run(status(strict)) == asyncio.run(status(strict)) == 403
        assert asyncio.run(status(open_to_files)) == 101
        strict.terminate()
        _, stderr = strict.communicate(timeout=AT_MOST)
        assert stderr.count("\n") == 1 and stderr.startswith("chatroom: ") and "--allow-null-origin" in stderr
        stops(open_to_files, signal.SIGTERM)


def limit_files(soft: int, hard: int):
    """For `preexec_fn`: how many files the process may have open."""
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow  # asyncio tries again after a second
def test_serve_says_once_that_nobody_else_can_join_and_those_inside_talk_on():
    async def meeting(server):
        port = urlsplit(server.url).port
        async with joining(server.url) as ann, joining(server.url) as bob:
            crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(80)]
            assert await asyncio.to_thread(server.stderr.readline) == NO_MORE + "\n"
            await ann.send(said("hello"))
            assert await hears(bob, "hello")
            for client in crowd:
                client.close()
        async with joining(server.url) as newcomer:
            await newcomer.send(said("is there room again?"))
            assert await hears(newcomer, "is there room again?")
        crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(80)]
        await stops_meanwhile(server, signal.SIGTERM)  # while the server is full, and without another word

    with serving("v3", preexec_fn=limit_files(40, 40)) as server:
        asyncio.run(meeting(server))


def test_serve_and_load_take_as_many_connections_as_the_system_allows():
    with serving("v1", preexec_fn=limit_files(40, 200)) as server:
        arguments = ["load", server.url, "--clients", 100, "--every", 0.1, "--seconds", 0.1, "--json"]
        with started(*arguments, preexec_fn=limit_files(40, 200)) as load:
            printed, errors = load.communicate(timeout=2 * AT_MOST)
        assert errors == "" and json.loads(printed)["lost_connections"] == 0
        stops(server, signal.SIGTERM)


def test_serve_does_not_warn_on_any_loopback_address():
    with started("serve", "v1", "--port", 0, "--host", "127.1") as server:
        assert server.stdout.readline().startswith("serving v1 at ws://127.1:")
        stops(server, signal.SIGINT)


def test_bad_messages_and_bad_clients_leave_no_trace_on_the_servers_standard_error():
    async def visit(server):
        for frame in ("hello", b"hello", "[]", said("x" * 2**16)):
            async with joining(server.url) as ann:
                await ann.send(frame)
                assert await close_code(ann) in (1007, 1009)
        for sent in (b"", b"hello?\r\n\r\n", b"GET /chatroom HTTP/1.1\r\n\r\n", b"GET /nowhere HTTP/1.1\r\n\r\n"):
            with socket.create_connection(server.url.split("/")[2].split(":")) as client:
                client.sendall(sent)
        async with frozen(server.url):
            pass  # it ends with a reset

    with serving("v1") as server:
        asyncio.run(visit(server))
        stops(server, signal.SIGTERM)


# ---------------------------------------------------------------- what users get wrong

MISTAKES = {
    "no command": ([], "required: COMMAND"),
    "unknown command": (["dance"], "invalid choice: 'dance'"),
    "no room": (["serve"], "required: ROOM"),
    "unknown room": (["serve", "v99"], "no room 'v99': the versions are v1, v1.1"),
    "unknown option": (["serve", "v1", "--fast"], "--fast"),
    "missing file": (["serve", "{folder}/nowhere.py:Room"], "no file"),
    "a folder": (["serve", "{folder}:Room"], "no room"),
    "no class named": (["serve", "{folder}/rooms.py:"], "no class ''"),
    "file without the class": (["serve", "{folder}/rooms.py:Room"], "no class 'Room'"),
    "a number for a class": (["serve", "{folder}/rooms.py:number"], "no class 'number'"),
    "class that is no room": (["serve", "{folder}/rooms.py:Calculator"], "it lacks __aenter__, __aexit__, handle"),
    "class needing arguments": (["serve", "{folder}/rooms.py:NeedsArguments"], "argument: 'size'"),
    "room that does not start": (["serve", "{folder}/rooms.py:NeverStarts"], "does not start: ValueError: not today"),
    "syntax error": (["serve", "{folder}/syntax.py:Room"], "SyntaxError"),
    "file that raises": (["serve", "{folder}/raises.py:Room"], "ValueError: two lines"),
    "file that shouts": (["serve", "{folder}/shouts.py:Room"], "does not run: ValueError: \ufffd[2Jxxx"),
    "file that exits": (["serve", "{folder}/exits.py:Room"], "SystemExit: bye"),
    "file that is no text": (["serve", "{folder}/latin.py:Room"], "latin.py"),
    "keepalive in words": (["serve", "v1", "--keepalive", "often"], "'often' is not a number of seconds, 0 for no"),
    "keepalive below 0": (["check", "v1", "--keepalive", "-1"], "'-1' is not a number of seconds"),
    "data for a room that has none": (
        ["serve", "v4", "--data", "a.db"],
        "v4 has no use for --data: that is for a room",
    ),
    "messages to keep in one that has none": (
        ["serve", "v4", "--keep", "5"],
        "v4 has no use for --keep: that is for a room",
    ),
    "no message to keep": (["serve", "v7", "--keep", "0"], "'0' is not a number of messages, 1 or more"),
    "a room's own wrong option": (["serve", "{folder}/rooms.py:Pings"], "cannot set 'ping'; it can set what"),
    "taken port": (["serve", "v1", "--port", "{taken}"], "use another port"),
    "port too high": (["serve", "v1", "--port", "99999"], "from 0 to 65535"),
    "port in words": (["serve", "v1", "--port", "abc"], "'abc' is not a port"),
    "port below 0": (["serve", "v1", "--port", "-1"], "from 0 to 65535"),
    "foreign host": (["serve", "v1", "--host", "203.0.113.1"], "cannot listen on 203.0.113.1 port 8081"),
    "empty host": (["serve", "v1", "--host", ""], "no host to listen on: use 127.0.0.1"),
    "no host": (["serve", "v1", "--host", ".."], "cannot listen on .. port 8081"),
    "nobody listening": (["load", "ws://127.0.0.1:{free}/chatroom"], "chatroom serve"),
    "no room to load": (["load", "ws://127.0.0.1:{served}/nowhere"], "404"),
    "load elsewhere": (["load", "ws://203.0.113.1:8081/chatroom"], "127.0.0.1"),
    "no WebSocket": (["load", "http://127.0.0.1:8081/chatroom"], "ws://"),
    "no URL": (["load", "v1"], "ws://"),
    "URL with no port": (["load", "ws://127.0.0.1:port/"], "ws://"),
    "no clients": (["load", "ws://127.0.0.1:8081/", "--clients", "0"], "1 or more"),
    "fewer than no clients": (["load", "ws://127.0.0.1:8081/", "--clients", "-3"], "-3"),
    "clients in words": (["load", "ws://127.0.0.1:8081/", "--clients", "many"], "'many'"),
    "no time between": (["load", "ws://127.0.0.1:8081/", "--every", "0"], "every"),
    "negative time": (["load", "ws://127.0.0.1:8081/", "--seconds", "-1"], "seconds"),
    "no number of seconds": (["load", "ws://127.0.0.1:8081/", "--seconds", "nan"], "seconds"),
    "endless": (["load", "ws://127.0.0.1:8081/", "--seconds", "inf"], "seconds"),
    "no room to check": (["check", "v99"], "no room 'v99': the versions are v1, v1.1"),
    "no file to check": (["check", "{folder}/nowhere.py:Room", "--json"], "no file"),
    "class to check that is no room": (["check", "{folder}/rooms.py:Calculator"], "it lacks __aenter__, __aexit__"),
    "class to check needing arguments": (["check", "{folder}/rooms.py:NeedsArguments"], "argument: 'size'"),
    "no seeds": (["check", "v1", "--seeds", "0"], "'0' is not a number of seeds"),
    "fewer than no seeds": (["check", "v1", "--seeds", "-1"], "'-1' is not a number of seeds"),
    "seeds in words": (["check", "v1", "--seeds", "many"], "'many' is not a number of seeds"),
}
HELP = {"help": ["--help"], **{f"help for {command}": [command, "--help"] for command in ("serve", "load", "check")}}
IMPORTS = "matplotlib", "ipywidgets", "IPython"


@pytest.fixture(scope="module")
def places(own_rooms):
    """What stands for {folder} and the like in MISTAKES."""
    server = run(serve("v1", name="one that no command here replaces"))
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, but nobody listens
        ports = {"taken": taken.getsockname()[1], "free": free.getsockname()[1], "served": server.port}
        yield {"folder": own_rooms, **ports}
    run(server.stop())


@pytest.fixture
def told(capfd):
    """`told(arguments)`: exit code, standard output and standard error of a command that runs in this process."""

    def told(arguments):
        with pytest.raises(SystemExit) as exit:
            cli.main(arguments)
        return exit.value.code, *capfd.readouterr()

    return told


def is_a_mistake(code: int, stdout: str, stderr: str, says: str) -> bool:
    """One line on standard error, and exit code 2?"""
    one_line = re.fullmatch(r"chatroom: [^\n]{,1000}\n", stderr) and stderr[:-1].isprintable()
    return code == 2 and stdout == "" and bool(one_line) and says in stderr


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_on_standard_error_and_exit_code_2(mistake, places, told):
    arguments, says = MISTAKES[mistake]
    result = told([argument.format(**places) for argument in arguments])
    assert is_a_mistake(*result, says), result


@pytest.mark.parametrize("mistake", ["no command", "room that does not start"])
def test_a_mistake_is_one_line_in_a_process_of_its_own_too(mistake, places):
    arguments, says = MISTAKES[mistake]
    result = outcome([argument.format(**places) for argument in arguments])
    assert is_a_mistake(result.returncode, result.stdout, result.stderr, says), result


@pytest.mark.parametrize("asked", HELP)
def test_help_is_on_standard_output(asked, told):
    code, stdout, stderr = told(HELP[asked])
    assert code == 0 and stderr == "" and stdout.startswith("usage: chatroom")


def test_help_is_on_standard_output_in_a_process_of_its_own_too():
    result = outcome(["--help"])
    assert result.returncode == 0 and result.stderr == "" and result.stdout.startswith("usage: chatroom")


# ---------------------------------------------------------------- check


def test_check_prints_a_table_and_for_every_number_a_reason(own_rooms):
    result = outcome(["check", f"{own_rooms}/rooms.py:Loud", "--seeds", "1"])
    assert result.returncode == 0 and result.stderr == ""
    assert "kept, · not tested" in result.stdout and "delivery: " in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_check_prints_one_json_document_whatever_it_finds(own_rooms):
    result = outcome(["check", f"{own_rooms}/rooms.py:NeverStarts", "--seeds", "2", "--json"])
    assert result.returncode == 0 and result.stderr == ""
    document = json.loads(result.stdout)
    assert document["seeds"] == 2 and document["guarantees"]["no-crash"]["broken"] == 1
    assert "not today" in document["guarantees"]["no-crash"]["evidence"]


@pytest.mark.parametrize(
    "redirected, code, says",
    [
        (">&-", 0, ""),
        ("| true", 1, ""),
        ("> /dev/full", 2, "chatroom: cannot print the result: No space left on device\n"),
    ],
)
@pytest.mark.parametrize("form", ["", "--json"])
def test_a_result_that_cannot_be_printed_is_no_traceback(redirected, code, says, form):
    command = f"{sys.executable} -m chatroom_lib check v1 --seeds 1 {form} {redirected}; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (code, says)


def test_what_a_room_prints_is_not_in_the_document(tmp_path):
    (tmp_path / "loud.py").write_text(OWN_ROOM + "\nprint('hello')\n")
    result = outcome(["check", f"{tmp_path}/loud.py:Loud", "--seeds", "1", "--json"])
    assert json.loads(result.stdout)["seeds"] == 1 and result.stderr == ""


def test_a_file_that_runs_a_server_while_it_is_imported_is_told_so(tmp_path, told, monkeypatch):
    monkeypatch.setattr("chatroom_lib.checker.worker.LOADING_INTERVAL", 0.1)
    (tmp_path / "runs.py").write_text(OWN_ROOM + "\nasyncio.run(asyncio.Event().wait())\n")
    result = told(["check", f"{tmp_path}/runs.py:Loud", "--json"])
    says = (
        "runs.py has not returned for 0 s, so the room cannot be imported: put what runs for long below `if __name__ =="
    )
    assert is_a_mistake(*result, says), result


def test_interrupting_check_ends_it_quickly_and_leaves_no_process():
    process = subprocess.Popen(
        [sys.executable, "-m", "chatroom_lib", "check", "v1", "--seeds", "5000"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        while not (workers := psutil.Process(process.pid).children()):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=AT_MOST)
    finally:
        process.kill()
    assert process.returncode == 130 and "Traceback" not in errors
    assert not any(is_alive(worker.pid) for worker in workers)


# ---------------------------------------------------------------- load


@pytest.fixture
def server():
    server = run(serve("v3"))
    yield server
    run(server.stop())


def test_load_prints_one_json_document_or_a_table(server):
    arguments = ["load", server.url, "--clients", 2, "--every", 0.01, "--seconds", 0.3]
    with started(*arguments, "--json") as as_json, started(*arguments) as as_table:
        printed, errors = as_json.communicate(timeout=2 * AT_MOST)
        result = json.loads(printed)
        assert (result["clients"], result["sent"], result["losses"]) == (2, 30, 0)
        assert printed.count("\n") == 1 and errors == "" and as_json.returncode == 0
        printed, errors = as_table.communicate(timeout=2 * AT_MOST)
        assert re.search(r"\bsent\b.*\b30\b", printed) and re.search(r"\blosses\b.*\b0\b", printed)
        assert errors == "" and as_table.returncode == 0


def test_interrupting_load_ends_it_quickly(server):
    with started("load", server.url, "--seconds", 60) as load:
        asyncio.run(until(lambda: len(server.room.members()) == 10))
        time.sleep(A_MOMENT)
        start = time.monotonic()
        load.send_signal(signal.SIGINT)
        assert load.communicate(timeout=AT_MOST) == ("", "")
        assert time.monotonic() - start < A_STOP
        assert load.returncode == 130


# ---------------------------------------------------------------- importing


@pytest.mark.parametrize("used", ["chatroom_lib", "chatroom_lib.rooms", "chatroom_lib.serve"])
def test_importing_the_package_loads_no_plots_and_no_jupyter(used):
    code = f"import sys, chatroom_lib; {used}; sys.exit(str([m for m in {IMPORTS} if m in sys.modules]))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=3 * AT_MOST)
    assert result.stderr == "[]\n"


def test_a_script_may_end_without_stopping_its_server():
    code = "from chatroom_lib import run, serve; print(run(serve('v3')).url)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=3 * AT_MOST)
    assert result.returncode == 0 and result.stderr == "" and result.stdout.startswith("ws://")
