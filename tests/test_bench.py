"""The benchmark counts what arrives, is not its own bottleneck by design, and ends what it starts."""

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cloudpickle
import matplotlib
import psutil
import pytest
from websockets.exceptions import ConnectionClosed

from chatroom_lib import bench, encode, plots, rooms
from chatroom_lib.bench import BASELINE, TARGETS, BenchError, Load, Measurement, Report, breakdown, measure, suite
from chatroom_lib.bench.load_generator import Job, plain_message
from chatroom_lib.bench.measurement import generate_load, running_server, two_cores
from chatroom_lib.bench.targets import Target
from chatroom_lib.bench.websocket_frames import frame
from chatroom_lib.message import decode
from tests.helpers import is_alive, wait_until

ROOT = Path(__file__).parent.parent
SHORT = dict(warm_up=0.05, seconds=0.15)
pytestmark = pytest.mark.real
exclusive = pytest.mark.exclusive  # it pins a server and a load generator to a core each
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # so that no server has to import this file for its rooms


class Plain:
    """A room to change: it sends to all, one after another."""

    def __init__(self):
        self.connections = {}

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        pass

    async def handle(self, connection):
        self.connections[connection] = None
        try:
            async for frame in connection:
                await self.say(decode(frame))
        except ConnectionClosed:
            pass
        finally:
            del self.connections[connection]

    async def say(self, message):
        for connection in list(self.connections):
            await connection.send(encode(message))

    def members(self):
        return list(self.connections)


# ---------------------------------------------------------------- what is measured


@exclusive
@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_every_target_delivers_everything(name):
    try:
        assert any(digit.isdigit() for digit in TARGETS[name].version)
    except LookupError as error:
        pytest.skip(str(error))
    result = measure(name, clients=7, in_flight=3, **SHORT)
    assert result.lost == 0 and result.messages > 0
    assert abs(result.deliveries - 7 * result.messages) <= 2 * 7 * 3  # what was in flight at either end
    assert 0 < result.p50_ms <= result.p99_ms and 0 <= result.server_cpu <= 1.5 and result.cpu_us >= 0


@exclusive
def test_under_an_open_load_messages_are_sent_when_they_are_due():
    result = measure("v4", clients=5, rate=200, warm_up=0.1, seconds=0.5)
    assert 190 <= result.messages / result.seconds <= 210 and result.lost == 0


class Stalling(Plain):
    """It blocks for a third of the time."""

    async def __aenter__(self):
        self.task = asyncio.create_task(self.stall())
        return self

    async def stall(self):
        while True:
            await asyncio.sleep(0.6)
            time.sleep(0.3)


@pytest.mark.slow
@exclusive
def test_only_an_open_load_shows_how_long_people_wait_for_a_server_that_stalls():
    closed = measure(Stalling, clients=3, in_flight=1, warm_up=0.1, seconds=0.9)
    opened = measure(Stalling, clients=3, rate=200, warm_up=0.1, seconds=0.9)
    assert closed.lost == opened.lost == 0
    assert opened.p99_ms > 200 and opened.p99_ms > 3 * closed.p99_ms


class Forgetful(Plain):
    """It forgets the second client after the first message."""

    said = 0

    async def say(self, message):
        self.said += 1
        for index, connection in enumerate(list(self.connections)):
            if index != 1 or self.said == 1:
                await connection.send(encode(message))


@pytest.mark.slow
@exclusive
def test_what_does_not_arrive_is_counted():
    with running_server(Forgetful, two_cores()[0]) as (url, pid, _):
        result = generate_load(Job(url, clients=3, rate=300, pid=pid, core=two_cores()[1], timeout=1.5, **SHORT))
    assert result.lost >= result.messages > 20
    assert result.p99_ms >= 1500  # as long as the generator waited for it


class Rambling(Plain):
    """Its messages are not of one length."""

    said = 0

    async def say(self, message):
        self.said += 1
        await super().say(replace(message, content=message.content + "." * (self.said % 3)))


class Silent(Plain):
    async def say(self, message):
        raise ZeroDivisionError("too quiet")


class Unmade(Plain):
    def __init__(self):
        raise OSError("nothing doing")


@exclusive
@pytest.mark.parametrize(
    "room, problem",
    [
        (Rambling, "not all frames are alike"),
        (Silent, "not a text frame .*ZeroDivisionError: too quiet"),
        (Unmade, "the server did not start .*nothing doing"),
    ],
)
def test_an_error_says_why_nothing_could_be_measured(room, problem):
    with pytest.raises(BenchError, match=problem):
        measure(room, clients=3, in_flight=1, **SHORT)


class Hoarder(Plain):
    async def handle(self, connection):
        connection.hoard = bytearray(os.urandom(100_000))
        await super().handle(connection)


@pytest.mark.slow
@exclusive
def test_the_memory_of_idle_connections_is_measured():
    plain, hoarder = (measure(room, clients=200).bytes_per_connection for room in (Plain, Hoarder))
    assert 2_000 < plain < 100_000 < hoarder < plain + 200_000


