"""A plain `async def handler(websocket)` stands wherever a room can, and what is none is told what to write instead."""

import asyncio
import functools
import json
import subprocess
import sys

import pytest
import websockets

from chatroom_lib import Scenario, bench, check, frozen, leaving, listener, live, rooms, run, serve, simulate, talker
from chatroom_lib.checker.guarantees import judge
from chatroom_lib.checker.scenarios import SCENARIOS
from tests.helpers import heard, in_a_loop, joining, said, until
from tests.test_command_line import serving

PEOPLE, LOG = set(), []


@pytest.fixture(autouse=True)
def new_books():
    PEOPLE.clear()
    LOG.clear()


async def handler(websocket):
    """As the documentation of websockets has it: the books are a global."""
    PEOPLE.add(websocket)
    try:
        async for frame in websocket:
            websockets.broadcast(PEOPLE, frame)
    finally:
        PEOPLE.remove(websocket)


class App:
    """An object that is called like a handler."""

    def __init__(self):
        self.people = set()

    async def __call__(self, websocket):
        self.people.add(websocket)
        try:
            async for frame in websocket:
                websockets.broadcast(self.people, frame)
        finally:
            self.people.remove(websocket)

    async def meet(self, websocket):
        await self(websocket)


def make_handler():
    people = set()

    async def inner(websocket):
        people.add(websocket)
        try:
            async for frame in websocket:
                websockets.broadcast(people, frame)
        finally:
            people.remove(websocket)

    return inner


async def configured(loudness, websocket):
    await handler(websocket)


FILE = """
import websockets

PEOPLE = set()


async def handler(websocket):
    PEOPLE.add(websocket)
    try:
        async for frame in websocket:
            websockets.broadcast(PEOPLE, frame)
    finally:
        PEOPLE.remove(websocket)


async def old(websocket, path):
    pass


def not_async(websocket):
    pass


class Sized:
    def __init__(self, size):
        self.size = size

    async def __aenter__(self):
        pass

    async def __aexit__(self, *exc):
        pass

    async def handle(self, connection):
        await handler(connection)

    def members(self):
        return PEOPLE


def make_room():
    return Sized(3)


room = make_room()
"""

meeting = Scenario([talker("Ann", says=3), listener("Bob"), leaving("Cy", 0.35)], duration=30)
HANDLERS = {
    "handler": handler,
    "configured": functools.partial(configured, 11),
    "App": App(),
    "meet": App().meet,
    "an App for each run": App,
    "a handler for each run": make_handler,
    "a lambda": lambda: App(),
}


@pytest.mark.parametrize("room", HANDLERS.values(), ids=HANDLERS)
def test_a_handler_is_a_room_whose_members_are_those_whom_it_serves(room):
    trace = simulate(room, meeting)
    assert trace.heard("Bob") == ["Ann 1", "Ann 2", "Ann 3"] and trace.errors == []
    assert [event.who for event in trace.of("entered")] == ["Ann", "Bob", "Cy"]
    assert trace.in_pool() == ["Ann", "Bob"] and trace.gone().keys() == {"Cy"} and not trace.evicted()


def test_its_name_is_the_functions():
    names = [rooms.display_name(HANDLERS[name]) for name in ("handler", "configured", "App", "meet")]
    assert names == ["handler", "configured", "App", "meet"]
    assert simulate(handler, meeting).room == rooms.display_name(rooms.resolve(handler)) == "handler"


def test_a_task_of_its_visits_is_named_by_it():
    trace = simulate(handler, meeting)
    assert {(wait.task, wait.doing, wait.kind) for wait in trace.waits} == {("handler", "handler", "receive")}


def test_what_it_says_of_the_server_is_heeded():
    async def pinged(websocket):
        await handler(websocket)

    pinged.server_options = {"ping_interval": 7}
    assert simulate(pinged, meeting).keepalive == 7


def test_whoever_has_gone_is_no_member_though_the_handler_goes_on():
    async def lingers(websocket):
        async for _ in websocket:
            pass
        await asyncio.sleep(5000)

    trace = simulate(lingers, Scenario([leaving("Ann", 1), listener("Bob")], duration=30))
    assert trace.in_pool() == ["Bob"]
    assert "a task still serves them" in judge(trace)["no-leak"].evidence


