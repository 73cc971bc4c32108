"""The benchmark counts what arrives, is not its own bottleneck by design, and ends what it starts."""

import asyncio
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import cloudpickle
import matplotlib
import psutil
import pytest
from rich.console import Console
from websockets.exceptions import ConnectionClosed

from chatroom_lib import bench, encode, plots, rooms
from chatroom_lib.bench import (
    BASELINE,
    TARGETS,
    BenchError,
    Load,
    Measurement,
    Report,
    breakdown,
    measure,
    packages,
    suite,
)
from chatroom_lib.bench.load_generator import plain_message
from chatroom_lib.bench.loads import QUICK
from chatroom_lib.bench.measurement import running_server, two_cores
from chatroom_lib.bench.report import Failure
from chatroom_lib.bench.targets import Target
from chatroom_lib.bench.websocket_frames import frame
from chatroom_lib.cli import main
from chatroom_lib.message import decode
from tests.helpers import is_alive, wait_until

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.real
exclusive = pytest.mark.exclusive  # it measures, with a server and a load generator pinned to a core each
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


def measured(name: str, **load) -> Measurement:
    """In a window that is long enough for a machine on which other tests run, and no longer."""
    for seconds in (0.15, 1):
        with suppress(BenchError):
            return measure(name, warm_up=0.05, seconds=seconds, **load)
    return measure(name, warm_up=0.05, seconds=5, **load)


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_every_target_delivers_everything(name):
    try:
        assert any(digit.isdigit() for digit in TARGETS[name].version)
    except LookupError as error:
        pytest.skip(str(error))
    result = measured(name, clients=7, in_flight=3)
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


class Unmade(Plain):
    def __init__(self):
        raise OSError("nothing doing")


def test_an_error_says_why_a_server_did_not_start():
    with pytest.raises(BenchError, match="the server did not start .*nothing doing"):
        measure(Unmade, clients=3, in_flight=1, warm_up=0.05, seconds=0.15)


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
        (dict(clients=3, in_flight=1, rate=5), "in_flight=1 or rate=5"),
        (dict(clients=3, rate=-1), "rate=-1"),
        (dict(clients=3, in_flight=1, seconds=0), "seconds=0 must be more than 0"),
    ],
)
def test_an_impossible_load_is_an_error_before_anything_starts(options, problem):
    with pytest.raises(ValueError, match=problem):
        measure("v9, which nobody looks for", **options)


def test_a_profile_needs_a_load():
    with pytest.raises(ValueError, match="a load: in_flight=8 or rate=100"):
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


def test_the_line_with_the_address_may_come_in_parts_while_we_look_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr("chatroom_lib.bench.measurement.TIME_TO_START", 5.0)
    monkeypatch.setattr("chatroom_lib.bench.measurement.time", SimpleNamespace(monotonic=time.monotonic, sleep=id))
    slow = tmp_path / "slow.py"
    slow.write_text("""
import sys, time
for letter in "serving at ws://127.0.0.1:1/\\n":
    sys.stdout.write(letter)
    sys.stdout.flush()
time.sleep(60)
""")
    with running_server(Target("slow", (str(slow),)), -1) as (url, _, _):
        assert url == "ws://127.0.0.1:1/"


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
    with pytest.raises(LookupError, match="pytest needs libnothing, which is not installed: apt install libnothing1"):
        assert Target("x", ("x.py",), package="pytest", library="libnothing").version
    packages.version_for_go.cache_clear()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(LookupError, match="node is not installed"):
        assert Target("x", ("x.js",), package="no-such-package").version
    with pytest.raises(LookupError, match="go is not installed: apt install golang-go golang-github-gorilla"):
        assert Target("x", ("x.go",), package="gorilla/websocket").version


