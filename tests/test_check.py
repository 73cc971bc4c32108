"""check(): every room is judged, none is suffered, and the same seeds give the same scorecard everywhere."""

import asyncio
import contextlib
import itertools
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from functools import partial

import pytest
from websockets.asyncio.server import broadcast
from websockets.exceptions import ConnectionClosed

from chatroom_lib import Scenario, check, compare, frozen, listener, rooms, simulate, slow_reader, talker
from chatroom_lib.checker.guarantees import GROUPS, GUARANTEES, judge
from chatroom_lib.checker.scenarios import SCENARIOS, needs_many_servers, needs_path
from chatroom_lib.reference_rooms import REFERENCE_ROOMS
from chatroom_lib.rooms import v1, v3
from chatroom_lib.rooms.requirements import takes
from chatroom_lib.runtime.console import usable_cores
from tests.helpers import STORM, is_alive

two = {"two": Scenario([talker("Ann", says=3), listener("Bob")], duration=30)}
quiet = partial(check, progress=False)


with_the_card = pytest.mark.xdist_group("v1.1")  # one process has it, and all tests that use it


@pytest.fixture(scope="module")
def v1_1():
    return quiet("v1.1", seeds=4)


# ---------------------------------------------------------------- what each version breaks

# not tested with rooms without a path
OF_A_HISTORY = {name for name, group in GROUPS.items() if group == "history"}
PRESENCE = {name for name, group in GROUPS.items() if group == "presence"}  # nor these with rooms that ping nobody
WITHOUT_PATH = {*GUARANTEES} - OF_A_HISTORY - PRESENCE
BROKEN = {
    "v1": {"delivery", "total-order", "prompt-join", "no-head-of-line-blocking", "no-leak", "rate-limit"},
    "v1.1": WITHOUT_PATH - {"at-most-once", "total-order", "admission", "no-crash"},
    "v2": {  # its delay keeps a flood away
        *("delivery", "admission", "prompt-join", "no-head-of-line-blocking", "no-leak", "bounded-memory"),
    },
    "v2-rw": WITHOUT_PATH - {"at-most-once", "total-order", "no-false-eviction", "no-crash"},
    "v3": {"delivery", "admission", "prompt-join", "no-head-of-line-blocking", "recovery", "no-leak", "rate-limit"},
    "v3.1": {"delivery", "rate-limit"},
    "v3.2": {"delivery", "rate-limit"},
    "v4": set(),
    "v5": {"delivery", "said-once", "return"},
    "v6": {"delivery", "return"},
    "v7": {"return"},
    "v8": set(),
    "v9": set(),
    "v9.1": set(),
    "FastAPIManager": {
        *("delivery", "total-order", "no-false-eviction", "no-head-of-line-blocking", "no-leak", "rate-limit"),
        "noticed",
    },
    "WebsocketsBroadcast": {"bounded-memory", "rate-limit", "noticed"},
    "UnboundedQueues": {"bounded-memory", "rate-limit"},
    "GorillaHub": {"rate-limit"},
    "BoundedBroadcast": {"noticed"},
    "AckAtOnce": {"delivery", "kept", "return"},
    "CommitBehind": {"delivery", "kept", "one-history", "return"},
    "SyncNormal": {"delivery", "kept", "one-history", "return"},
    "ReplayThenJoin": {"at-most-once", "said-once", "no-gap", "in-order"},
    "JoinThenReplay": {"at-most-once", "said-once", "in-order"},
    "CatchUpToAll": {"at-most-once", "in-order"},
    "LocalFirst": {"delivery", "at-most-once", "total-order", "kept", "one-history"},
    "RelayCore": {"delivery", "total-order", "answered", "isolation", "noticed"},
}
SEEDS = {
    "v1": 3,
    "v1.1": 3,
    "FastAPIManager": 3,
    "ReplayThenJoin": 4,
    "JoinThenReplay": 4,
    "CatchUpToAll": 4,
    "LocalFirst": 2,
    "RelayCore": 2,
}  # which show all that it breaks; of the others one does
PING = {"v8", "v9", "v9.1", "RelayCore", "FastAPIManager", "WebsocketsBroadcast", "BoundedBroadcast"}
OBVIOUS = "AckAtOnce", "CommitBehind", "SyncNormal", "LocalFirst"
UNTESTED = {
    "FastAPIManager": {"recovery"},  # when somebody dies, nobody else is left
    **{name: {"no-gap", "in-order", "catch-up"} for name in (*("v5", "v6"), *OBVIOUS)},
    "RelayCore": {"kept", "one-history", "said-once", "no-gap", "in-order", "catch-up"},
}


