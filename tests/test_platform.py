"""Where there are no threads, processes or sockets, as in a browser: the same runs and verdicts, and plain errors."""

import asyncio
import sqlite3
import sys
import threading
import time

import pytest

from chatroom_lib import (
    Kill,
    Scenario,
    Server,
    check,
    dashboard,
    frozen,
    guarantees,
    listener,
    live,
    rooms,
    run,
    scenarios,
    serve,
    simulate,
    stop_all,
    talker,
)
from chatroom_lib.checker import workers
from chatroom_lib.runtime import lazy, platform
from chatroom_lib.runtime.console import describe
from tests.helpers import for_one_server
from tests.test_room_files import Statements

PEOPLE = Scenario([talker("Ann", says=20), frozen("Bob", vanishes=1), listener("Cy")])
ABSENT = platform.Absent("chat", "ipywidgets")


@pytest.fixture
def in_a_browser(monkeypatch):
    for name in ("HAS_THREADS", "HAS_PROCESSES", "HAS_SOCKETS"):
        monkeypatch.setattr(platform, name, False)
    monkeypatch.setattr(lazy, "IN_A_BROWSER", True)


@pytest.fixture
def no_thread_may_start(monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)


def from_a_cell(function, *arguments):
    """Called where a loop runs, which goes on afterwards."""

    async def cell():
        later = asyncio.create_task(asyncio.sleep(0))
        result = function(*arguments)
        await later
        assert asyncio.current_task() is not None
        return result

    return asyncio.run(cell())


@pytest.mark.parametrize(
    "room, scenario",
    [("v1.1", ""), ("v3", ""), ("v4", ""), ("v5", "power cut"), ("v7", "restart"), ("v9", "one of three")],
)
def test_a_run_is_the_same_without_threads(room, scenario, in_a_browser, no_thread_may_start, monkeypatch):
    scenario = scenarios.SCENARIOS.get(scenario, PEOPLE)
    without = from_a_cell(simulate, room, scenario, 3)
    monkeypatch.undo()
    assert without.digest() == simulate(room, scenario, 3).digest()


def fail():
    int("no number")


def end_everything():
    sys.exit(3)


def sleep_for_long():
    start = time.monotonic()
    time.sleep(0.1)
    time.sleep(0.05)
    return time.monotonic() - start


def find_a_loop():
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


@pytest.mark.parametrize("call", [fail, end_everything, sleep_for_long, find_a_loop])
def test_a_call_of_an_executor_is_the_same_without_threads(call, in_a_browser, no_thread_may_start, monkeypatch):
    class Calling(rooms.resolve("v1")):
        async def broadcast(self, message):
            taken = await asyncio.gather(*(asyncio.to_thread(call) for _ in range(2)))
            assert taken in ([None, None], [pytest.approx(0.15, rel=1e-3)] * 2)
            await super().broadcast(message)

    without = from_a_cell(simulate, Calling, PEOPLE)
    assert not without.of("blocked")
    monkeypatch.undo()
    trace = simulate(Calling, PEOPLE)
    assert (without.digest(), without.ending) == (trace.digest(), trace.ending)
    assert list(map(describe, without.errors)) == list(map(describe, trace.errors))
    assert bool(trace.errors) == (call in (fail, end_everything))


def test_a_killed_server_leaves_no_transaction_open_without_threads(in_a_browser, no_thread_may_start):
    class LeavesOne(Statements):
        async def handle(self, connection):
            if connection.name == "Bob":
                self.db = await asyncio.to_thread(sqlite3.connect, self.path, isolation_level=None)
                await self.sql("BEGIN IMMEDIATE")
                await self.sql("INSERT INTO said VALUES ('?')")
            await super().handle(connection)

    people = [listener("Ann"), listener("Bob"), talker("Cy", says=3, starts=2, every=1)]
    trace = simulate(LeavesOne, Scenario(people, duration=6, servers=3, kills=[Kill(1, server=1)]), seed=1)
    assert trace.errors == [] and len(trace.of("accepted")) == 3


@pytest.mark.parametrize("where", ["__aenter__", "handle"])
def test_a_room_that_starts_a_thread_is_told_that_there_are_none_and_not_judged(where, in_a_browser):
    async def start_thread(self, *_):
        threading.Thread(target=print).start()

    room = type("Room", (rooms.resolve("v1"),), {where: start_thread})
    card = check(room, 2, scenarios={"one": PEOPLE}, progress=False)
    assert set(card.untested) == set(guarantees.GUARANTEES)
    assert card.scores["delivery"].untested.startswith("a browser has no threads to start: asyncio.to_thread()")


