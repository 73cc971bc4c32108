"""Run an untrusted room in a child process: a crash, a hang or a memory blow-up becomes a verdict and never reaches the
parent.

The room may raise, wait for ever, block the event loop, fill the memory, or end the whole process: the parent gets an
Outcome for each run all the same.
"""

import contextlib
import gc
import json
import os
import pickle
import signal
import subprocess
import sys
from multiprocessing.connection import Connection
from types import FrameType
from typing import NamedTuple

import cloudpickle

from chatroom_lib import rooms
from chatroom_lib.checker.guarantees import GUARANTEES, Verdict, broken, describe_error, judge, untested
from chatroom_lib.checker.scenarios import Maker, Scenarios
from chatroom_lib.clients.scenario import Scenario
from chatroom_lib.instrumentation.asyncio_internals import running_loop
from chatroom_lib.instrumentation.room_code import is_room_code
from chatroom_lib.runs.simulation import simulate

CHECK_INTERVAL = 1.0  # seconds from one check of a run to the next
MAX_CHECKS = 3  # consecutive checks that find the same loop iteration before the run is interrupted
MAX_IGNORED = 1  # how often a room may swallow BlocksTheEventLoop before its process is killed
LONGEST_RUN = 30.0  # seconds; the process of a run that takes longer is killed
MEMORY = 1 << 30  # bytes that a worker may take
START = f"import json, sys; sys.path[:] = json.loads(sys.argv[1]); from {__name__} import main; main()"


class Outcome(NamedTuple):
    """The result of one run."""

    verdicts: dict[str, Verdict]
    room: str = ""  # what its Trace calls the room
    failed: bool = False  # the room did not start, filled the memory, or the run did not end by itself


def failure(why: str) -> Outcome:
    """The outcome of a run that left no trace."""
    verdicts = dict.fromkeys(GUARANTEES, untested(f"the run failed: {why}"))
    return Outcome({**verdicts, "no-crash": broken(why)}, failed=True)


# ---------------------------------------------------------------- the parent's side


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
            f"{rooms.display_name(room)} cannot be sent to another process to be tried: {describe_error(error)}. "
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
    """The process, started with the first run, and again if a room has ended it."""

    def __init__(self, packed: bytes, check_interval: float | None = None):
        self.packed = packed
        self.check_interval = CHECK_INTERVAL if check_interval is None else check_interval
        self.process: subprocess.Popen | None = None

    def run(self, scenario: str | Scenario, seed: int) -> Outcome:
        """Try the room in this scenario, or in the one of this name, with this seed.

        Raises RoomError if the process cannot have the room.
        """
        try:
            if not self.process:
                self.start()
            outcome = self.request((scenario, seed))
        except rooms.RoomError:
            raise
        except TimeoutError:
            outcome = failure(f"the room blocks the event loop, and the run did not end in {LONGEST_RUN:.0f} s")
        except (EOFError, OSError, pickle.UnpicklingError):
            outcome = failure(f"the room ended its process ({self.end()})")
        if outcome.failed:
            self.end()  # it may have done anything else there
        return outcome

    def start(self) -> None:
        command = [sys.executable, "-c", START, json.dumps(sys.path), str(self.check_interval)]
        environment = {**os.environ, "PYTHONHASHSEED": "0"}  # for sets of texts
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=environment, start_new_session=True,
        )  # fmt: skip
        with self.process.stdin as stdin, self.process.stdout as stdout:
            self.requests = Connection(os.dup(stdin.fileno()), readable=False)
            self.replies = Connection(os.dup(stdout.fileno()), writable=False)
        problem = self.request(self.packed)
        if problem:
            raise rooms.RoomError(problem)

    def request(self, request):
        """Send the process a request, and return its reply. If it takes too long, it is killed: TimeoutError."""
        try:
            self.requests.send(request)
            if self.replies.poll(LONGEST_RUN):
                return self.replies.recv()
            raise TimeoutError
        except (TimeoutError, KeyboardInterrupt):
            self.kill()  # nobody waits for the end of this run
            raise

    def kill(self) -> None:
        """End the run in progress, from another thread than the one that waits for its outcome."""
        if process := self.process:
            process.kill()

    def end(self) -> str:
        """End the process, and all that the room has started in it; returns how it ended."""
        if not self.process:
            return "it never ran"
        process, self.process = self.process, None
        self.requests.close()
        self.replies.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1)
        with contextlib.suppress(OSError):  # whatever else is in its session
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