@pytest.mark.parametrize("room", [*rooms.VERSIONS, *REFERENCE_ROOMS])
def test_every_room_breaks_what_its_docstring_says_and_nothing_else(room):
    seeds = SEEDS.get(room, 1)
    some = {name: each for name, each in SCENARIOS.items() if seeds == 1 or name != STORM}
    factory = rooms.resolve(REFERENCE_ROOMS.get(room, room))
    card = quiet(REFERENCE_ROOMS.get(room, room), seeds=seeds, scenarios=some)
    assert set(card.broken) == BROKEN[room]
    without = set() if takes(factory, "path") or takes(factory, "nats") else OF_A_HISTORY
    without = without if room in PING else without | PRESENCE
    without = without if takes(factory, "nats") else without | {"isolation"}
    assert set(card.untested) == without | UNTESTED.get(room, set()) and card.failed == {}
    assert set(card.kept) == {*GUARANTEES} - BROKEN[room] - set(card.untested)


def test_each_scenario_is_as_long_as_it_needs_to_be():
    for name, scenario in SCENARIOS.items():
        # the slowest of all, and one in which nobody waits
        if needs_many_servers(scenario):
            continue  # whoever looks at a shared log now and then is never at rest
        for room in ("v6", "v7") if needs_path(scenario) else ("v2", "v3.1"):
            assert simulate(room, scenario, seed=1).ending == "quiescent", (room, name)


# ---------------------------------------------------------------- the same seeds, the same scorecard

SET_ROOM = """
from websockets.exceptions import ConnectionClosed

class SetRoom:
    def __init__(self):
        self.people = set()
    async def __aenter__(self):
        return self
    async def __aexit__(self, *exc):
        pass
    async def handle(self, connection):
        self.people.add(connection)
        try:
            async for frame in connection:
                for other in self.people.copy():
                    await other.send(frame)
        except ConnectionClosed:
            pass
        finally:
            self.people.discard(connection)
    def members(self):
        return self.people
"""


@pytest.mark.slow
@pytest.mark.parametrize("room", ["v1.1", "set_room.py:SetRoom"])
def test_two_processes_with_different_hash_seeds_agree(room, tmp_path):
    (tmp_path / "set_room.py").write_text(SET_ROOM)

    def card(hash_seed: str) -> str:
        command = [sys.executable, "-m", "chatroom_lib", "check", room, "--seeds", "1", "--json"]
        options = dict(env={**os.environ, "PYTHONHASHSEED": hash_seed}, cwd=tmp_path, timeout=100)
        return subprocess.run(command, capture_output=True, text=True, check=True, **options).stdout

    first, second = card("1"), card("4711")
    assert first == second and json.loads(first)["room"] == room


@with_the_card
@pytest.mark.slow
def test_more_seeds_change_nothing_about_the_first_ones_nor_do_more_processes(v1_1):
    some = {name: SCENARIOS[name] for name in ("healthy", "churn", "frozen then dies", "mass leave")}
    fewer = quiet("v1.1", seeds=3, scenarios=some, processes=1)
    for key, score in fewer.cells.items():
        assert score.first_seed == (v1_1.cells[key].first_seed if (v1_1.cells[key].first_seed or 0) < 3 else None)
    assert fewer == quiet("v1.1", seeds=3, scenarios=some, processes=3)


# ---------------------------------------------------------------- the scorecard


@with_the_card
def test_the_counts_add_up(v1_1):
    for (_, scenario), score in [*v1_1.cells.items(), *(((name, None), score) for name, score in v1_1.scores.items())]:
        assert score.kept + score.broken == score.tested <= 4
        assert (score.first_seed is None) == (score.evidence is None) == (score.broken == 0)
        assert scenario is None or score.scenario in (None, scenario)
    for guarantee, score in v1_1.scores.items():
        cells = [v1_1.cells[guarantee, scenario] for scenario in SCENARIOS]
        assert max(cell.broken for cell in cells) <= score.broken <= sum(cell.broken for cell in cells)


@with_the_card
def test_as_a_dictionary_it_is_json_with_what_the_contract_names(v1_1):
    document = json.loads(json.dumps(v1_1.as_dict()))
    assert document["room"] == "v1.1" and document["seeds"] == 4
    assert list(document["guarantees"]) == list(GUARANTEES)
    assert {"tested", "kept", "broken", "first_seed", "scenario"} <= set(document["guarantees"]["delivery"])


