"""A process of its own for a room that nobody has tried yet. Whatever the room does there, it is judged, not suffered.

It may raise, wait for ever, never give up its turn, fill the memory, or end the whole process: the one who asks gets an
Outcome for each run all the same.
"""

import asyncio
import contextlib
import gc
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from types import FrameType
from typing import NamedTuple

import cloudpickle

from chatroom_lib import rooms
from chatroom_lib.checker.guarantees import GUARANTEES, Verdict, broken, described, judge, untested
from chatroom_lib.checker.scenarios import Maker, Scenarios
from chatroom_lib.clients.scenario import Scenario
from chatroom_lib.instrumentation.room_code import is_room_code
from chatroom_lib.runs.simulation import simulate

TICK = 1.0  # seconds from one look at a run to the next
PATIENCE = 3  # looks at one and the same turn of the event loop, after which it is broken off
STUBBORN = 1  # times that a room may catch that and go on
LONGEST_RUN = 30.0  # seconds; a run that lasts longer is ended with its process
MEMORY = 1 << 30  # bytes that a worker may take
START = f"import json, sys; sys.path[:] = json.loads(sys.argv[1]); from {__name__} import main; main()"


class Outcome(NamedTuple):
    """What came of one run."""

    verdicts: dict[str, Verdict]
    room: str = ""  # what its Trace calls the room
    failed: bool = False  # the room did not start, filled the memory, or the run did not end by itself


def failure(why: str) -> Outcome:
    """A run of which there is no trace."""
    verdicts = dict.fromkeys(GUARANTEES, untested(f"the run failed: {why}"))
    return Outcome({**verdicts, "no-crash": broken(why)}, failed=True)


# ---------------------------------------------------------------- here, where the question is asked


def pack(room, scenarios: Scenarios) -> bytes:
    """A room (a name, a class, or a function that makes one) and scenarios, ready for another process.

    Raises RoomError if they cannot go there.
    """
    try:
        if isinstance(room, str) and room not in rooms.VERSIONS:
            room = os.path.abspath(room)  # a room may change its folder
        with everything_by_value(room, *scenarios.values()):
            return cloudpickle.dumps((room, scenarios))
    except Exception as error:  # whatever the objects that the room refers to may raise
        raise rooms.RoomError(
            f"{rooms.display_name(room)} cannot be sent to another process to be tried: {described(error)}. "
            "Let it refer to nothing that runs or is open, or put it into a file and name that: path/to/file.py:Class"
        ) from error


@contextlib.contextmanager
def everything_by_value(*things):
    """Send along the code of modules that another process could not import by their name."""
    names = {getattr(thing, "__module__", None) for thing in things} - {None, "__main__"}
    sent = [sys.modules[name] for name in names if name in sys.modules and not importable(name.partition(".")[0])]
    for module in sent:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in sent:
            cloudpickle.unregister_pickle_by_value(module)


def importable(name: str) -> bool:
    """Would `import` find this module, if it were not loaded yet?"""
    return any(finder.find_spec(name, None) for finder in sys.meta_path if hasattr(finder, "find_spec"))


class Worker:
    """The process, started when it is first asked, and again if a room has ended it."""

    def __init__(self, packed: bytes):
        self.packed = packed
        self.process: subprocess.Popen | None = None

    def ask(self, scenario: str | Scenario, seed: int) -> Outcome:
        """Try the room in this scenario, or in the one of this name, with this seed.

        Raises RoomError if the process cannot have the room.
        """
        try:
            if not self.process:
                self.start()
            outcome = self.question((scenario, seed))
        except rooms.RoomError:
            raise
        except TimeoutError:
            outcome = failure(f"the room does not give up its turn, and the run did not end in {LONGEST_RUN:.0f} s")
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):  # ValueError: the pipe is closed
            outcome = failure(f"the room ended its process ({self.end()})")
        if outcome.failed:
            self.end()  # who knows what else it has done there
        return outcome

    def start(self) -> None:
        command = [sys.executable, "-c", START, json.dumps(sys.path)]
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        environment = {**os.environ, "PYTHONHASHSEED": "0"}  # for sets of texts
        self.process = subprocess.Popen(command, **pipes, env=environment, start_new_session=True)
        problem = self.question(self.packed)
        if problem:
            raise rooms.RoomError(problem)

    def question(self, question):
        """Ask the process something, and return its answer. If it takes too long, it is killed: TimeoutError."""
        process, expired = self.process, threading.Event()
        watchdog = threading.Timer(LONGEST_RUN, lambda: (expired.set(), process.kill()))
        try:
            watchdog.start()
            pickle.dump(question, process.stdin)
            process.stdin.flush()
            return pickle.load(process.stdout)
        except EOFError:
            if expired.is_set():
                raise TimeoutError from None
            raise
        except KeyboardInterrupt:
            process.kill()  # nobody waits for the end of this run
            raise
        finally:
            watchdog.cancel()

    def kill(self) -> None:
        """Break off the run under way, from another thread than the one that waits for its outcome."""
        if process := self.process:
            process.kill()

    def end(self) -> str:
        """End the process, and all that the room has started in it; returns how it ended."""
        if not self.process:
            return "it never ran"
        process, self.process = self.process, None
        for pipe in process.stdin, process.stdout:
            with contextlib.suppress(OSError):
                pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1)
        with contextlib.suppress(OSError):  # whatever else is in its session
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