def test_the_card_is_the_same_without_processes(in_a_browser, no_thread_may_start, monkeypatch):
    few = {name: scenarios.SCENARIOS[name] for name in ("healthy", "frozen reader", "frozen then dies", "restart")}
    without = from_a_cell(lambda: check("v1.1", 2, scenarios=few, progress=False))
    assert isinstance(workers.workers(None, None, 2)[0], workers.WorkerHere)
    monkeypatch.undo()
    card = check("v1.1", 2, scenarios=few, progress=False)
    assert without.as_dict() == card.as_dict() and card.broken


def test_the_shortest_run_is_the_same_without_processes(in_a_browser, no_thread_may_start, monkeypatch):
    def shortest():
        return check("v1", 1, scenarios={"one": PEOPLE}, progress=False).shortest("no-leak", progress=False).digest()

    without = from_a_cell(shortest)
    monkeypatch.undo()
    assert without == shortest()


def test_no_run_leaves_anything_to_the_next_one_without_processes(in_a_browser):
    class Room(rooms.resolve("v1")):
        connections = []  # of the class: of all its rooms

        def __init__(self):
            pass

    card = check(Room, 2, scenarios={"healthy": scenarios.SCENARIOS["healthy"]}, progress=False)
    assert card.scores["no-crash"].kept == 2


def test_what_a_room_prints_while_it_is_checked_is_not_seen_as_with_processes(in_a_browser, capsys):
    class Room(rooms.resolve("v1")):
        async def handle(self, connection):
            print("somebody comes")
            print("and is let in", file=sys.stderr)
            await super().handle(connection)

    check(Room, 2, scenarios={"one": PEOPLE}, progress=False)
    assert capsys.readouterr() == ("", "")


def test_problems_are_raised_as_with_processes(in_a_browser):
    def judge(trace):
        return 1 / 0

    with pytest.raises(ValueError, match="guarantee 'mine' cannot judge a run with seed 0: ZeroDivisionError"):
        check("v1", 1, guarantees={"mine": judge}, scenarios={"one": PEOPLE}, progress=False)
    with pytest.raises(rooms.RoomError):
        check(dict, 1, progress=False)
    assert check("v1", 1, guarantees={"mine": lambda trace: guarantees.KEPT}, progress=False).kept == ["mine"]


def test_what_needs_sockets_says_so(in_a_browser):
    async def shown():
        dashboard(server)

    server = Server("v1")
    for name, call in {
        "serve": lambda: serve("v1"),
        "live": lambda: live("v1", PEOPLE),
        "Server.start": server.start,
        "stop_all": stop_all,
        "dashboard": shown,
    }.items():
        with pytest.raises(platform.NotHere, match=rf"^{name}\(\) needs sockets .*: simulate\(\) runs a room"):
            asyncio.run(call())
    with pytest.raises(platform.NotHere, match=r"^run\(\) needs sockets"):
        run(asyncio.sleep(0))


def test_a_name_that_cannot_be_imported_fails_only_when_it_is_used(in_a_browser, tmp_path, monkeypatch):
    (tmp_path / "a_package").mkdir()
    (tmp_path / "a_package/__init__.py").write_text("")
    (tmp_path / "a_package/widgets.py").write_text("import no_such_library")
    monkeypatch.syspath_prepend(tmp_path)
    get, _, _ = lazy.lazy_names("a_package", {"widgets": ("panel",)})
    panel = get("panel")
    for use in (lambda: panel("Ann"), lambda: panel.open):
        with pytest.raises(platform.NotHere, match="panel needs no_such_library, which cannot be had in a browser"):
            use()
    assert not hasattr(panel, "_repr_html_")  # it may be looked at
    monkeypatch.setattr(lazy, "IN_A_BROWSER", False)
    with pytest.raises(ModuleNotFoundError):
        get("panel")


def test_a_room_may_name_what_cannot_be_imported(in_a_browser):
    async def handler(connection):
        async for frame in connection:
            await connection.send(frame if ABSENT else "")

    assert simulate(handler, PEOPLE).ending == "quiescent"


def test_every_scenario_can_be_tried_without_processes(in_a_browser):
    some = {name: scenarios.SCENARIOS[name] for name in for_one_server()}
    assert check("v5", 1, scenarios=some, progress=False).scores["kept"].tested == 1