@with_the_card
@pytest.mark.parametrize("guarantee", ["delivery", "prompt-join", "no-false-eviction", "no-leak", "rate-limit"])
def test_replay_shows_the_run_that_the_evidence_is_from(v1_1, guarantee):
    trace = v1_1.replay(guarantee)
    score = v1_1.scores[guarantee]
    assert trace.seed == score.first_seed and judge(trace)[guarantee].evidence == score.evidence


@with_the_card
def test_replay_takes_a_scenario(v1_1):
    trace = v1_1.replay("no-head-of-line-blocking", "slow reader")
    assert judge(trace)["no-head-of-line-blocking"].evidence == (
        v1_1.cells["no-head-of-line-blocking", "slow reader"].evidence
    )


@with_the_card
@pytest.mark.parametrize(
    "guarantee, scenario, problem",
    [
        ("at-most-once", None, "was kept with all 4 seeds"),
        ("recovery", "healthy", "could not be tested"),
        ("no-such-thing", None, "no guarantee 'no-such-thing': there are delivery"),
        ("delivery", "no such day", "no scenario 'no such day': there are healthy"),
    ],
)
def test_a_run_that_is_not_there_is_said_to_be_so(v1_1, guarantee, scenario, problem):
    with pytest.raises(ValueError, match=problem):
        v1_1.replay(guarantee, scenario)


@with_the_card
def test_the_shortest_run_cannot_be_made_shorter(v1_1):
    trace = v1_1.shortest("no-false-eviction")
    assert judge(trace)["no-false-eviction"].kept is False
    assert trace.names == ["Bob", "Cy"] and len(trace.of("said")) == 4  # 2 fill the buffers, and 2 wait
    fewer = [talker("Cy", says=3, every=1.5, size=4000), next(c for c in trace.clients if c.name == "Bob")]
    for seed in range(30):
        runs = [simulate("v1.1", Scenario(people, 300), seed) for people in (fewer, fewer[::-1])]
        assert all(judge(run)["no-false-eviction"].kept for run in runs)


@with_the_card
def test_it_shows_how_far_it_is(v1_1, monkeypatch):
    shown = []

    @contextlib.contextmanager
    def bar(title, total, unit="runs"):
        yield lambda done: shown.append((title, done, total))

    monkeypatch.setattr("chatroom_lib.checker.shrink.progress_bar", bar)
    v1_1.shortest("no-false-eviction")
    titles, done, totals = zip(*shown)
    assert {*titles} == {"v1.1, the shortest run"} and list(done) == sorted(done)
    assert {*totals} == {done[-1] + 2 + 4}  # two people and four messages are left


def test_a_shortest_run_may_be_that_of_people_who_type():
    card = quiet("v3.2", seeds=1)
    trace = card.shortest("rate-limit")
    assert len(trace.clients) <= 2 and len(trace.of("refused", who="Pat")) >= 1


@pytest.mark.slow
def test_the_shortest_run_is_looked_for_where_it_can_do_no_harm():
    class Lonely(Simple):
        async def pass_on(self, frame):
            while len(self.connections) < 2:  # for ever
                pass
            await super().pass_on(frame)
            await super().pass_on(frame)

    people = [talker("Ann", says=3), listener("Bob"), listener("Cy")]
    card = quiet(Lonely, seeds=1, scenarios={"three": Scenario(people, duration=30)}, time_limit=1)
    trace = card.shortest("at-most-once")
    assert len(trace.clients) == 2 and len(trace.of("said")) == 1


def test_a_run_that_cannot_be_repeated_is_not_shown(monkeypatch):
    class Moody(Simple):
        async def pass_on(self, frame):
            for _ in range(1 if os.environ.get("MOOD") else 2):
                await super().pass_on(frame)

    card = quiet(Moody, seeds=1, scenarios=two)
    monkeypatch.setenv("MOOD", "good")
    with pytest.raises(ValueError, match="does not do the same again"):
        card.replay("at-most-once")


def test_a_run_leaves_nothing_to_the_next_one():
    class Shared(Simple):
        pool = []

        def __init__(self):
            self.connections = self.pool

        async def handle(self, connection):
            self.pool.append(connection)
            async for frame in connection:
                await self.pass_on(frame)

    one, three = (quiet(Shared, seeds=6, scenarios=two, processes=number) for number in (1, 3))
    assert one == three and one.broken == {}


@with_the_card
def test_the_tables_name_every_guarantee_and_say_why(v1_1):
    text, html = repr(v1_1), v1_1._repr_html_()
    for name in WITHOUT_PATH:
        assert name in text and f">{name}</th>" in html
    assert "not tested: history (" in text and "<b>not tested</b>: history (" in html
    assert v1_1.scores["delivery"].evidence in " ".join(text.split())
    assert "\x1b" not in text and max(map(len, text.splitlines())) <= 110