# ---------------------------------------------------------------- there, where the room runs


def main() -> None:
    questions, answers = (os.fdopen(os.dup(number), mode) for number, mode in ((0, "rb"), (1, "wb")))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in range(3):  # what a room prints is none of our business
        os.dup2(nowhere, number)
    limit_memory()
    gc.freeze()  # what is loaded by now stays
    gc.set_threshold(20_000)  # each run leaves much, and all of it at once
    watch = Watch(answers)
    with contextlib.suppress(EOFError, OSError):  # the end of the questions, or nobody is left to answer
        for answer in answers_to(questions, watch):
            tell(answer, answers)
    os._exit(0)  # at once, whatever threads a room has left behind


def tell(answer, answers) -> None:
    pickle.dump(answer, answers)
    answers.flush()


def answers_to(questions, watch: "Watch"):
    packed = pickle.load(questions)
    try:
        pickle.loads(packed)
    except BaseException as error:
        yield f"the room cannot be rebuilt in another process, where it would be tried: {described(error)}"
        return
    yield ""
    while True:
        scenario, seed = pickle.load(questions)
        room, scenarios = pickle.loads(packed)  # anew, so that no run leaves anything to the next one in its class
        yield attempt(room, scenarios.get(scenario, scenario), seed, watch)


def attempt(room, scenario: Scenario | Maker, seed: int, watch: "Watch") -> Outcome:
    watch.begin()
    try:
        trace = simulate(room, scenario, seed)
    except BaseException as error:  # that of a room which does not start, or whatever it throws at us
        return failure(described(error))
    finally:
        watch.pause()
    out_of_memory = any(isinstance(error, MemoryError) for error in trace.errors)
    failed = trace.ending in ("livelocked", "blocks the event loop") or out_of_memory
    try:
        return Outcome(judge(trace), trace.room, failed)
    except Exception as error:
        return failure(f"the run cannot be judged: {described(error)}")


def limit_memory() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


class BlocksTheEventLoop(BaseException):
    """Raised in a room that has not given up its turn for seconds."""


class Watch:
    """Looks at the run every now and then, and breaks off a turn of the event loop that does not end."""

    def __init__(self, answers):
        self.answers = answers
        self.parent = os.getppid()
        if hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, self.look)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.begin(0)

    def begin(self, tick: float = TICK) -> None:
        self.turn, self.looks, self.broken_off = None, 0, 0
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, tick, tick)

    def pause(self) -> None:
        self.begin(0)

    def look(self, _, frame: FrameType) -> None:
        if os.getppid() != self.parent:  # nobody is left to ask
            os._exit(1)
        loop = asyncio._get_running_loop()
        turn = loop and loop.iterations
        self.looks = self.looks + 1 if turn == self.turn else 1
        self.turn = turn
        if self.looks < PATIENCE:
            return
        self.looks, self.broken_off = 0, self.broken_off + 1
        error = BlocksTheEventLoop(f"the room does not give up its turn{place(frame)}")
        if self.broken_off > STUBBORN:
            tell(failure(str(error)), self.answers)
            os._exit(1)
        if loop:
            loop.call_exception_handler({"exception": error})
            loop.after_iteration = lambda: None  # what the room does about the exception is our doing, not its own
            loop.end("blocks the event loop")
        raise error


def place(frame: FrameType | None) -> str:
    """ ": Room.handle, line 12" of the room's own code, where it stands."""
    while frame and not is_room_code(frame.f_code.co_filename):
        frame = frame.f_back
    return f": {frame.f_code.co_qualname}, line {frame.f_lineno}" if frame else ""