# ---------------------------------------------------------------- what its globals keep


def test_it_keeps_its_promises_with_global_books():
    verdicts = judge(simulate(handler, SCENARIOS["mass leave"], 1))
    assert verdicts["no-leak"].kept and verdicts["delivery"].kept is not False


def test_whoever_stays_in_a_global_of_it_is_a_leak():
    async def forgets_nobody(websocket):
        PEOPLE.add(websocket)
        async for frame in websocket:
            websockets.broadcast(PEOPLE, frame)

    evidence = judge(simulate(forgets_nobody, SCENARIOS["mass leave"], 1))["no-leak"].evidence
    assert evidence.startswith("the room retains the connections of ")


def note(frame):
    LOG.append(frame)


@pytest.mark.parametrize("keeps", [True, False])
def test_what_piles_up_in_a_global_of_it_or_of_its_helpers_is_memory(keeps):
    async def archives(websocket):
        PEOPLE.add(websocket)
        try:
            async for frame in websocket:
                (note if keeps else len)(frame)
        finally:
            PEOPLE.remove(websocket)

    people = [talker("Ann", says=450, every=0.1, size=2000), frozen("Bob")]
    verdict = judge(simulate(archives, Scenario(people, duration=100)))["bounded-memory"]
    assert verdict.kept is not keeps and ("messages after" in verdict.evidence) is keeps


def test_one_that_still_has_people_of_an_earlier_run_is_told_so():
    async def forgets_nobody(websocket):
        PEOPLE.add(websocket)
        await websocket.wait_closed()

    simulate(forgets_nobody, meeting)
    for again in (lambda: simulate(forgets_nobody, meeting), lambda: check(forgets_nobody, seeds=1, progress=False)):
        with pytest.raises(rooms.RoomError, match="forgets_nobody has 3 connections of an earlier run, .* run again"):
            again()


# ---------------------------------------------------------------- everywhere


two = {name: SCENARIOS[name] for name in ("healthy", "churn")}


@pytest.mark.parametrize("name", ["handler", "configured", "App", "a handler for each run"])
def test_check_judges_it(name):
    card = check(HANDLERS[name], seeds=1, scenarios=two, progress=False)
    assert card.broken == {} and {"delivery", "admission", "no-leak"} <= set(card.kept)
    assert card.room == {"a handler for each run": "inner"}.get(name, name)


def test_each_run_of_a_check_finds_its_globals_as_they_were():
    async def counts(websocket):
        if len(LOG) >= 4:  # everybody who came in the first run
            raise LookupError("somebody was here before")
        LOG.append(websocket.name)
        await handler(websocket)

    assert check(counts, seeds=3, scenarios={"healthy": two["healthy"]}, processes=1, progress=False).broken == {}


def test_a_module_that_can_be_imported_is_new_in_each_run_too(tmp_path, monkeypatch):
    (tmp_path / "a_module_with_books.py").write_text(
        FILE.replace("finally:\n        PEOPLE.remove(websocket)", "finally: pass")
    )
    monkeypatch.syspath_prepend(tmp_path)
    from a_module_with_books import handler as forgets_nobody

    card = check(forgets_nobody, seeds=2, scenarios={"churn": two["churn"]}, processes=1, progress=False)
    assert list(card.broken) == ["no-leak"] and card.failed == {}
    monkeypatch.delitem(sys.modules, "a_module_with_books")


@pytest.mark.real
@pytest.mark.slow
def test_it_is_played_on_real_sockets():
    trace = run(live(handler, meeting.lasting(1)))
    assert trace.room == "handler" and trace.heard("Bob") == ["Ann 1", "Ann 2", "Ann 3"]
    assert [event.who for event in trace.of("entered")] == ["Ann", "Bob", "Cy"] and trace.in_pool() == ["Ann", "Bob"]


@in_a_loop
async def test_it_is_served():
    server = await serve(handler)
    try:
        async with joining(server.url) as ann:
            await until(lambda: len(server.room.members()) == 1)
            await ann.send(said("hello"))
            assert (await heard(ann))["content"] == "hello"
            assert repr(server) == f"<Server handler at {server.url}, 1 in the pool, no errors>"
    finally:
        await server.stop()


