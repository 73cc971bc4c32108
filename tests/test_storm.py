"""Many clients lose their server in the same moment, and come back in the way they were told to."""

import asyncio
import io
import json
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import psutil
import pytest
from rich.console import Console
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.frames import Frame, Opcode

from chatroom_lib import bench, plots, run, serve
from chatroom_lib.bench import BenchError
from chatroom_lib.clients.backoff import retry_after
from chatroom_lib.clients.load import LoadError
from chatroom_lib.clients.storm import CHOICES, WAITS, Storm, StormRun, Visit, run_storm
from chatroom_lib.message import LONGEST_SPREAD, Position, encode_position
from chatroom_lib.rooms import RoomError, v1, v7, v8
from chatroom_lib.runtime.background import submit
from chatroom_lib.server.server import Server
from tests.helpers import A_STOP, AT_MOST, TIMEOUT_FACTOR, in_a_loop, until, wait_until

CLIENTS = 60
PATIENCE = 1.5 * TIMEOUT_FACTOR
pytestmark = pytest.mark.real


class Weather:
    """A server that is stopped and started again, on this loop."""

    def __init__(self, make_room=v8.Room, down: float = 0.1):
        self.make_room, self.down = make_room, down
        self.before = self.after = None

    async def __aenter__(self) -> "Weather":
        self.before = await Server(self.make_room()).start()
        return self

    async def __aexit__(self, *exc) -> None:
        await self.before.stop()
        if self.after:
            await self.after.stop()

    async def come(self) -> None:
        await self.before.stop()
        await asyncio.sleep(self.down)
        self.after = await Server(self.make_room(), port=self.before.port).start()

    async def storm(self, wait: str, seconds: float = AT_MOST, patience: float = PATIENCE, come=None) -> Storm:
        storm = StormRun(self.before.url, CLIENTS, wait, patience, seconds)
        return await storm.run(come or self.come, lambda back: None)


def assert_all_are_back(storm: Storm, clients: int = CLIENTS) -> None:
    assert storm.not_back == 0 and storm.lost == len(storm.back) == clients
    assert list(storm.back) == sorted(storm.back) and storm.back[0] > 0
    served = [(began, end) for began, end in zip(storm.attempts, storm.served, strict=True) if end is not None]
    assert len(served) == clients and all(began <= end for began, end in served)


# ---------------------------------------------------------------- the clients


@pytest.mark.parametrize("wait", CHOICES)
@in_a_loop
async def test_all_come_back_to_a_server_that_starts_again(wait):
    async with Weather() as weather:
        storm = await weather.storm(wait)
        assert_all_are_back(storm)
        await until(lambda: not weather.after.room.members())
    assert storm.clients == CLIENTS and storm.wait == wait and storm.attempts_per_client >= 1


@pytest.mark.parametrize("room", [v1.Room, v7.Room])
@in_a_loop
async def test_a_room_that_tells_no_time_is_returned_to_without(room):
    async with Weather(room) as weather:
        assert_all_are_back(await weather.storm("told"))


@in_a_loop
async def test_who_is_told_within_which_time_to_come_back_comes_spread_over_it():
    async with Weather(lambda: v8.Room(returns=30), down=0) as weather:  # 1 s, and 2 s for 60 clients
        storm = await weather.storm("told")
    assert_all_are_back(storm)
    assert 1.5 < storm.back_within(100) and storm.bins(0.5)[0][0] < CLIENTS / 2
    assert sum(began > 1 for began in storm.attempts) > CLIENTS / 3


@in_a_loop
async def test_without_waiting_all_come_in_the_same_moment():
    async with Weather(down=0) as weather:
        storm = await weather.storm("at once")
    assert storm.bins(0.5)[0][0] >= CLIENTS


class Door(v8.Room):
    """Refuses the first ones, once it has been told to."""

    refuses = 0

    def process_request(self, connection, request):
        if Door.refuses:
            Door.refuses -= 1
            response = connection.respond(503, "later\n")
            response.headers["Retry-After"] = "2"
            return response


@in_a_loop
async def test_who_is_turned_away_waits_as_long_as_it_is_told():
    Door.refuses = 0
    async with Weather(lambda: Door(returns=1000), down=0) as weather:

        async def come():
            Door.refuses = CLIENTS
            await weather.come()

        storm = await weather.storm("told", come=come)
    assert_all_are_back(storm)
    assert storm.turned_away == CLIENTS and storm.back[0] > 2  # seconds


