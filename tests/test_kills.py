"""A server that is killed and started again, and people who come back: in virtual time and on real sockets."""

import json
import os
from functools import partial

import psutil
import pytest

from chatroom_lib import Kill, Scenario, check, commuter, frozen, listener, live, plots, run, simulate, talker
from chatroom_lib.checker.guarantees import judge
from chatroom_lib.clients.scenario import NEVER
from chatroom_lib.rooms import RoomError, v1, v3_1, v7, v8
from chatroom_lib.runs.event_loop import endless_tasks
from chatroom_lib.trace import DISK_LOST
from tests.helpers import ends_when, in_both_worlds

KILL = [Kill(at=1, back_after=0.3)]


def killed(*people, kills=KILL, duration=7, **changes) -> Scenario:
    return Scenario(people, duration=duration, kills=kills, **changes)


# ---------------------------------------------------------------- people who come back


@in_both_worlds
def test_a_commuter_is_away_and_back_again_under_the_same_name(play):
    trace = play("v1.1", Scenario([talker("Ann", says=30, every=0.05), commuter("Cy", away=[(0.6, 1)])], duration=3))
    (first, second) = trace.visits()["Cy"]
    assert first.how == "away" and 0.55 < first.ended < 0.9 and 1 <= second.joined < 2
    assert not trace.missed(on_the_way=0.3)["Cy"] and len(trace.heard("Cy")) < 30 and not trace.evicted()
    assert trace.in_pool() == ["Ann", "Cy"]


@in_both_worlds
def test_what_is_due_while_one_is_away_is_said_later_in_order(play):
    trace = play("v1.1", Scenario([commuter("Ann", says=10, every=0.1, away=[(0.5, 1)]), listener("Cy")], duration=2))
    assert trace.heard("Cy") == [f"Ann {number}" for number in range(1, 11)]


class Forgetful(v1.Room):
    """Passes nothing on, notes what it reads, and disconnects whoever speaks first."""

    def __init__(self):
        super().__init__()
        self.read, self.greeted = [], False

    async def broadcast(self, message):
        if self.greeted:
            await super().broadcast(message)

    async def handle(self, connection):
        async for frame in connection:
            self.read.append(json.loads(frame))
            if not self.greeted:
                self.greeted = True
                return
            self.connections = [connection]
            await self.broadcast(v1.decode(frame))


@in_both_worlds
def test_what_one_has_not_heard_oneself_is_said_again_with_the_same_id_until_it_is_heard(play):
    room = Forgetful()
    trace = play(room, Scenario([commuter("Ann", says=1, size=20)], duration=3))
    assert [event.message for event in trace.of("said again")] == ["Ann 1"] and trace.heard("Ann") == ["Ann 1"]
    first, again = room.read
    assert first == again and len(first["id"]) == 32


@in_both_worlds
def test_a_client_asks_for_a_path_with_headers_and_says_something_first(play):
    asked = []

    class Asks(v1.Room):
        async def handle(self, connection):
            first = await connection.recv()
            asked.append((connection.request.path, connection.request.headers["X-Room"], first))
            await super().handle(connection)

    play(
        Asks,
        Scenario(
            [listener("Ann", path="/chatroom?last=5", headers=[("X-Room", "lobby")], first="let me in")], duration=1
        ),
    )
    assert asked == [("/chatroom?last=5", "lobby", "let me in")]


def test_the_waits_before_an_attempt_are_random_and_follow_the_seed():
    gone = Scenario([commuter(name) for name in ("Ann", "Cy")], duration=60, kills=[Kill(at=1, back_after=NEVER)])
    knocks = {}
    for seed in (1, 2):
        trace = simulate("v1.1", gone, seed)
        knocks[seed] = {name: [event.time for event in trace.of("knocked", who=name)] for name in trace.names}
        assert trace.digest() == simulate("v1.1", gone, seed).digest()
    times = knocks[1]["Ann"]
    gaps = [later - earlier for earlier, later in zip(times, times[1:])]
    assert knocks[1]["Ann"] != knocks[1]["Cy"] != knocks[2]["Cy"]
    assert max(gaps) < 5.1 and sum(gaps[-5:]) > sum(gaps[:5])  # longer from one to the next, up to 5 s


# ---------------------------------------------------------------- a server that is killed