def test_a_room_cannot_put_html_into_the_table():
    class Vandal(v1.Room):
        async def handle(self, connection):
            raise ValueError("<img src=x onerror=alert(1)>")

    Vandal.__name__ = "<script>"
    html = quiet(Vandal, seeds=1, scenarios=two)._repr_html_()
    assert "<script" not in html and "<img" not in html and "&lt;img" in html


@with_the_card
def test_cards_stand_side_by_side(v1_1):
    other = quiet("v3.1", seeds=4, scenarios={"healthy": SCENARIOS["healthy"]})
    grid = compare(v1_1, other)
    assert grid.columns == ["v1.1", "v3.1"] and [score.mark for score in grid.rows["delivery"]] == ["4", "\u2713"]
    assert "v3.1" in repr(grid) and "v3.1" in grid._repr_html_()
    with pytest.raises(ValueError, match="same number of seeds"):
        compare(v1_1, quiet("v1", seeds=1, scenarios=two))
    with pytest.raises(TypeError, match=r"compare\(\) takes cards, .* not 'v1'"):
        compare("v1", "v2")


# ---------------------------------------------------------------- rooms that the project has not seen


class Simple(v1.Room):
    """A plain and correct room for those who read."""

    async def handle(self, connection):
        self.connections.append(connection)
        try:
            async for frame in connection:
                await self.pass_on(frame)
        except ConnectionClosed:
            pass
        finally:
            self.connections.remove(connection)

    async def pass_on(self, frame):
        for connection in list(self.connections):
            with contextlib.suppress(ConnectionClosed):
                await connection.send(frame)


def test_a_room_with_notices_a_welcome_and_a_heartbeat_is_not_blamed_for_them():
    class Talkative(Simple):
        async def handle(self, connection):
            await connection.send('{"token": "chatroom", "content": "welcome"}')
            await self.pass_on('{"token": "chatroom", "content": "somebody has come"}')
            beat = asyncio.create_task(self.beat(connection))
            try:
                await super().handle(connection)
            finally:
                beat.cancel()

        async def beat(self, connection):
            while True:
                await asyncio.sleep(5)
                with contextlib.suppress(ConnectionClosed):
                    await connection.send('{"token": "chatroom", "content": "still here"}')

    healthy = {name: SCENARIOS[name] for name in ("healthy", "churn", "late joiner", "stillborn", "mass leave")}
    assert quiet(Talkative, seeds=4, scenarios=healthy).broken == {}


@pytest.mark.slow
def test_a_room_that_gives_up_on_the_slow_after_a_time():
    class Impatient(Simple):
        async def pass_on(self, frame):
            await asyncio.gather(*(self.send(connection, frame) for connection in list(self.connections)))

        async def send(self, connection, frame):
            try:
                async with asyncio.timeout(0.5):
                    await connection.send(frame)
            except TimeoutError:
                connection.transport.abort()
            except ConnectionClosed:
                pass

    assert set(quiet(Impatient, seeds=3).broken) <= {"rate-limit", "total-order", "no-false-alarm"}


def test_frames_that_are_no_messages_are_nothing_heard():
    class Babbles(Simple):
        async def pass_on(self, frame):
            await super().pass_on("hello")

    card = quiet(Babbles, seeds=1, scenarios=two)
    assert "; it got 'hello', which is no " in card.scores["delivery"].evidence
    assert not card.scores["at-most-once"].tested


# ---------------------------------------------------------------- rooms that are judged, not suffered


class Raises(Simple):
    async def pass_on(self, frame):
        raise LookupError("on purpose")


class Exits(Simple):
    async def pass_on(self, frame):
        sys.exit(3)


class Interrupts(Simple):
    async def pass_on(self, frame):
        raise KeyboardInterrupt


class Hangs(Simple):
    async def pass_on(self, frame):
        await asyncio.get_running_loop().create_future()


class NeverStarts(Simple):
    async def __aenter__(self):
        await asyncio.get_running_loop().create_future()


class NeverRests(Simple):
    async def handle(self, connection):
        while True:
            await asyncio.sleep(0)


class BlocksTheEventLoop(Simple):
    async def pass_on(self, frame):
        while True:
            pass


class WaitsForReal(Simple):
    async def pass_on(self, frame):
        threading.Event().wait(3600)


class NeverEndsItsOwnMaking(Simple):
    def __init__(self):
        super().__init__()
        while True:
            pass