def test_a_program_in_go_that_does_not_compile_is_one_clear_line(tmp_path):
    if not shutil.which("go"):
        pytest.skip("go is not installed")
    (tmp_path / "hub.go").write_text("package main\n\nfunc main() { nothing() }\n")
    with pytest.raises(BenchError, match="hub.go does not compile: .*undefined: nothing") as error:
        measure(Target("x", (str(tmp_path / "hub.go"),)), clients=1, in_flight=1)
    assert "\n" not in str(error.value)


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
            "aiohttp": [],
            "Tornado": [made_up(50, doubled=7)],
        },
        idle: {name: [made_up(0, bytes_per_connection=size)] for name, size in ((BASELINE, 1024.0), ("v4", 2048.0))},
    }
    failures = {closed: {"aiohttp": Failure(1, "the server did not start"), "Tornado": Failure(2, "it [was] killed")}}
    machine = {"cores": 2, "pinned": True, "processor": "P", "system": "S", "python": "3"}
    return Report(
        "2000-01-01", machine, {BASELINE: "w 1", "v4": "w 1"}, {"ws (Node)": "no node"}, 3, 2.0, measured, failures
    )


def test_a_ratio_compares_within_a_round(report):
    load = Load(3, 1)
    assert report.median(load, "v4", "deliveries_per_second") == 400
    assert report.ratio(load, "v4", "deliveries_per_second") == 4  # and not 800 / 200 of medians by chance
    assert report.ratios(load, "v4", "deliveries_per_second") == [6, 4, 2]
    report.measured[load][BASELINE].reverse()
    assert report.ratio(load, "v4", "deliveries_per_second") == 4 and report.ratio(load, "v4", "p99_ms") == 0.5
    report.measured[load]["v4"][1] = made_up(1600)
    assert report.ratio(load, "v4", "deliveries_per_second") == 8 and report.completed(load) == [BASELINE, "v4"]


def test_a_report_survives_json_and_shows_everything(report):
    again = Report.from_dict(json.loads(json.dumps(report.as_dict())))
    assert again == report
    text = report.markdown()
    for piece in (
        "4.00×",
        "2.0 |",
        "ws (Node): no node",
        "2000-01-01",
        "2 cores",
        "aiohttp failed in round 1: the server",
    ):
        assert piece in text
    assert "Cut short" not in text and printed(report).count("it [was] killed") == 1


def printed(report: Report) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(report.tables())
    return console.export_text()


def test_a_row_that_failed_in_a_later_round_keeps_what_was_measured_before(report):
    row = report.as_dict()["loads"][0]["entrants"]["Tornado"]
    assert row["error"] == "failed in round 2: it [was] killed" and row["failed_in_round"] == 2
    assert row["deliveries_per_second"] == 25 and [result["deliveries"] for result in row["rounds"]] == [50]
    assert row["ratios"]["deliveries_per_second"] == 0.5  # in the one round that both have
    assert "| Tornado | 25 | 0.50×" in report.markdown()
    assert "Tornado failed in round 2: it [was] killed." in report.markdown()
    assert "Tornado delivered 7 messages more than once." in report.markdown()


def test_if_the_baseline_fails_ratios_are_of_the_rounds_before_or_there_are_none(report):
    load = Load(3, 1)
    report.failures[load][BASELINE] = Failure(2, "no")
    del report.measured[load][BASELINE][1:]
    assert report.ratio(load, "v4", "deliveries_per_second") == 6 and report.completed(load) == ["v4"]
    report.measured[load][BASELINE].clear()
    assert report.ratio(load, "v4", "deliveries_per_second") is None
    rows = report.as_dict()["loads"][0]["entrants"]
    assert "ratios" not in rows["v4"] and rows["v4"]["deliveries_per_second"] == 400 and rows[BASELINE]["rounds"] == []
    assert "| v4 | 400 |  |" in report.markdown() and "| broadcast() | failed |" in report.markdown()
    assert Report.from_dict(json.loads(json.dumps(report.as_dict()))) == report and printed(report)