@in_both_worlds
def test_after_a_kill_there_is_a_new_room_and_those_who_return_go_on(play, monkeypatch):
    people = commuter("Ann", says=30, every=0.1, size=20), commuter("Cy", at=[1.3], size=20), listener("Di")
    said = {f"Ann {number}" for number in range(1, 31)}

    def is_over(run):
        heard = {*run.trace.heard("Ann")}, {*run.trace.heard("Cy")}
        return said <= heard[0] and "Cy 1" in heard[1] and len(run.trace.in_pool()) == 2

    ends_when(monkeypatch, is_over)
    trace = play("v3.1", killed(*people, duration=11))
    (kill,), (start,) = trace.of("killed"), trace.of("started")
    assert 1 <= kill.time < 1.2 and start.time >= kill.time + 0.3
    assert {name: visits[0].how for name, visits in trace.visits().items()} == dict.fromkeys(
        ["Ann", "Cy", "Di"], "lost"
    )
    assert sorted(trace.in_pool()) == ["Ann", "Cy"] and not trace.evicted() and not trace.disconnected()
    assert set(trace.heard("Ann")) - {"Cy 1"} == said
    assert any(event.time > start.time for event in trace.of("heard", who="Cy"))
    assert judge(trace)["no-false-eviction"].kept and judge(trace)["admission"].kept and not trace.errors


@in_both_worlds
def test_a_server_may_be_killed_twice_or_for_good(play, monkeypatch):
    for kills, starts in ([Kill(0.5, 0.2), Kill(2.2, 0.2)], 2), ([Kill(0.5, NEVER)], 0):

        def is_over(run, kills=kills, starts=starts):
            seen = len(run.trace.of("killed")), len(run.trace.of("started")), run.trace.in_pool()
            return seen == (len(kills), starts, ["Ann"] * bool(starts)) and run.trace.clock() > 2

        ends_when(monkeypatch, is_over)
        ann = commuter("Ann", says=20, every=0.2, size=20)
        trace = play("v1.1", killed(ann, kills=kills, duration=11))
        assert len(trace.of("killed")) == len(kills) and len(trace.of("started")) == starts
        assert trace.in_pool() == ["Ann"] * bool(starts)


class Orderly(v1.Room):
    """Says in a file when a visit ends, and when it is stopped."""

    path = ""

    async def handle(self, connection):
        try:
            await super().handle(connection)
        finally:
            self.note("visit")

    async def __aexit__(self, *exc):
        self.note("exit")

    def note(self, what):
        with open(self.path, "a") as file:
            file.write(f"{what}\n")


def test_not_a_single_finally_of_a_simulated_room_runs_in_the_run_in_which_it_is_killed(tmp_path):
    seen = []

    class Looks(Orderly):
        path = str(tmp_path / "notes")

        async def __aenter__(self):
            seen.append(os.path.exists(self.path))
            return await super().__aenter__()

    trace = simulate(Looks, killed(listener("Ann"), frozen("Bob"), kills=[Kill(1, 5)], duration=20))
    assert seen == [False, False] and len(trace.of("started")) == 1 and not endless_tasks


@pytest.mark.real
def test_a_live_room_is_killed_by_the_system(tmp_path):
    path = str(tmp_path / "notes")

    class Notes(Orderly):
        pass

    Notes.path = path
    run(live(Notes, killed(listener("Ann"), kills=[Kill(0.5, 0.1)], duration=2)))
    assert not os.path.exists(path)  # at the end of the run its last process is killed, too


@pytest.mark.real
def test_no_process_of_a_live_run_is_left(tmp_path):
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    run(live("v1", killed(listener("Ann"), kills=[Kill(0.3, 0.1)], duration=1.5)))
    with pytest.raises(RoomError, match="cannot make a room"):
        run(live(lambda: 1 / 0, killed(listener("Ann"))))
    assert {process.pid for process in psutil.Process().children(recursive=True)} <= before


@in_both_worlds
def test_a_room_object_cannot_be_killed(play):
    with pytest.raises(RoomError, match="is one room, and after a kill there is a new one"):
        play(v1.Room(), killed(listener("Ann")))


class OnlyOnce(v1.Room):
    path = ""

    async def __aenter__(self):
        with open(self.path, "x"):  # fails if there is one
            return self