class CannotBeStopped(Simple):
    async def pass_on(self, frame):
        while True:
            try:
                while True:
                    pass
            except BaseException:
                pass


class EndsItsProcess(Simple):
    async def pass_on(self, frame):
        os._exit(3)


class KillsItsProcess(Simple):
    async def pass_on(self, frame):
        os.kill(os.getpid(), 9)


class FillsTheMemory(Simple):
    async def pass_on(self, frame):
        self.much = bytearray(1 << 40)


class ListsNames(Simple):
    def members(self):
        return ["Ann"]


class CannotList(Simple):
    def members(self):
        raise LookupError("no list")


JUDGED = {
    Raises: "LookupError: on purpose",
    Exits: "SystemExit: 3",
    Interrupts: "KeyboardInterrupt",
    NeverStarts: "the room does not start: NeverStarts.__aenter__ does not return",
    NeverRests: "the room never becomes quiescent",
    BlocksTheEventLoop: "the room blocks the event loop: BlocksTheEventLoop.pass_on, line",
    WaitsForReal: "the room blocks the event loop: WaitsForReal.pass_on, line",
    NeverEndsItsOwnMaking: "the room blocks the event loop: NeverEndsItsOwnMaking.__init__, line",
    CannotBeStopped: "the room blocks the event loop: CannotBeStopped.pass_on, line",
    EndsItsProcess: "the room ended its process (exit code 3)",
    KillsItsProcess: "the room ended its process (SIGKILL)",
    FillsTheMemory: "MemoryError",
    ListsNames: "members() must list connections, and one of its items is 'Ann'",
    CannotList: "members() must list connections, and raised LookupError: no list",
}


@pytest.mark.parametrize("room", JUDGED, ids=lambda room: room.__name__)
def test_a_room_that_does_its_worst_is_judged(room, monkeypatch):
    monkeypatch.setattr(
        "chatroom_lib.checker.worker.CHECK_INTERVAL", 0.3
    )  # seconds; less may be a busy machine's fault
    card = quiet(room, seeds=1, scenarios=two)
    assert JUDGED[room] in card.scores["no-crash"].evidence
    assert not card.scores["at-most-once"].tested or room in (CannotList, ListsNames)


class ExitRaises(Simple):
    async def __aexit__(self, *exc):
        raise LookupError("on purpose")


class ExitWaits(Simple):
    async def __aexit__(self, *exc):
        await asyncio.get_running_loop().create_future()


class ExitIgnores(Simple):
    async def __aexit__(self, *exc):
        while True:
            await asyncio.sleep(0)


class ExitBlocks(Simple):
    async def __aexit__(self, *exc):
        while True:
            pass


class ExitIsNoCoroutine(Simple):
    def __aexit__(self, *exc):
        pass


EXITS = {
    ExitRaises: "LookupError: on purpose",
    ExitWaits: "RuntimeError: it does not return within 15 s",
    ExitIgnores: "RuntimeError: it does not return within 15 s",
    ExitBlocks: "BlocksTheEventLoop: the room blocks the event loop: ExitBlocks.__aexit__, line",
    ExitIsNoCoroutine: "TypeError: object NoneType can't be used in 'await' expression",
}


@pytest.mark.parametrize("room", EXITS, ids=lambda room: room.__name__)
def test_a_room_that_cannot_be_stopped_is_judged(room, monkeypatch):
    monkeypatch.setattr("chatroom_lib.checker.worker.CHECK_INTERVAL", 0.3)
    card = quiet(room, seeds=2, scenarios=two)
    says = f"when the room is stopped, its __aexit__ fails: {EXITS[room]}"
    assert card.scores["no-crash"].evidence.startswith(says) and list(card.broken) == ["no-crash"]
    assert card.scores["no-crash"].broken == (1 if room is ExitBlocks else 2)  # one that blocks is tried no further


def test_tasks_that_go_on_when_the_room_has_been_stopped_are_a_leak():
    class Leaves(Simple):
        async def __aenter__(self):
            self.ticks = [asyncio.create_task(self.tick()) for _ in range(3)]

        async def tick(self):
            while True:
                await asyncio.sleep(1)

    class Stops(Leaves):
        async def __aexit__(self, *exc):
            for tick in self.ticks:
                tick.cancel()  # and it ends a moment later

    evidence = quiet(Leaves, seeds=1, scenarios=two).scores["no-leak"].evidence
    assert evidence.startswith("when the room is stopped, its __aexit__ leaves tasks: ")
    assert evidence.endswith("Leaves.tick") and quiet(Stops, seeds=1, scenarios=two).broken == {}