@pytest.mark.real
@pytest.mark.slow
def test_it_is_measured():
    result = bench.measure(handler, clients=3, in_flight=1, warm_up=0.1, seconds=0.3)
    assert result.deliveries_per_second > 0


@pytest.fixture
def file(tmp_path):
    (tmp_path / "mine.py").write_text(FILE)
    return tmp_path / "mine.py"


@pytest.mark.real
def test_it_is_served_from_a_file(file):
    async def talk(url):
        async with joining(url) as ann:
            await ann.send(said("hello"))
            return (await heard(ann))["content"]

    with serving(f"{file}:handler") as server:
        assert asyncio.run(talk(server.url)) == "hello"


def told(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "chatroom_lib", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["handler", "make_room"])
def test_it_is_checked_from_a_file_and_so_is_what_a_function_makes(file, name):
    result = told("check", f"{file}:{name}", "--seeds", 1, "--json")
    scores = json.loads(result.stdout)["guarantees"]
    assert result.returncode == 0 and scores["delivery"]["broken"] == 0 < scores["delivery"]["kept"]


# ---------------------------------------------------------------- what is none


async def old(websocket, path):
    pass


async def nobody():
    pass


async def with_a_database(websocket, *, database):
    pass


def not_async(websocket):
    pass


def makes_a_coroutine():
    return nobody()


class Sized(App):
    def __init__(self, size):
        super().__init__()


WRONG = {
    "two arguments": (old, r"old is not a handler: it takes two .* write async def old\(websocket\), and websocket.re"),
    "no argument": (
        nobody,
        r"nobody is not a handler: it is async and takes no argument; a handler is async def nobody\(we",
    ),
    "more than a connection": (
        with_a_database,
        r"required argument: 'database'; .* functools.partial\(with_a_database",
    ),
    "a method of a class": (App.meet, r"meet is not a handler: it is a method of a class; .* = Chat\(\).meet"),
    "not async": (not_async, r"argument: 'websocket'; .* a handler is async: async def not_async\(websocket\)"),
    "a class with arguments": (Sized, r"argument: 'size'; try a function that makes one: lambda: Sized\(\.\.\.\)"),
}


@pytest.mark.parametrize("thing, problem", WRONG.values(), ids=WRONG)
def test_what_is_no_handler_is_told_what_to_write(thing, problem):
    for way in (lambda: simulate(thing, meeting), lambda: check(thing, seeds=1, progress=False)):
        with pytest.raises(rooms.RoomError, match=problem) as caught:
            way()
        assert "\n" not in str(caught.value)


def test_a_function_that_makes_a_coroutine_is_told_so():
    for way in (
        lambda: simulate(makes_a_coroutine, meeting),
        lambda: check(makes_a_coroutine, seeds=1, progress=False),
    ):
        with pytest.raises(rooms.RoomError, match="what makes_a_coroutine makes is a coroutine: .* must not be async"):
            way()


def test_a_function_that_makes_a_room_and_is_taken_for_a_handler_is_told_so():
    async def make_room(size=3):
        return rooms.create("v1")

    assert str(simulate(make_room, meeting).errors[0]) == (
        "make_room makes a room, and is taken for a handler since it is async: write def make_room()"
    )


IN_A_FILE = {
    "old": "old in .* is not a handler: it takes two arguments",
    "not_async": r"argument: 'websocket'; .* async def not_async\(websocket\)",
    "Sized": r"argument: 'size'; try a function that makes one: def make_room\(\): return Sized\(\.\.\.\), in that f",
    "room": "room in .* is one room; name its class, or a function",
    "handlr": "no class 'handlr' in .*, nor a function",
}


@pytest.mark.parametrize("name", IN_A_FILE)
def test_in_a_file_too(file, name):
    with pytest.raises(rooms.RoomError, match=IN_A_FILE[name]):
        simulate(f"{file}:{name}", meeting)
    with pytest.raises(rooms.RoomError, match=IN_A_FILE[name]):
        check(f"{file}:{name}", seeds=1, progress=False)