@in_both_worlds
def test_a_room_that_does_not_start_again_is_an_error_of_the_run(play, tmp_path, monkeypatch):
    class Once(OnlyOnce):
        path = str(tmp_path / "lock")

    ends_when(monkeypatch, lambda run: run.errors)
    trace = play(Once, killed(commuter("Ann"), duration=11))
    assert "FileExistsError" in str(trace.errors) and not trace.of("started")
    assert not judge(trace)["no-crash"].kept


def test_a_kill_in_the_middle_of_a_handshake_refuses_the_newcomer():
    for moment in range(20):
        kills = [Kill(at=1 + moment * 0.0003, back_after=1)]
        trace = simulate(
            "v3.1", killed(listener("Ann"), commuter("Eve", joins=1), kills=kills, duration=9), seed=moment
        )
        assert trace.visits()["Eve"][-1].joined > 2 and trace.in_pool() == ["Eve"]


def test_the_same_seed_gives_the_same_run_kills_included():
    people = commuter("Ann", says=40, every=0.1, away=[(2, 2.5)]), commuter("Cy", pause=0.02), frozen("Bob")
    for room in ("v1", "v3", "v4"):
        scenario = killed(*people, kills=[Kill(1), Kill(3)], duration=30)
        assert len({simulate(room, scenario, seed=7).digest() for _ in range(3)}) == 1
        assert simulate(room, scenario, seed=8).digest() != simulate(room, scenario, seed=7).digest()


def test_check_plays_kills_as_well():
    scenario = killed(commuter("Ann", says=20, every=0.5, size=20), commuter("Cy"), duration=20)
    card = check("v3.1", seeds=3, scenarios={"restart": scenario}, progress=False)
    assert not card.broken and "admission" in card.kept


def test_what_was_said_before_one_came_is_not_late():
    class Tells(v3_1.Room):
        async def handle(self, connection):
            await connection.send(v1.encode(v1.Message("Ann", "1 ".ljust(20, "."))))
            await super().handle(connection)

    people = talker("Ann", says=1, size=20), listener("Eve", joins=5)
    trace = simulate(Tells, Scenario(people, duration=9))
    assert trace.heard("Eve") == ["Ann 1"] and "Eve" not in {event.who for event, _ in trace.latencies()}


# ---------------------------------------------------------------- what cannot be


@pytest.mark.parametrize(
    "away",
    [[(2, 1)], [(1, 3), (2, 4)], [(1, NEVER)], [(1, 2, 3)]],
    ids=["backwards", "overlapping", "for ever", "three"],
)
def test_times_away_that_make_no_sense_are_an_error(away):
    with pytest.raises(ValueError, match="Cy: `away` must be"):
        commuter("Cy", away=away)


def test_whoever_does_not_return_cannot_be_away():
    with pytest.raises(ValueError, match="Cy: only a client that returns can be away"):
        listener("Cy", away=[(1, 2)])


@pytest.mark.parametrize("kills", [[Kill(3), Kill(1)], [Kill(1, 5), Kill(2)], [Kill(1, NEVER), Kill(2)]])
def test_a_server_that_is_down_cannot_be_killed(kills):
    with pytest.raises(ValueError, match="only while it runs"):
        Scenario([listener("Ann")], kills=kills)


@pytest.mark.parametrize("times", [(-1, 1), (1, -1), (float("nan"), 1), (NEVER, 1)])
def test_the_times_of_a_kill_are_times(times):
    with pytest.raises(ValueError, match="a kill needs a time"):
        Kill(*times)


def test_a_figure_shows_the_time_without_a_server():
    ax = plots.pool(simulate("v1.1", killed(commuter("Ann"), listener("Cy"))))
    assert any("killed" in text.get_text() for text in ax.texts)


# ---------------------------------------------------------------- what a room has forgotten


@in_both_worlds
def test_whoever_comes_back_is_told_that_the_disk_was_lost(play):
    people = commuter("Ann", says=10, every=0.25, size=20), commuter("Cy", resumes=True)
    kills = [Kill(1.2, 0.1, disk=True)]
    trace = play(partial(v7.Room, limit=None), Scenario(people, duration=7, kills=kills))
    (kill,) = trace.of("killed")
    first, second = trace.of("welcomed")
    assert kill.message == DISK_LOST and first.message != second.message and (first.seq, second.seq) == (0, 0)
    assert [event.message for event in trace.of("told a gap")] == ["to 0"]
    numbers = [event.seq for event in trace.of("heard", who="Cy")]
    before = numbers[1:].index(1) + 1
    assert numbers == [*range(1, before + 1), *range(1, 11 - before)]