@pytest.mark.slow
def test_a_run_that_hears_no_signal_is_ended_with_its_process():
    class Deep(Simple):
        async def pass_on(self, frame):
            sum(itertools.repeat(0))  # no Python code runs in there

    assert "the run did not end in 1 s" in quiet(Deep, seeds=1, scenarios=two, time_limit=1).scores["no-crash"].evidence


def test_a_room_that_waits_for_ever_delivers_nothing():
    card = quiet(Hangs, seeds=2, scenarios=two)
    assert card.scores["delivery"].broken == 2 and card.kept == ["no-false-eviction", "no-crash", "admission"]


def test_a_scenario_is_tried_no_further_once_a_run_has_failed_and_the_others_are():
    def hazard(chance):
        name = "Bomb" if chance.random() < 0.3 else "Ann"
        return Scenario([talker(name, says=1), listener("Bob")], duration=30)

    class Explodes(Simple):
        async def pass_on(self, frame):
            if "Bomb" in frame:
                os._exit(7)
            await super().pass_on(frame)

    first = next(seed for seed in range(99) if random.Random(seed).random() < 0.3)
    card = quiet(Explodes, seeds=first + 20, scenarios={"hazard": hazard, **two}, processes=2)
    assert card.failed == {"hazard": first}
    assert card.cells["delivery", "hazard"].kept == first and card.cells["delivery", "two"].kept == first + 20
    assert card.cells["no-crash", "hazard"].first_seed == first
    with pytest.raises(
        ValueError, match=r"nothing to show: the run failed: the room ended its process \(exit code 7\)"
    ):
        card.replay("no-crash")


def test_a_room_may_print_and_leave_threads_and_processes_behind(capfd, tmp_path):
    class Untidy(Simple):
        async def pass_on(self, frame):
            print("x" * 100_000, flush=True)
            os.write(1, b"y" * 1000)
            child = subprocess.Popen(["sleep", "600"])
            with open(tmp_path / "children", "a") as children:
                children.write(f"{child.pid}\n")
            await super().pass_on(frame)

    assert quiet(Untidy, seeds=1, scenarios=two).broken == {}
    assert capfd.readouterr() == ("", "")
    for pid in map(int, (tmp_path / "children").read_text().split()):
        for _ in range(50):
            if not is_alive(pid):
                break
            time.sleep(0.1)
        assert not is_alive(pid)