class AtTheDoor(StormRun):
    """When the first client has joined, the next three are refused."""

    async def join_first(self, client):
        await super().join_first(client)
        Door.refuses = 3


@in_a_loop
async def test_clients_join_as_slowly_as_the_room_asks():
    async with Weather(Door) as weather:
        storm = await AtTheDoor(weather.before.url, 5, "at once", PATIENCE, AT_MOST).run(
            weather.come, lambda back: None
        )
    assert Door.refuses == 0 and storm.lost == 5 and storm.turned_away == 0


class Mute(v8.Room):
    """Lets clients in, and tells the second half of them nothing."""

    async def tell(self, reader, position):
        if Mute.mute and len(self.readers) > CLIENTS / 2:
            await asyncio.sleep(AT_MOST)
        await super().tell(reader, position)


@in_a_loop
async def test_whoever_is_let_in_and_not_told_the_position_is_not_served():
    Mute.mute = False
    async with Weather(Mute, down=0) as weather:

        async def come():
            Mute.mute = True
            await weather.come()

        storm = await weather.storm("fixed", seconds=2.5, patience=0.4, come=come)
    assert storm.lost == CLIENTS and storm.not_back >= CLIENTS / 3
    assert sum(end is not None for end in storm.served) == len(storm.back)


@in_a_loop
async def test_an_attempt_that_is_not_served_in_time_is_given_up():
    silent = None
    try:
        async with Weather() as weather:

            async def come():
                nonlocal silent
                await weather.before.stop()
                silent = await asyncio.start_server(
                    lambda reader, writer: reader.read(), "127.0.0.1", weather.before.port
                )

            storm = await weather.storm("at once", seconds=2, patience=0.4, come=come)
    finally:
        silent.close()
    assert storm.not_back == storm.lost == CLIENTS and storm.back == () and set(storm.served) == {None}
    assert 1.5 < storm.attempts_per_client < 15  # refused once or twice at first; then one in 0.41 s
    assert storm.back_within(1) is None


class Slow(v8.Room):
    async def tell(self, reader, position):
        await asyncio.sleep(0.6)
        await super().tell(reader, position)


@in_a_loop
async def test_an_attempt_is_not_given_up_because_we_ourselves_were_late():
    server = await submit(serve(Slow))  # on a thread of its own
    try:
        storm = StormRun(server.url, 1, "told", 1, 1)
        asyncio.get_running_loop().call_later(0.3, time.sleep, 1)  # the answer comes, and then the patience ends
        visit = await storm.dial(storm.clients[0], patience=1)
        assert visit.is_served and storm.clients[0].position
        visit.close()
    finally:
        await server.stop()


@in_a_loop
async def test_a_few_that_lose_their_connections_are_no_storm():
    async with Weather() as weather:

        async def come():
            for connection in weather.before.room.members()[:5]:
                connection.transport.abort()
            await until(lambda: len(weather.before.room.members()) == CLIENTS - 5)
            await until(lambda: len(weather.before.room.members()) == CLIENTS)
            await asyncio.sleep(0.3)
            await weather.come()

        storm = await weather.storm("at once", come=come)
    assert_all_are_back(storm)


class Wire(asyncio.Transport):
    def __init__(self):
        self.written = []

    def write(self, data):
        self.written.append(data)


POSITION = encode_position(Position("ab", 7, return_within=3.0)).encode()
FRAMES = [Frame(Opcode.TEXT, b"x" * 70_000), Frame(Opcode.TEXT, b"x" * 200), Frame(Opcode.PING, b"hey")]
FRAMES += [Frame(Opcode.TEXT, POSITION), Frame(Opcode.CLOSE, b"\x03\xf4come back within 3 s")]
WIRE = b"HTTP/1.1 101 \r\nA: b\r\n\r\n" + b"".join(frame.serialize(mask=False) for frame in FRAMES)


@pytest.mark.parametrize("step", [len(WIRE), 997, 7])
@in_a_loop
async def test_a_client_reads_what_it_needs_however_it_is_cut(step):
    heard, wire = [], Wire()
    visit = Visit("ws://127.0.0.1:1/chatroom?since=:", True, heard.append)
    visit.connection_made(wire)
    for at in range(0, len(WIRE), step):
        visit.data_received(WIRE[at : at + step])
    assert visit.is_served and heard == [Position("ab", 7, return_within=3)]
    assert visit.close_reason == "come back within 3 s" and visit.unread == b""
    assert wire.written[0].startswith(b"GET /chatroom?since=: HTTP/1.1\r\nHost: 127.0.0.1:1\r\n")
    assert [sent[0] & 15 for sent in wire.written[1:]] == [Opcode.PONG, Opcode.CLOSE]