@pytest.mark.parametrize("name", [BASELINE, "v4"])
def test_a_server_that_delivered_nothing_divides_nothing_by_zero(report, name):
    load = Load(3, 1)
    report.measured[load][name] = [made_up(0, None, p50_ms=None, lost=27, server_cpu=0.0)] * 3
    assert report.measured[load][name][0].cpu_us is None
    assert report.ratio(load, "v4", "deliveries_per_second") == (None if name == BASELINE else 0)
    assert report.ratio(load, "v4", "p99_ms") is report.ratio(load, "v4", "cpu_us") is None
    assert json.loads(json.dumps(report.as_dict(), allow_nan=False)) and printed(report)
    assert f"| {name} | 0 |" in report.markdown()


def test_a_report_of_before_failures_had_rounds_can_be_read(report):
    data = report.as_dict()
    del data["rounds_done"], data["cut_short"]
    data["loads"][0]["entrants"]["aiohttp"] = {"error": "failed: the server did not start"}
    assert Report.from_dict(data) == report


@pytest.fixture
def measuring(monkeypatch):
    """Nothing is measured: a function that is given the number of the call decides what `measure` answers."""
    calls = []

    def install(answer) -> list[str]:
        def fake(name, **options):
            calls.append(name)
            return answer(len(calls), name)

        monkeypatch.setattr(suite, "measure", fake)
        return calls

    return install


def raising(error):
    raise error


def test_a_target_that_has_failed_once_is_not_measured_again(measuring):
    calls = measuring(lambda call, name: raising(BenchError("no")) if name == "v1" and call > 3 else made_up(10))
    report = bench.bench(["v1", "v4"], [Load(3, 1)], rounds=3, curves=False, progress=False)
    assert calls.count("v1") == 2 and calls.count("v4") == calls.count(BASELINE) == 3
    assert report.failures == {Load(3, 1): {"v1": Failure(2, "no")}} and report.completed(Load(3, 1)) == [
        BASELINE,
        "v4",
    ]


def test_a_benchmark_tells_what_it_has_after_every_round(measuring):
    measuring(lambda call, name: made_up(call))
    told = []
    bench.bench(["v4"], [Load(3, 1)], rounds=3, curves=False, progress=False,
                on_round=lambda report: told.append(json.loads(json.dumps(report.as_dict()))))  # fmt: skip
    assert [data["rounds_done"] for data in told] == [1, 2, 3]
    assert [data["cut_short"] for data in told] == [True, True, False]
    assert [len(data["loads"][0]["entrants"]["v4"]["rounds"]) for data in told] == [1, 2, 3]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_benchmark_that_is_cut_short_tells_what_it_has(measuring, error):
    measuring(lambda call, name: raising(error) if call == 6 else made_up(call))
    told = []
    with pytest.raises(error):
        bench.bench(["v4"], [Load(3, 1)], rounds=3, curves=False, progress=False, on_round=told.append)
    report = Report.from_dict(told[-1].as_dict())
    assert report.cut_short and report.rounds_done == 2 and "2 of 3 rounds are complete" in report.markdown()
    assert [len(report.results(Load(3, 1), name)) for name in (BASELINE, "v4")] == [3, 2]
    assert report.ratio(Load(3, 1), "v4", "deliveries_per_second") == (2 / 1 + 4 / 3) / 2


def test_what_is_not_installed_is_missing_from_curves_as_well(measuring, monkeypatch):
    measuring(lambda call, name: made_up(call))
    monkeypatch.setitem(TARGETS, "uWebSockets", Target("uWebSockets", ("x.py",), package="no-such-package"))
    report = bench.bench(["v1"], [Load(3, 1)], rounds=1, progress=False)
    assert list(report.missing) == ["uWebSockets"] and "v1" in report.completed(Load(3, 1))
    for load in bench.CURVES["clients"] + bench.CURVES["in flight"]:
        assert report.completed(load) == [BASELINE, "v3.1", "v4"]