def test_no_process_is_left_behind_when_a_check_is_interrupted(monkeypatch):
    from chatroom_lib.checker import worker

    started = []
    start = worker.Worker.start

    def noted_start(self):
        start(self)
        started.append(self.process.pid)

    def interrupted(running, timeout):
        while not started:
            time.sleep(0.05)
        raise KeyboardInterrupt

    monkeypatch.setattr(worker.Worker, "start", noted_start)
    monkeypatch.setattr("chatroom_lib.checker.check.wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        quiet("v1", seeds=1000)
    assert not any(is_alive(pid) for pid in started)


# ---------------------------------------------------------------- how a room gets there


def test_a_room_may_be_a_version_a_class_a_function_a_partial_or_a_file(tmp_path):
    (tmp_path / "mine.py").write_text(SET_ROOM)
    path = f"{tmp_path}/mine.py:SetRoom"
    small = 2
    makers = {
        "v3": "v3",
        "Room": type("Room", (v3.Room,), {}),
        "v3.1": lambda: rooms.resolve("v3.1")(outbox_size=small),
        "v3.2": partial(rooms.resolve("v3.2"), outbox_size=2),
        path: path,
        "SetRoom": rooms.resolve(path),
    }
    for name, maker in makers.items():
        card = quiet(maker, seeds=1, scenarios=two)
        assert card.room == name and card.broken == {}, name


@pytest.mark.parametrize(
    "room, problem",
    [
        ("v99", "no room 'v99'"),
        ("nowhere.py:Room", "no file nowhere.py"),
        (v1.Room(), "each run needs a new room"),
        (42, "each run needs a new room"),
        (dict, "dict is not a room: it lacks"),
        (type("Sized", (v1.Room,), {"__init__": lambda self, size: None}), "missing a required argument: 'size'"),
    ],
)
def test_what_is_no_room_is_said_to_be_none(room, problem):
    with pytest.raises(rooms.RoomError, match=problem):
        quiet(room, seeds=1)


def test_a_room_that_holds_what_cannot_be_sent_is_told_so():
    lock = threading.Lock()

    class Holds(v1.Room):
        def members(self):
            with lock:
                return super().members()

    with pytest.raises(rooms.RoomError, match="Holds cannot be sent to another process"):
        quiet(Holds, seeds=1)


@pytest.mark.parametrize(
    "wrong, problem",
    [
        ({"churn": "churn"}, "'churn': a scenario must be a Scenario, or a function .* not 'churn'; those of check"),
        ({"mine": [talker("Ann")]}, "'mine': a scenario must be .* not .Client"),
        (["churn"], "scenarios must be a dictionary"),
        (
            {"mine": lambda chance: Scenario([talker("Ann", say=3)])},
            "'mine' .* seed 0: TypeError: .*say",
        ),
        (
            {"mine": lambda chance: [talker("Ann")]},
            "'mine' .* seed 0: TypeError: .* return a Scenario",
        ),
        (
            {"mine": lambda: Scenario([])},
            "'mine' .* seed 0: TypeError: .*takes 0 positional arguments",
        ),
    ],
)
def test_what_is_no_scenario_is_not_put_down_to_the_room(wrong, problem):
    with pytest.raises(TypeError, match=problem):
        quiet("v4", seeds=3, scenarios={**two, **wrong} if isinstance(wrong, dict) else wrong)


def test_a_scenario_that_cannot_be_made_with_a_later_seed_is_not_put_down_to_the_room():
    def rare(chance):
        return Scenario([talker("Ann", says=1 if chance.random() > 0.1 else -1)])

    first = next(seed for seed in range(99) if random.Random(seed).random() <= 0.1)
    with pytest.raises(ValueError, match=f"'rare' cannot be made with seed {first}: ValueError: Ann: times, counts"):
        quiet("v4", seeds=first + 1, scenarios={"rare": rare}, processes=2)


def test_a_scenario_that_is_never_made_is_not_put_down_to_the_room(monkeypatch):
    def endless(chance):
        while True:
            pass

    monkeypatch.setattr("chatroom_lib.checker.worker.LOADING_INTERVAL", 0.1)
    with pytest.raises(ValueError, match="'endless' cannot be made: it does not return"):
        quiet("v4", seeds=1, scenarios={"endless": endless})


@pytest.mark.parametrize("wrong", [dict(seeds=0), dict(seeds=-1), dict(seeds=2.5), dict(scenarios={})])
def test_nothing_to_do_is_an_error(wrong):
    with pytest.raises(ValueError):
        quiet("v1", **wrong)


def test_it_uses_the_cores_that_it_may_use():
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


@pytest.mark.slow
def test_it_works_in_a_cell_and_shows_how_far_it_is_and_nothing_of_it_remains(tmp_path):
    import nbformat
    from nbclient import NotebookClient

    source = 'from chatroom_lib import check\ncheck("v3.1", seeds=1)'
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    NotebookClient(notebook, timeout=100, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    bar, card = notebook.cells[0].outputs
    assert bar.data["text/html"] == "" and "no-head-of-line-blocking" in card.data["text/html"]


def test_frozen_people_and_their_deaths_are_in_the_scenarios():
    people = [client for scenario in SCENARIOS.values() for client in scenario(random.Random(0)).clients]
    assert any(client == frozen("Bob") for client in people) and len(SCENARIOS) == 24


# ---------------------------------------------------------------- an adversary, and runs that take very long


@pytest.mark.slow
def test_an_adversary_runs_tasks_in_any_order_and_the_card_says_so(monkeypatch):
    monkeypatch.setattr("chatroom_lib.checker.shrink.TRIES", 2)
    both = [talker(name, says=10, every=0.02, size=4000) for name in ("Ann", "Di")]
    slow = {"slow": Scenario([*both, slow_reader("Bob", pause=0.02), listener("Cy")], duration=60)}
    card = quiet("v1.1", seeds=3, schedule="any", scenarios=slow)
    assert card.scores["total-order"].broken and "v1.1, tasks in any order, 3 seeds" in repr(card)
    assert judge(card.replay("total-order"))["total-order"].evidence == card.scores["total-order"].evidence
    assert card.shortest("total-order").schedule == "any"
    assert card.as_dict()["schedule"] == "any"
    assert not quiet("v1.1", seeds=3, scenarios=slow).scores["total-order"].broken


def test_the_limit_of_memory_can_be_set():
    class Heavy(Simple):
        def __init__(self):
            super().__init__()
            self.weight = bytearray(100 << 20)

    light, heavy = (quiet(Heavy, seeds=1, scenarios=two, memory_limit=size << 20) for size in (50, 500))
    assert "MemoryError" in light.scores["no-crash"].evidence and heavy.broken == {}


@pytest.mark.parametrize("limits", [{"time_limit": 0}, {"time_limit": float("nan")}, {"memory_limit": 0}])
def test_a_limit_that_is_none_is_an_error(limits):
    with pytest.raises(ValueError, match="must be above 0"):
        quiet("v1", seeds=1, **limits)


def test_a_schedule_that_there_is_not_is_an_error():
    with pytest.raises(ValueError, match="schedule must be"):
        quiet("v1", seeds=1, schedule="lifo")


def test_a_run_in_which_very_much_happens_is_cut_short_and_not_judged(monkeypatch):
    monkeypatch.setattr("chatroom_lib.checker.worker.CHECK_INTERVAL", 0.1)

    class Polls(Simple):
        async def handle(self, connection):
            polling = asyncio.create_task(self.poll())
            try:
                await super().handle(connection)
            finally:
                polling.cancel()

        async def poll(self):
            while True:
                await asyncio.sleep(1e-5)

    hour = {"an hour": Scenario([talker("Ann", says=3), listener("Bob")], duration=3600)}
    card = quiet(Polls, seeds=1, scenarios=hour, time_limit=2)
    assert card.broken == {} and card.kept == [] and card.failed == {"an hour": 0}


def test_who_is_late_because_the_room_blocks_the_event_loop_is_told_where():
    class Sleeps(Simple):
        async def pass_on(self, frame):
            time.sleep(1.5)
            await super().pass_on(frame)

    evidence = quiet(Sleeps, seeds=1).scores["no-head-of-line-blocking"].evidence
    line = Sleeps.pass_on.__code__.co_firstlineno + 1
    assert "; the room blocked the event loop for 1.5 s in " in evidence and f"Sleeps.pass_on, line {line}" in evidence


# ---------------------------------------------------------------- who is to blame


class Moderated(Simple):
    """Everything comes 2 s late, whoever reads."""

    async def pass_on(self, frame):
        await asyncio.sleep(2)
        broadcast(self.connections, frame)


class LateAtTheDoor(Simple):
    """It waits for those who do not read, and blocks the event loop whenever somebody joins."""

    async def handle(self, connection):
        time.sleep(1.5)
        await super().handle(connection)


TOO_LATE = r"\w+ (never heard \w+ \d+, said at [\d.]+ s|heard \w+ \d+ after [\d.]+ s), "
BLAME = {  # room -> whom the evidence blames
    Moderated: "also when everybody reads",
    Simple: "while Bob did not read",
    LateAtTheDoor: "while Bob did not read",
}


@pytest.mark.parametrize("room", BLAME)
def test_a_reader_is_blamed_only_for_what_is_late_with_them_alone(room):
    card = quiet(room, seeds=2, scenarios={name: SCENARIOS[name] for name in ("frozen reader", "frozen then dies")})
    for scenario in card.scenarios:
        score = card.cells["no-head-of-line-blocking", scenario]
        assert score.broken == 2 and re.fullmatch(TOO_LATE + BLAME[room], score.evidence)


@pytest.mark.slow
def test_who_is_blamed_does_not_depend_on_the_number_of_processes_nor_on_one_that_ends():
    class EndsItsProcess(Moderated):
        async def pass_on(self, frame):
            if "Zoe" in frame:
                os._exit(1)
            await super().pass_on(frame)

    day = {"frozen reader": SCENARIOS["frozen reader"], "Zoe": Scenario([talker("Zoe", says=1)], duration=30)}
    cards = [quiet(EndsItsProcess, seeds=2, scenarios=day, processes=number) for number in (1, 3)]
    assert cards[0] == cards[1] and cards[0].failed == {"Zoe": 0}
    assert "everybody reads" in cards[0].scores["no-head-of-line-blocking"].evidence


@pytest.mark.slow
def test_a_comparison_that_does_not_end_changes_no_verdict(monkeypatch):
    class SpinsIfAllRead(Simple):
        async def pass_on(self, frame):
            await super().pass_on(frame)
            self.passed_on = getattr(self, "passed_on", 0) + 1
            while self.passed_on > 60:  # so many are passed on only if Bob reads
                try:
                    while True:
                        pass
                except BaseException:
                    pass

    monkeypatch.setattr("chatroom_lib.checker.worker.CHECK_INTERVAL", 0.1)
    card = quiet(SpinsIfAllRead, seeds=2, scenarios={"frozen reader": SCENARIOS["frozen reader"]}, processes=1)
    assert card.failed == {} and card.scores["no-crash"].kept == 2
    assert "while Bob did not read" in card.scores["no-head-of-line-blocking"].evidence