@in_a_loop
async def test_an_answer_that_lets_nobody_in_is_an_error():
    for answer, kind in ((b"HTTP/1.1 503 No\r\nRetry-After: 4", InvalidStatus), (b"SSH-2.0", InvalidHandshake)):
        visit = Visit("ws://127.0.0.1:1/", False, None)
        visit.data_received(answer + b"\r\n\r\nlater")
        error = visit.served.result()
        assert type(error) is kind and retry_after(error) == (4 if kind is InvalidStatus else None)


def test_no_client_waits_longer_than_thirty_seconds():
    random.seed(1)
    for wait in WAITS:
        longest = StormRun("ws://127.0.0.1:1/", 1, wait, 1, 1).clients[0]
        longest.backoff.failed = 5000
        assert 0 <= longest.next_wait() <= 30
    told = StormRun("ws://127.0.0.1:1/", 1, "told", 1, 1).clients[0]
    told.backoff.turned_away = LONGEST_SPREAD
    assert told.next_wait() == 30


def test_after_each_failure_the_wait_doubles_or_stays_as_it_says():
    assert [WAITS["exponential"](failed) for failed in range(4)] == [0.5, 1, 2, 4]
    assert {WAITS["fixed"](failed) for failed in range(4)} == {1.0}
    assert {WAITS["at once"](failed) for failed in range(4)} == {0.01}
    drawn = [WAITS["jitter"](3) for _ in range(100)]
    assert min(drawn) < 2 < max(drawn) <= 4


@pytest.mark.parametrize(
    "wrong, word",
    [
        ({"clients": 0}, "clients"),
        ({"clients": 1_000_000}, "5,000"),
        ({"wait": "later"}, "exponential"),
        ({"patience": 0}, "patience"),
        ({"patience": float("nan")}, "patience"),
        ({"seconds": float("inf")}, "seconds"),
        ({"url": "ws://203.0.113.1/chatroom"}, "127.0.0.1"),
    ],
)
def test_what_is_impossible_is_said_at_once(wrong, word):
    with pytest.raises(LoadError, match=word):
        run_storm(**{"url": "ws://127.0.0.1:1/chatroom", **wrong}, progress=False)


def test_if_nobody_listens_the_error_says_what_to_do():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(LoadError, match="0 of 3 clients.*chatroom serve v8"):
            run_storm(f"ws://127.0.0.1:{free.getsockname()[1]}/chatroom", clients=3, progress=False)


# ---------------------------------------------------------------- the result

RESULT = Storm(
    url="ws://127.0.0.1:8081/chatroom", clients=5, wait="jitter", patience=1.5,
    attempts=(0.01, 0.02, 0.15, 0.31, 0.32), served=(None, 0.5, None, 0.35, 0.4),
    turned_away=1, back=(0.35, 0.4, 0.5), not_back=1, room="v8",
)  # fmt: skip


def test_a_storm_counts_attempts_in_bins_and_who_is_back():
    assert RESULT.lost == 4 and RESULT.attempts_per_client == 1.25
    assert RESULT.bins() == [(2, 1), (1, 0), (0, 0), (2, 2)]
    assert [RESULT.back_within(percent) for percent in (0, 25, 50, 75, 76)] == [0.35, 0.35, 0.4, 0.5, None]


def test_a_storm_is_a_table_and_json():
    document = json.loads(json.dumps(RESULT.as_dict()))
    assert document["not_back"] == 1 and document["attempts_per_client"] == 1.25 and len(document["attempts"]) == 5
    console = Console(width=120, file=io.StringIO())
    console.print(RESULT.table())
    text = console.file.getvalue()
    assert "4 of 5 clients lose" in text and "0.40 s" in text and "never" in text


def test_a_figure_has_a_panel_for_each_storm_with_attempts_and_those_served():
    panels = plots.storm(RESULT, RESULT)
    assert len(panels) == 2
    served, all_of_them = panels[1].patches
    assert list(served.get_data().values) == [1, 0, 0, 2] and list(all_of_them.get_data().values) == [2, 1, 0, 2]
    assert served.get_facecolor() == matplotlib.colors.to_rgba(plots.COLOURS["v8"])
    assert panels[0].get_title(loc="left") == "v8, jitter: 1 of 4 not back, 1.2 attempts each"
    assert panels[0].get_ylim() == panels[1].get_ylim() and panels[1].get_xlabel()
    _, ax = plt.subplots()
    assert list(plots.storm(RESULT, ax=ax)) == [ax]
    plt.close("all")