@pytest.mark.parametrize("arguments", [["--json"], []])
def test_an_interrupted_command_prints_what_it_has_measured(measuring, capsys, arguments):
    measuring(lambda call, name: raising(KeyboardInterrupt) if call == 6 else made_up(call, bytes_per_connection=9.0))
    with pytest.raises(SystemExit) as end:
        main(["bench", "--quick", "v4", *arguments])
    output = capsys.readouterr()
    assert end.value.code == 130 and output.err == ""
    if arguments:
        data = json.loads(output.out)
        assert data["cut_short"] and data["rounds_done"] == 1 and data["loads"][0]["entrants"]["v4"]["rounds"]
    else:
        assert "Cut short: 1 of 3 rounds are complete." in output.out


def make_bench():
    """tools/run_benchmarks.py, as a module."""
    spec = importlib.util.spec_from_file_location("run_benchmarks", ROOT / "tools" / "run_benchmarks.py")
    run = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(run)
    return run


def test_make_bench_keeps_every_round_and_replaces_the_results_only_by_whole_ones(
    measuring, monkeypatch, tmp_path, report
):
    run = make_bench()
    monkeypatch.setattr(run, "RESULTS", tmp_path)
    (tmp_path / "results.json").write_text("of the last time")
    measuring(lambda call, name: made_up(call, bytes_per_connection=9.0))
    run.write(replace(report, rounds_done=2))
    assert Report.from_dict(json.loads((tmp_path / "unfinished.json").read_text())).rounds_done == 2
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["results.json", "unfinished.json"]
    assert (tmp_path / "results.json").read_text() == "of the last time"
    run.write(report)
    assert Report.from_dict(json.loads((tmp_path / "results.json").read_text())) == report
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["README.md", "results.json"]


def test_the_committed_results_are_complete_and_are_what_the_page_shows():
    folder = ROOT / "benchmarks"
    report = Report.from_dict(json.loads((folder / "results.json").read_text()))
    assert (folder / "README.md").read_text() == make_bench().INTRODUCTION + report.markdown()
    assert set(report.measured) == {*bench.LOADS, *(load for curve in bench.CURVES.values() for load in curve)}
    for load in bench.LOADS:
        assert report.completed(load) == [name for name in TARGETS if name in report.versions]
    for load in bench.CURVES["clients"] + bench.CURVES["in flight"]:
        assert set(bench.ON_CURVES) & report.versions.keys() <= set(report.completed(load))


def test_a_figure_leaves_out_what_was_not_measured(report):
    load = bench.CURVES["in flight"][0]
    report.measured[load] = {BASELINE: [made_up(100)], "v4": [made_up(0, None)], "v3.1": []}
    left, right = plots.scaling(report, "in flight")
    assert [text.get_text().strip() for text in left.texts] == [BASELINE]
    left, right = plots.scaling(replace(report, measured={}), "clients")
    assert not left.texts and not right.texts


def test_servers_of_other_projects_that_have_a_colour_have_one_of_their_own():
    colours = [plots.colour_of(name) for name in ("uWebSockets", "picows", "gorilla (Go)")]
    assert len({*colours, *plots.COLOURS.values(), plots.OTHER, plots.MUTED, plots.ALARM}) == len(plots.COLOURS) + 6


def boxes(texts) -> list[matplotlib.transforms.Bbox]:
    texts[0].figure.canvas.draw()
    return [text.get_window_extent() for text in texts]


