"""The processes in which check() tries a room: what a room, or its file, does there reaches nobody else."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial

import psutil
import pytest

from chatroom_lib import Scenario, check, listener, rooms, simulate, talker
from chatroom_lib.checker import worker
from chatroom_lib.checker.guarantees import GUARANTEES, judge
from chatroom_lib.checker.outcome import BadReply, Outcome, as_outcome, as_reply, failure
from chatroom_lib.rooms import v1
from tests.helpers import AT_MOST, is_alive, wait_until

two = {"two": Scenario([talker("Ann", says=3), listener("Bob")], duration=30)}
quiet = partial(check, progress=False, seeds=1, scenarios=two, processes=1)

ROOM = """
import os, sys, time
from chatroom_lib.rooms import v1

class Room(v1.Room):
    pass

def make_room():
    return Room()

def make_dict():
    return {}

class NeedsSize(Room):
    def __init__(self, size):
        self.size = size
"""


@pytest.fixture
def room_file(tmp_path):
    """`room_file(code)`: a file with rooms, which ends with this code."""

    def write(code: str = "") -> str:
        (tmp_path / "mine.py").write_text(f"{ROOM}\n{code}\n")
        return f"{tmp_path}/mine.py"

    return write


# ---------------------------------------------------------------- a room's file

BAD_FILES = {  # code at the end of a file -> what is said about it
    "import asyncio; asyncio.run(asyncio.sleep(600))": 'line 18 of mine.py .* for 0 s.*`if __name__ == "__main__":`',
    "while True: pass": "line 18 of mine.py has not returned for 0 s",
    "time.sleep(600)": "line 18 of mine.py has not returned for 0 s",
    "os._exit(0)": r"mine.py:Room ended the process that loaded it \(exit code 0\)",
    "import ctypes; ctypes.string_at(0)": r"mine.py:Room ended the process that loaded it \(SIGSEGV\)",
    "raise LookupError('on\\npurpose\\x1b')": "mine.py does not run: LookupError: on purpose\ufffd$",
    "sys.exit()": "mine.py does not run: SystemExit",
    "class :": "mine.py does not run: SyntaxError",
    "much = bytearray(4 << 30)": "mine.py does not run: MemoryError; a room may take 1 GiB here",
    "import no_such_neighbour": "mine.py does not run: ModuleNotFoundError: No module named 'no_such_neighbour'",
    "for fd in range(3, 300):\n  try: os.write(fd, b'I1\\n.')\n  except OSError: pass": "disturbs the process",
}


@pytest.mark.parametrize("code", BAD_FILES)
def test_a_file_that_cannot_be_imported_is_told_so_in_one_line(code, room_file, monkeypatch):
    monkeypatch.setattr(worker, "LOADING_INTERVAL", 0.1)
    with pytest.raises(rooms.RoomError, match=BAD_FILES[code]) as problem:
        quiet(f"{room_file(code)}:Room")
    assert str(problem.value).isprintable()


@pytest.mark.parametrize(
    "name, problem",
    [
        ("Nobody", "no class 'Nobody' in .*mine.py"),
        ("NeedsSize", "missing a required argument: 'size'; try a function that makes one"),
        ("make_dict", "what .*mine.py:make_dict makes is not a room: it lacks __aenter__"),
    ],
)
def test_what_a_file_names_that_is_no_room_is_told_so(name, problem, room_file):
    with pytest.raises(rooms.RoomError, match=problem):
        quiet(f"{room_file()}:{name}")


GOOD_FILES = [
    "print('x' * 100_000, flush=True); os.write(1, b'y'); os.write(2, b'z')",
    "import threading; threading.Thread(target=threading.Event().wait).start()",
    "import json; json.dumps = None",
    "import atexit; atexit.register(time.sleep, 600)",
    "os.fork()",
    "import neighbour; assert neighbour.number == 7",
    "import asyncio; asyncio.run(asyncio.sleep(0))",
]


@pytest.mark.parametrize("code", GOOD_FILES)
def test_a_file_that_comes_back_is_judged_whatever_it_has_done(code, room_file, tmp_path, capfd):
    (tmp_path / "neighbour.py").write_text("number = 7")
    card = quiet(f"{room_file(code)}:Room")
    assert card.broken == {} and card.scores["delivery"].kept == 1
    assert capfd.readouterr() == ("", "")


def test_a_file_is_not_run_by_the_process_that_checks_it(room_file, tmp_path):
    file = room_file("open(os.path.join(os.path.dirname(__file__), str(os.getpid())), 'w').close()")
    assert quiet(f"{file}:make_room").scores["delivery"].kept == 1
    assert [number for number in os.listdir(tmp_path) if number.isdigit()]
    assert str(os.getpid()) not in os.listdir(tmp_path) and str(tmp_path) not in sys.path


# ---------------------------------------------------------------- where no room can be checked


def test_a_module_that_checks_while_its_workers_import_it_is_told_so(tmp_path):
    """It counts how deep it is, so that it cannot go on for ever."""
    (tmp_path / "my_mod.py").write_text(
        "import os\nfrom chatroom_lib import Scenario, check, talker\nfrom chatroom_lib.rooms import v1\n"
        "depth = int(os.environ.get('DEPTH', 0))\nos.environ['DEPTH'] = str(depth + 1)\n"
        "class Mine(v1.Room): pass\n"
        "scenarios = {'one': Scenario([talker('Ann', says=1)])}\n"
        "if depth < 2: check(Mine, seeds=1, scenarios=scenarios, processes=1, progress=False)\n"
    )
    command = [sys.executable, "-c", "import my_mod"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=3 * AT_MOST)
    assert (
        'line 8 of my_mod.py calls it, and is imported there; put the call below `if __name__ == "__main__":`'
        in (result.stderr.splitlines()[-1])
    )
    assert result.returncode == 1 and result.stderr.count("Traceback") == 1


def test_a_room_that_checks_is_judged():
    class Checks(v1.Room):
        async def handle(self, connection):
            check(v1.Room, seeds=1, progress=False)

    assert "check() cannot run in a process of check(): a room calls it" in quiet(Checks).scores["no-crash"].evidence


def test_without_a_posix_system_it_says_so(monkeypatch):
    monkeypatch.delattr(signal, "setitimer")
    with pytest.raises(rooms.RoomError, match="needs a POSIX system"):
        quiet("v1")


# ---------------------------------------------------------------- a worker's answers


@pytest.mark.parametrize("forged", [b"I1\n.", b"[1]\n", b'["outcome", {}, "", false]\n', b"[" * 100_000 + b"\n", b"?"])
def test_what_a_room_writes_to_the_descriptors_of_its_process_is_no_answer(forged):
    class Forges(v1.Room):
        async def handle(self, connection):
            for number in range(3, 300):
                try:
                    os.write(number, forged)
                except OSError:
                    pass
            await super().handle(connection)

    card = quiet(Forges)
    assert "the room disturbed its process: it sent " in card.scores["no-crash"].evidence
    assert card.failed == {"two": 0} and card.untested == [name for name in GUARANTEES if name != "no-crash"]


def test_an_outcome_is_the_same_on_the_other_side_and_nothing_else_is_one():
    outcome = Outcome(judge(simulate("v1", two["two"])), "v1")
    for sent in (outcome, failure("it fails")):
        kind, *details = as_reply(json.dumps(["outcome", *sent]).encode())
        assert as_outcome(details, GUARANTEES) == sent and isinstance(as_outcome(details, GUARANTEES), Outcome)
    verdicts = {name: list(verdict) for name, verdict in outcome.verdicts.items()}
    one = next(iter(verdicts))
    for wrong in ({}, {**verdicts, one: [1, ""]}, {**verdicts, one: [True, None]}, {**verdicts, "more": [True, ""]}, 7):
        with pytest.raises(BadReply):
            as_outcome([wrong, "v1", False, ""], GUARANTEES)
    for line in (b"", b"7", b'"stage"', b'["stage"]', b'["dance"]', b"[[]]", b"{}", b"\xff"):
        with pytest.raises(BadReply):
            as_reply(line)


def test_a_copy_of_the_process_gives_no_answers():
    class Forks(v1.Room):
        async def handle(self, connection):
            os.fork()
            await super().handle(connection)

    card = quiet(Forks, seeds=5)
    assert card.broken == {} and card.scores["delivery"].kept == 5


# ---------------------------------------------------------------- limits of time


def test_a_limit_that_passes_before_the_process_has_started_says_nothing_about_the_room(monkeypatch):
    monkeypatch.setattr(worker, "LONGEST_START", 0.0)
    with pytest.raises(rooms.RoomError, match="would try v1 has not started within 0 s: the machine has"):
        quiet("v1")


@pytest.mark.parametrize("stage", ["preparing", "judging"])
def test_a_limit_that_passes_before_or_after_a_run_says_nothing_about_the_room(stage, monkeypatch):
    ask = worker.Worker.request

    def slow(self, request):
        if isinstance(request, bytes):
            return ask(self, request)
        self.stage = stage
        raise TimeoutError

    monkeypatch.setattr(worker.Worker, "request", slow)
    card = quiet("v1")
    assert card.broken == {} and card.untested == [*GUARANTEES] and card.failed == {"two": 0}


# ---------------------------------------------------------------- what is left behind


def left_of(folder) -> list[int]:
    """Which of the processes whose numbers are names in this folder are alive; from now on, none is."""
    left = [int(name) for name in os.listdir(folder) if name.isdigit() and is_alive(int(name))]
    for number in left:
        os.kill(number, signal.SIGKILL)
    return left


def test_processes_that_a_room_starts_end_with_the_check_wherever_they_hide(tmp_path):
    class Hides(v1.Room):
        async def handle(self, connection):
            child = subprocess.Popen(["sleep", "600"], start_new_session=True)
            (tmp_path / str(child.pid)).touch()
            if not os.fork():
                os.setsid()
                if os.fork():
                    os._exit(0)
                (tmp_path / str(os.getpid())).touch()
                time.sleep(600)
            while len(os.listdir(tmp_path)) < 2:
                pass
            os._exit(3)

    card = quiet(Hides)
    assert "exit code 3" in card.scores["no-crash"].evidence and not left_of(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere an orphan's ancestors are not known")
def test_orphans_that_have_cast_off_session_and_environment_end_with_the_check_too(tmp_path):
    class Hides(v1.Room):
        async def handle(self, connection):
            if not os.fork():
                child = subprocess.Popen(["sleep", "600"], start_new_session=True, env={})
                (tmp_path / str(child.pid)).touch()
                os._exit(0)
            await super().handle(connection)

    quiet(Hides)
    assert os.listdir(tmp_path) and not left_of(tmp_path)


def test_the_processs_group_is_ended_before_its_number_can_be_anybody_elses(monkeypatch):
    class Ends(v1.Room):
        async def handle(self, connection):
            os._exit(3)

    def noted(number):
        there.append(psutil.pid_exists(number))
        kill_group(number)

    there, kill_group = [], worker.kill_group
    monkeypatch.setattr(worker, "kill_group", noted)
    quiet(Ends)
    assert there == [True]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell a process of its parent's end")
def test_a_worker_ends_with_its_parent_although_the_room_hears_no_alarm(tmp_path):
    (tmp_path / "spins.py").write_text(
        "import os, pathlib, signal\nfrom chatroom_lib.rooms import v1\n"
        "class Room(v1.Room):\n    async def handle(self, connection):\n"
        "        signal.signal(signal.SIGALRM, signal.SIG_IGN)\n"
        "        (pathlib.Path(__file__).parent / str(os.getpid())).touch()\n"
        "        while True: pass\n"
    )
    command = [sys.executable, "-m", "chatroom_lib", "check", f"{tmp_path}/spins.py:Room"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: [number for number in os.listdir(tmp_path) if number.isdigit()])
    finally:
        process.kill()
        process.wait()
    numbers = [int(name) for name in os.listdir(tmp_path) if name.isdigit()]
    try:
        wait_until(lambda: not any(map(is_alive, numbers)))
    finally:
        left_of(tmp_path)