# ---------------------------------------------------------------- with the server


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_server_that_is_ended_is_started_again_and_nothing_is_left_behind(how, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = set(psutil.Process().children(recursive=True))
    storm = bench.storm("v8", CLIENTS, "told", PATIENCE, down=0.1, how=how)
    assert_all_are_back(storm)
    assert storm.room == "v8" and storm.server_cpu is not None and 0 < storm.client_cpu < storm.back_within(100)
    assert set(psutil.Process().children(recursive=True)) == before and list(tmp_path.iterdir()) == []


def test_of_a_crash_the_clients_were_told_beforehand():
    """So they come spread, though the server can say nothing any more."""
    storm = bench.storm("v8", CLIENTS, "told", PATIENCE, down=0)
    assert_all_are_back(storm)
    assert storm.bins(0.5)[0][0] < CLIENTS / 2 and storm.back_within(100) > 1


BROKEN = """
class Room:
    async def __aenter__(self):
        raise RuntimeError("no luck today")
    async def __aexit__(self, *exc): pass
    async def handle(self, connection): pass
    def members(self): return []
"""


def test_a_server_that_does_not_start_says_why(tmp_path):
    (tmp_path / "broken.py").write_text(BROKEN)
    with pytest.raises(BenchError, match="no luck today"):
        bench.storm(f"{tmp_path}/broken.py:Room", 3)
    with pytest.raises(RoomError):
        bench.storm("v99", 3)
    with pytest.raises(LoadError, match="kill or stop"):
        bench.storm("v8", 3, how="politely")
    with pytest.raises(LoadError, match="clients"):
        bench.storm("v8", 0)
    with suppress(psutil.Error):  # one that has ended meanwhile cannot be asked
        assert not [child for child in psutil.Process().children() if "serve" in child.cmdline()]


@pytest.mark.slow
def test_five_hundred_come_back_with_few_attempts():
    """Those who come while there is no server come again; all the others are served at the first attempt."""
    storm = bench.storm("v8", 500, "told", 1.5 * TIMEOUT_FACTOR, down=1.0)
    assert_all_are_back(storm, 500)
    assert storm.attempts_per_client < 3


# ---------------------------------------------------------------- the command line


def load(*arguments: object) -> subprocess.Popen:
    command = [sys.executable, "-m", "chatroom_lib", "load", *map(str, arguments)]
    root = str(Path(__file__).parent.parent)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root)


@pytest.fixture
def server():
    server = run(serve("v8"))
    yield server
    run(server.stop())


def test_the_command_line_waits_for_the_storm_and_counts_it(server):
    with load(
        server.url, "--storm", "--clients", CLIENTS, "--wait", "jitter", "--patience", PATIENCE, "--json"
    ) as command:
        try:
            wait_until(lambda: len(server.room.members()) == CLIENTS)
            time.sleep(0.3)
            run(server.stop())
            again = run(serve("v8", port=server.port))
            printed, errors = command.communicate(timeout=2 * AT_MOST)
            run(again.stop())
        finally:
            command.kill()
    document = json.loads(printed)
    assert document["not_back"] == 0 and len(document["back"]) == CLIENTS and document["wait"] == "jitter"
    assert errors == "" and command.returncode == 0


def test_interrupting_the_wait_for_a_storm_leaves_no_client_behind(server):
    with load(server.url, "--storm", "--clients", CLIENTS) as command:
        try:
            wait_until(lambda: len(server.room.members()) == CLIENTS)
            time.sleep(0.3)
            start = time.monotonic()
            command.send_signal(signal.SIGINT)
            assert command.communicate(timeout=AT_MOST) == ("", "")
            assert time.monotonic() - start < A_STOP and command.returncode == 130
        finally:
            command.kill()
    wait_until(lambda: not server.room.members())


@pytest.mark.parametrize("wrong", [("--storm", "--deaf"), ("--patience", "2"), ("--storm", "--wait", "later")])
def test_options_that_do_not_go_together_are_refused(wrong):
    with load("ws://127.0.0.1:1/chatroom", *wrong) as command:
        printed, errors = command.communicate(timeout=AT_MOST)
    assert command.returncode == 2 and printed == "" and errors.startswith("chatroom: ") and errors.count("\n") == 1