# ---------------------------------------------------------------- the child's side, where the room runs


def main() -> None:
    requests, replies = Connection(os.dup(0), writable=False), Connection(os.dup(1), readable=False)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in range(3):  # what a room prints goes nowhere
        os.dup2(nowhere, number)
    limit_memory()
    gc.freeze()  # what is loaded by now stays
    gc.set_threshold(20_000)  # each run leaves much, and all of it at once
    watch = Watchdog(replies, float(sys.argv[2]))
    with contextlib.suppress(EOFError, OSError):  # the end of the requests, or the parent has gone
        for result in serve_requests(requests, watch):
            replies.send(result)
    os._exit(0)  # at once, whatever threads a room has left behind


def serve_requests(requests: Connection, watch: "Watchdog"):
    packed = requests.recv()
    try:
        pickle.loads(packed)
    except BaseException as error:
        yield f"the room cannot be rebuilt in the process that would try it: {describe_error(error)}"
        return
    yield ""
    while True:
        scenario, seed = requests.recv()
        room, scenarios = pickle.loads(packed)  # anew, so that no run leaves anything to the next one in its class
        yield attempt(room, scenarios.get(scenario, scenario), seed, watch)


def attempt(room, scenario: Scenario | Maker, seed: int, watch: "Watchdog") -> Outcome:
    watch.begin()
    try:
        trace = simulate(room, scenario, seed)
    except BaseException as error:  # that of a room which does not start, or whatever it throws at us
        return failure(describe_error(error))
    finally:
        watch.pause()
    out_of_memory = any(isinstance(error, MemoryError) for error in trace.errors)
    failed = trace.ending in ("livelocked", "blocks the event loop") or out_of_memory
    try:
        return Outcome(judge(trace), trace.room, failed)
    except Exception as error:
        return failure(f"the run cannot be judged: {describe_error(error)}")


def limit_memory() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


class BlocksTheEventLoop(BaseException):
    """Raised in a room that has blocked the event loop for seconds."""


class Watchdog:
    """Checks the run at intervals, and interrupts an iteration of the event loop that does not end."""

    def __init__(self, replies: Connection, interval: float):
        self.replies, self.interval = replies, interval
        self.parent = os.getppid()
        if hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, self.inspect)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.pause()

    def begin(self) -> None:
        self.iteration, self.checks, self.interrupts = None, 0, 0
        self.set_timer(self.interval)

    def pause(self) -> None:
        self.set_timer(0)

    def set_timer(self, interval: float) -> None:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, interval, interval)

    def inspect(self, _, frame: FrameType) -> None:
        if os.getppid() != self.parent:  # the parent has gone
            os._exit(1)
        loop = running_loop()
        iteration = loop and loop.iterations
        self.checks = self.checks + 1 if iteration == self.iteration else 1
        self.iteration = iteration
        if self.checks < MAX_CHECKS:
            return
        self.checks, self.interrupts = 0, self.interrupts + 1
        error = BlocksTheEventLoop(f"the room blocks the event loop{location(frame)}")
        if self.interrupts > MAX_IGNORED:
            self.replies.send(failure(str(error)))
            os._exit(1)
        if loop:
            loop.call_exception_handler({"exception": error})
            loop.after_iteration = lambda: None  # what the room does about the exception is our doing, not its own
            loop.end("blocks the event loop")
        raise error


def location(frame: FrameType | None) -> str:
    """ ": Room.handle, line 12" of the room's innermost code."""
    while frame and not is_room_code(frame.f_code.co_filename):
        frame = frame.f_back
    return f": {frame.f_code.co_qualname}, line {frame.f_lineno}" if frame else ""
