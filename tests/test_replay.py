"""A run behind a card is repeated where it took place, and its Trace comes back whole."""

import contextlib
import json
import os
import subprocess
import sys
from functools import partial

import pytest

from chatroom_lib import Scenario, check, frozen, listener, simulate, slow_reader, talker, vanishing
from chatroom_lib.checker.guarantees import judge
from chatroom_lib.checker.outcome import BadReply, as_trace
from chatroom_lib.clients.scenario import late_joiner
from chatroom_lib.rooms import VERSIONS, v1
from chatroom_lib.trace.plain import from_plain, stand_in, to_plain

quiet = partial(check, progress=False)
two = {"two": Scenario([talker("Ann", says=3), listener("Bob")], duration=30)}
a_bad_day = Scenario(
    [talker("Ann", says=40), frozen("Bob", vanishes=3), slow_reader("Cy"), talker("Di"), late_joiner("Eve", joins=2),
     vanishing("Fay", vanishes=1)], duration=40,
)  # fmt: skip


def carried(trace):
    """What comes out at the other end of a pipe."""
    return from_plain(json.loads(json.dumps(to_plain(trace))), trace.clients)


# ---------------------------------------------------------------- there and back


def test_a_trace_is_a_table_of_events_and_a_json_document():
    trace = simulate("v1", a_bad_day)
    assert json.loads(json.dumps(trace.as_dict()))["events"][0] == list(trace.events[0])
    assert trace.events[0]._fields == ("time", "kind", "who", "message", "seq", "id")


@pytest.mark.parametrize("room", VERSIONS)
def test_a_trace_of_any_version_arrives_as_it_was(room):
    trace = simulate(room, a_bad_day, seed=1)
    other = carried(trace)
    assert other.digest() == trace.digest() and repr(other) == repr(trace) and judge(other) == judge(trace)
    for name in ("uses", "depths", "writes", "memory", "leak", "waits", "clients", "left_tasks"):
        assert getattr(other, name) == getattr(trace, name), name


class Raises(v1.Room):
    error = ValueError("one")

    async def handle(self, connection):
        raise self.error


class OfItsOwn(Exception):
    def __str__(self):
        return "its own words"


class Speechless(Exception):
    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    "error, kind, says",
    [
        (ValueError("one"), ValueError, "one"),
        (KeyError("a key"), Exception, "'a key'"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"), Exception, "'utf-8' codec can't decode"),
        (OfItsOwn(), Exception, "its own words"),
        (Speechless(), Exception, ""),
        (ExceptionGroup("both", [OSError("of two")]), ExceptionGroup, "both"),
    ],
)
def test_an_exception_arrives_as_one_that_says_the_same(error, kind, says):
    room = type("Raises", (Raises,), {"error": error})
    trace = simulate(room, Scenario([listener("Ann")]))
    (arrived,) = carried(trace).errors
    assert isinstance(arrived, kind) and type(arrived).__name__ == type(error).__name__ and says in str(arrived)
    assert "raise self.error" in arrived.__notes__[0] and judge(carried(trace)) == judge(trace)


def test_a_stand_in_is_never_an_exception_that_ends_a_program():
    assert isinstance(stand_in("KeyboardInterrupt", "", "", []), Exception)


@pytest.mark.parametrize(
    "answer", [None, {}, [], {"events": 3}, {**to_plain(simulate("v1", a_bad_day)), "uses": [[1]]}]
)
def test_what_is_no_trace_is_no_answer(answer):
    with pytest.raises(BadReply, match="no trace of a run"):
        as_trace(answer, ())


# ---------------------------------------------------------------- where it was


class Numbered(v1.Room):
    """Says with each message in which process it is."""

    async def handle(self, connection):
        self.connections.append(connection)
        with contextlib.suppress(Exception):
            async for frame in connection:
                for each in [*self.connections, *self.connections]:
                    await each.send(frame.replace('"Ann"', f'"{os.getpid()}"'))
        self.connections.remove(connection)


def test_a_run_is_repeated_in_another_process():
    card = quiet(Numbered, seeds=1, scenarios=two)
    for trace in (card.replay("delivery"), card.shortest("delivery")):
        speakers = {event.message.split()[0] for event in trace.of("heard")}
        assert len(speakers) == 1 and speakers.pop() not in ("Ann", str(os.getpid()))


def test_a_room_that_blocks_the_event_loop_can_be_looked_at(monkeypatch):
    monkeypatch.setattr("chatroom_lib.checker.worker.CHECK_INTERVAL", 0.1)

    class Blocks(v1.Room):
        async def handle(self, connection):
            while True:
                pass

    card = quiet(Blocks, seeds=1, scenarios=two)
    trace = card.replay("no-crash")
    assert trace.ending == "blocks the event loop" and "Blocks.handle, line" in str(trace.errors[0])


def test_of_a_run_that_ended_its_process_there_is_nothing_to_show():
    class Exits(v1.Room):
        async def handle(self, connection):
            os._exit(3)

    card = quiet(Exits, seeds=1, scenarios=two)
    for show in (card.replay, card.shortest):
        with pytest.raises(
            ValueError, match=r"nothing to show: the run failed: the room ended its process \(exit code 3\)"
        ):
            show("no-crash")


FAVOURITES = '''
import os, sys
from chatroom_lib.rooms import v1

assert "pytest" not in sys.modules, "imported by the caller"

class Favourites(v1.Room):
    """Those whom it likes hear a message first: the first three of a set of texts, whose order differs."""

    async def broadcast(self, message):
        names = "Ann", "Bob", "Cy", "Di", "Eve", "Fay", "Gus"
        liked = list({*names})[:3]
        for connection in self.connections:
            if any(name in connection.request.headers["User-Agent"] for name in liked):
                await connection.send(__import__("chatroom_lib").encode(message))
'''
SAME = """
import sys
from chatroom_lib import Scenario, check, listener, talker
from chatroom_lib.checker.guarantees import judge

people = [talker("Ann", says=3), *(listener(name) for name in ("Bob", "Cy", "Di", "Eve", "Fay", "Gus"))]
card = check("favourites.py:Favourites", 1, scenarios={"seven": Scenario(people, 30)}, progress=False)
trace = card.replay("delivery")
assert judge(trace)["delivery"].evidence == card.scores["delivery"].evidence
assert not [name for name in sys.modules if "favourites" in name]
print(trace.digest(), card.shortest("delivery").digest())
"""


@pytest.mark.slow
def test_sets_of_texts_have_the_order_that_they_had_and_a_file_is_run_only_there(tmp_path):
    (tmp_path / "favourites.py").write_text(FAVOURITES)

    def digests(hash_seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", SAME]
        options = dict(env=environment, cwd=tmp_path, timeout=100)
        return subprocess.run(command, capture_output=True, text=True, check=True, **options).stdout

    assert digests("1") == digests("4711") != ""


def test_a_large_trace_arrives_too():
    class Chatty(v1.Room):
        async def broadcast(self, message):
            await super().broadcast(message)
            await super().broadcast(message)

    people = [talker("Ann", says=300, every=0.01), *(listener(f"Ann{number}") for number in range(15))]
    card = quiet(Chatty, seeds=1, scenarios={"many": Scenario(people, duration=60)})
    assert len(card.replay("at-most-once").of("heard")) == 2 * 16 * 300