@in_both_worlds
def test_a_scenario_says_how_many_messages_a_room_keeps(play):
    ann = talker("Ann", says=20, every=0.05, size=20)
    cy, di = commuter("Cy", away=[(0.7, 2.3)], resumes=True), commuter("Di", joins=3, resumes=True)
    trace = play(partial(v7.Room, limit=None), Scenario([ann, cy, di], duration=4.5, keep=4))
    (gap,) = trace.of("told a gap")
    assert gap.who == "Cy" and gap.message.endswith(" to 16") and gap.seq == 16
    assert [event.seq for event in trace.of("heard", who="Di")] == [17, 18, 19, 20]


def test_a_room_that_cannot_be_told_keeps_what_it_likes():
    ann, di = talker("Ann", says=20, every=0.05, size=20), commuter("Di", joins=3)
    trace = simulate("v4", Scenario([ann, di], duration=5, keep=4))
    assert len(trace.heard("Ann")) == 5 and not trace.errors  # as many as it takes at once


@pytest.mark.parametrize("keep", [0, -1, 2.5, "4"])
def test_what_is_no_number_of_messages_cannot_be_kept(keep):
    with pytest.raises(ValueError, match="a room can keep 1 message or more"):
        Scenario([listener("Ann")], keep=keep)


# ---------------------------------------------------------------- told to stop, and a door that takes time


@in_both_worlds
@pytest.mark.parametrize("room, goodbye", [("v1", "1001"), ("v8", "1012 come back within 2 s")])
def test_a_server_that_is_told_to_stop_says_goodbye_and_is_started_again(play, room, goodbye):
    people = [talker("Ann", says=5), commuter("Bob", resumes=True), listener("Cy")]
    trace = play(room, killed(*people, kills=[Kill(at=1, back_after=0.3, politely=True)], duration=5))
    assert [(event.who, event.message) for event in trace.of("lost")] == [
        (name, goodbye) for name in trace.first("lost")
    ]
    assert set(trace.first("lost")) == {"Ann", "Bob", "Cy"} and len(trace.visits()["Bob"]) == 2
    assert [event.kind for event in trace.of("killed", "started")] == ["killed", "started"]
    assert not trace.evicted() and not trace.disconnected() and trace.in_pool() == ["Bob"] and not trace.errors


def test_who_is_told_how_long_all_take_to_come_back_draws_a_moment_in_that_time():
    crowd = [commuter(f"P{number}") for number in range(40)]
    spans = {}
    for returns in (1000, 8):  # 2 s, and 6 s
        room = partial(v8.Room, returns=returns)
        trace = simulate(room, killed(*crowd, kills=[Kill(at=10, back_after=0.01, politely=True)], duration=30), seed=1)
        back = sorted(event.time for event in trace.of("joined") if event.time > 10)
        assert len(back) == 40
        spans[returns] = back[-1] - back[0]
    assert spans[1000] < 2.1 and 4 < spans[8] < 9


def test_while_handshakes_keep_the_room_busy_the_impatient_give_up_and_it_works_for_people_who_have_gone():
    tries = {}
    for patience in (0.5, 60):
        crowd = [commuter(f"P{number}", patience=patience) for number in range(40)]
        scenario = killed(*crowd, kills=[Kill(at=10, back_after=1)], duration=40, handshake=0.4)
        trace = simulate("v1", scenario, seed=1)
        tries[patience] = [event for event in trace.of("knocked") if event.time > 11.1]
        back = sum(len(visits) > 1 for visits in trace.visits().values())
        assert back == 40 or patience == 0.5
    assert len(tries[0.5]) > 100 and not tries[60]
    assert all(event.message.startswith("TimeoutError") for event in tries[0.5])


def test_only_a_simulated_handshake_can_be_made_to_take_time():
    with pytest.raises(ValueError, match="simulate"):
        run(live("v1", Scenario([listener("Ann")], handshake=0.1)))


@pytest.mark.parametrize("changes", [{"power": True}, {"disk": True}])
def test_a_server_that_is_told_to_stop_loses_nothing(changes):
    with pytest.raises(ValueError, match="told to stop"):
        Kill(at=1, politely=True, **changes)