def test_the_committed_figures_can_be_drawn():
    report = Report.from_dict(json.loads((ROOT / "benchmarks" / "results.json").read_text()))
    for curve in bench.CURVES:
        left, right = plots.scaling(report, curve)
        for ax in (left, right):
            colours = {text.get_text().strip(): text.get_color() for text in ax.texts}
            names = [name for name in bench.ON_CURVES if name in report.versions]
            assert colours == {name: plots.readable_on_white(plots.colour_of(name)) for name in names}
            assert not any(one.padded(3).overlaps(other) for one, other in pairwise(boxes(ax.get_xticklabels())))
        assert left.get_xscale() == right.get_yscale() == "log"
        assert curve in left.figure.get_suptitle()
    ax = plots.ratios({"v4": 6.3, "aiohttp": 1.1, "v2, no delay": 0.5}, "times")
    assert [patch.get_facecolor() for patch in ax.patches] == [
        matplotlib.colors.to_rgba(colour) for colour in (plots.COLOURS["v4"], plots.MUTED, plots.COLOURS["v2"])
    ]
    assert [text.get_text().strip() for text in ax.texts] == ["6.30×", "1.10×", "0.50×"]
    ax = plots.ratios({"v4": 6.0, "v1": 0.5}, "times", spread={"v4": [7.0, 5.0, 6.0]})
    (line,) = ax.collections
    assert [list(ends[:, 0]) for ends in line.get_segments()] == [[5.0, 7.0]]
    ax = plots.ratios({"v4": 6.3, "v1": None, "FastAPI": 0}, "times")
    assert [text.get_text().strip() for text in ax.texts] == ["6.30×", "not measured", "0.00×"]
    first, second = plots.breakdown({"v4": {"a": 1.0, "b": 2.0}, "Mine": {"a": 3.0}})
    assert second.get_title(loc="left") == "Mine: 3.0 µs" and len(second.patches) == 2


# ---------------------------------------------------------------- the command


def command(*arguments: str) -> subprocess.CompletedProcess:
    line = [sys.executable, "-m", "chatroom_lib", "bench", *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=100)


@exclusive
@pytest.mark.slow
def test_the_command_measures_quickly_and_prints_one_json_document(monkeypatch, capfd):
    monkeypatch.setitem(QUICK, "rounds", 1)  # of three, each of which does the same
    start = time.monotonic()
    main(["bench", "--quick", "--json", "v4"])
    output = capfd.readouterr()
    assert output.err == ""
    data = json.loads(output.out)
    rows = data["loads"][0]["entrants"]
    assert list(rows) == [BASELINE, "v4"] and rows[BASELINE]["ratios"]["deliveries_per_second"] == 1
    assert rows["v4"]["ratios"]["deliveries_per_second"] > 0 and rows["v4"]["ratios"]["cpu_us"] < 1
    assert data["loads"][1]["entrants"]["v4"]["bytes_per_connection"] > 0
    assert time.monotonic() - start < 20


def test_a_room_that_does_not_exist_is_one_line_and_exit_code_2():
    answer = command("v99")
    assert answer.returncode == 2 and answer.stdout == ""
    assert answer.stderr.startswith("chatroom: no room 'v99'") and answer.stderr.count("\n") == 1


def test_there_is_a_target_for_each_room_that_the_chapters_are_about():
    assert {"v1", "v3.1", "v4"} <= set(TARGETS) & set(rooms.VERSIONS)


def test_a_room_that_keeps_a_file_leaves_none_behind(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with running_server("v5", core=-1):
        assert list(tmp_path.rglob("chat.db"))
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- several servers


@pytest.mark.real
@pytest.mark.slow
def test_the_cpu_time_of_each_of_several_servers_is_measured():
    found = bench.scale_out("v9", servers=2, clients=6, rate=100, seconds=0.5)
    assert found.messages == 50 and len(found.cpu_us) == 2 and min(found.cpu_us) > 0 and found.nats_share == 0
    assert min(found.cpu_us) <= found.mean_us <= max(found.cpu_us)


@pytest.mark.real
def test_a_room_for_one_server_is_not_measured_with_two():
    with pytest.raises(bench.BenchError, match="v8 is made for one; several servers are for a room that says"):
        bench.scale_out("v8", servers=2, clients=2, seconds=0.1)