@pytest.mark.parametrize(
    "options, problem",
    [
        (dict(clients=0), "clients must be 1 or more, not 0"),
        (dict(clients=3, in_flight=1, rate=5), "in_flight=1, or rate=5"),
        (dict(clients=3, rate=-1), "rate=-1"),
        (dict(clients=3, in_flight=1, seconds=0), "seconds=0 must be more than 0"),
    ],
)
def test_an_impossible_load_is_an_error_before_anything_starts(options, problem):
    with pytest.raises(ValueError, match=problem):
        measure("v9, which nobody looks for", **options)


def test_a_profile_needs_a_load():
    with pytest.raises(ValueError, match="take in_flight=8, or rate=100"):
        bench.profile("v9, which nobody looks for", in_flight=0)


@exclusive
def test_more_connections_than_a_process_is_usually_allowed():
    script = "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (100, r.getrlimit(r.RLIMIT_NOFILE)[1]))\n"
    script += "from chatroom_lib.bench import measure\n"
    script += "print(measure('v4', clients=150, in_flight=1, warm_up=0.1, seconds=0.2).lost)"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert answer.stdout.strip() == "0", answer.stderr


def test_a_clients_frame_is_one_that_a_server_understands():
    for size in (90, 125, 126, 4000):
        header = frame(b"x" * size)[:-size]
        assert header[0] == 0x81 and header[1] & 0x80 and header[-4:] == bytes(4)
    assert len(plain_message(12_345_678)) == bench.PAYLOAD and decode(plain_message(1).decode()).token == "load"


@exclusive
def test_a_profile_adds_up_to_the_time_for_a_delivery():
    profile = bench.profile("v4", clients=20, in_flight=4, warm_up=0.1, seconds=0.5)
    assert set(profile) <= {*(part for _, _, part in breakdown.PARTS), breakdown.ROOM}
    assert list(profile.values()) == sorted(profile.values(), reverse=True)
    assert profile["write to sockets"] > 0 and 0.05 < sum(profile.values()) < 1000


# ---------------------------------------------------------------- processes


@exclusive
def test_server_and_load_are_pinned_to_cores_of_their_own():
    server_core, load_core = two_cores()
    if server_core < 0:
        pytest.skip("a process cannot be pinned to a core here, or there is only one core")
    assert server_core != load_core
    with running_server("v1", server_core) as (_, pid, _):
        assert psutil.Process(pid).cpu_affinity() == [server_core]
    assert not is_alive(pid)


def test_the_load_generator_loads_nothing_heavy():
    heavy = ("numpy", "matplotlib", "IPython", "websockets", "chatroom_lib.rooms", "chatroom_lib.server")
    script = f"import sys, chatroom_lib.bench.load_generator; print([name for name in {heavy} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert answer.stdout.strip() == "[]", answer.stderr


def test_the_server_ends_with_the_process_that_started_it():
    script = """
import sys, time
from chatroom_lib.bench.measurement import running_server
with running_server("v4", -1) as (_, pid, _):
    print(pid, flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    pid = int(process.stdout.readline())
    assert is_alive(pid)
    process.kill()
    process.wait()
    process.stdout.close()
    wait_until(lambda: not is_alive(pid))


def test_an_error_names_what_is_not_installed_and_says_what_to_do(monkeypatch):
    with pytest.raises(LookupError, match=r"no-such-package is not installed: pip install 'chatroom-lib\[bench\]'"):
        assert Target("x", ("x.py",), package="no-such-package").version
    monkeypatch.setenv("PATH", "")
    with pytest.raises(LookupError, match="node is not installed"):
        assert Target("x", ("x.js",), package="no-such-package").version


# ---------------------------------------------------------------- reports


def made_up(deliveries: int, p99_ms: float = 2.0, **changes) -> Measurement:
    numbers = dict(clients=3, seconds=2.0, messages=9, deliveries=deliveries, lost=0, p50_ms=1.0, p99_ms=p99_ms)
    return Measurement(**{**numbers, "server_cpu": 1.0, "generator_cpu": 0.5, **changes})


@pytest.fixture
def report():
    closed, idle = Load(3, 1), Load(100)
    measured = {
        closed: {
            BASELINE: [made_up(100), made_up(200), made_up(1000)],
            "v4": [made_up(600, 1.0), made_up(800, 1.0), made_up(2000, 1.0)],  # 6, 4 and 2 times as many
            "aiohttp": "failed: the server did not start",
        },
        idle: {name: [made_up(0, bytes_per_connection=size)] for name, size in ((BASELINE, 1024.0), ("v4", 2048.0))},
    }
    machine = {"cores": 2, "pinned": True, "processor": "P", "system": "S", "python": "3"}
    return Report("2000-01-01", machine, {BASELINE: "w 1", "v4": "w 1"}, {"ws (Node)": "no node"}, 3, 2.0, measured)


def test_a_ratio_compares_within_a_round(report):
    load = Load(3, 1)
    assert report.median(load, "v4", "deliveries_per_second") == 400
    assert report.ratio(load, "v4", "deliveries_per_second") == 4  # and not 800 / 200 of medians by chance
    report.measured[load][BASELINE].reverse()
    assert report.ratio(load, "v4", "deliveries_per_second") == 4 and report.ratio(load, "v4", "p99_ms") == 0.5
    report.measured[load]["v4"][1] = made_up(1600)
    assert report.ratio(load, "v4", "deliveries_per_second") == 8 and report.completed(load) == [BASELINE, "v4"]


def test_a_report_survives_json_and_shows_everything(report):
    again = Report.from_dict(json.loads(json.dumps(report.as_dict())))
    assert again == report
    text = report.markdown()
    for piece in ("4.00×", "2.0 |", "failed: the server did not start", "ws (Node): no node", "2000-01-01", "2 cores"):
        assert piece in text


def test_a_target_that_has_failed_once_is_not_measured_again(monkeypatch):
    calls = []

    def failing(name, **options):
        calls.append(name)
        if name == "v1":
            raise BenchError("no")
        return made_up(10)

    monkeypatch.setattr(suite, "measure", failing)
    report = bench.bench(["v1", "v4"], [Load(3, 1)], rounds=3, curves=False, progress=False)
    assert calls.count("v1") == 1 and calls.count("v4") == calls.count(BASELINE) == 3
    assert report.measured[Load(3, 1)]["v1"] == "failed: no"


def test_the_committed_results_are_complete_and_are_what_the_page_shows():
    folder = ROOT / "benchmarks"
    report = Report.from_dict(json.loads((folder / "results.json").read_text()))
    spec = importlib.util.spec_from_file_location("run_benchmarks", ROOT / "tools" / "run_benchmarks.py")
    run = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(run)
    assert (folder / "README.md").read_text() == run.INTRODUCTION + report.markdown()
    assert set(report.measured) == {*bench.LOADS, *(load for curve in bench.CURVES.values() for load in curve)}
    for load in bench.LOADS:
        assert report.completed(load) == list(TARGETS)
    for load in bench.CURVES["clients"] + bench.CURVES["in flight"]:
        assert set(bench.ON_CURVES) <= set(report.completed(load))


def test_the_committed_figures_can_be_drawn():
    report = Report.from_dict(json.loads((ROOT / "benchmarks" / "results.json").read_text()))
    for curve in bench.CURVES:
        left, right = plots.scaling(report, curve)
        for ax in (left, right):
            colours = {text.get_text().strip(): text.get_color() for text in ax.texts}
            assert colours == {name: plots.readable_on_white(plots.colour_of(name)) for name in bench.ON_CURVES}
        assert left.get_xscale() == right.get_yscale() == "log"
    ax = plots.ratios({"v4": 6.3, "aiohttp": 1.1, "v2, no delay": 0.5}, "times")
    assert [patch.get_facecolor() for patch in ax.patches] == [
        matplotlib.colors.to_rgba(colour) for colour in (plots.COLOURS["v4"], plots.MUTED, plots.COLOURS["v2"])
    ]
    assert [text.get_text().strip() for text in ax.texts] == ["6.30×", "1.10×", "0.50×"]
    first, second = plots.breakdown({"v4": {"a": 1.0, "b": 2.0}, "Mine": {"a": 3.0}})
    assert second.get_title(loc="left") == "Mine: 3.0 µs" and len(second.patches) == 2


# ---------------------------------------------------------------- the command


def command(*arguments: str) -> subprocess.CompletedProcess:
    line = [sys.executable, "-m", "chatroom_lib", "bench", *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=100)


@exclusive
@pytest.mark.slow
def test_the_command_measures_quickly_and_prints_one_json_document():
    start = time.monotonic()
    answer = command("--quick", "--json", "v4")
    assert answer.returncode == 0 and answer.stderr == ""
    data = json.loads(answer.stdout)
    rows = data["loads"][0]["entrants"]
    assert list(rows) == [BASELINE, "v4"] and rows[BASELINE]["ratios"]["deliveries_per_second"] == 1
    assert rows["v4"]["ratios"]["deliveries_per_second"] > 1 > rows["v4"]["ratios"]["cpu_us"]
    assert data["loads"][1]["entrants"]["v4"]["bytes_per_connection"] > 0
    assert time.monotonic() - start < 60


def test_a_room_that_does_not_exist_is_one_line_and_exit_code_2():
    answer = command("v9")
    assert answer.returncode == 2 and answer.stdout == ""
    assert answer.stderr.startswith("chatroom: no room 'v9'") and answer.stderr.count("\n") == 1


def test_there_is_a_target_for_each_room_that_the_chapters_are_about():
    assert {"v1", "v3.1", "v4"} <= set(TARGETS) & set(rooms.VERSIONS)
