"""The process in which a room is tried, on POSIX systems: what worker.py starts."""

import contextlib
import fcntl
import gc
import os
import pickle
import resource
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from random import Random
from types import FrameType

import psutil

from chatroom_lib import rooms
from chatroom_lib.checker.guarantees import (
    GROUPS,
    GUARANTEES,
    NO_NATS,
    NO_PATH,
    ONE_SERVER,
    Verdict,
    blame,
    describe_error,
    untested,
)
from chatroom_lib.checker.outcome import ENDING, GUARD, Outcome, Replies, failure, not_judged
from chatroom_lib.checker.scenarios import needs_many_servers, needs_nats, needs_path
from chatroom_lib.clients.scenario import NEVER, Scenario, listener, make_scenario
from chatroom_lib.instrumentation.asyncio_internals import running_loop
from chatroom_lib.instrumentation.room_code import importing, place_in_room
from chatroom_lib.rooms import Room
from chatroom_lib.rooms.asgi.room import AsgiRoom
from chatroom_lib.rooms.loader import as_room
from chatroom_lib.rooms.requirements import ASKED_FOR, require_makeable, takes
from chatroom_lib.runs.event_loop import endless_tasks
from chatroom_lib.runs.simulation import simulate
from chatroom_lib.runtime.own_time import own_time
from chatroom_lib.runtime.parent import end_with_parent, stay_the_ancestor
from chatroom_lib.trace import Trace
from chatroom_lib.trace.plain import to_plain

PATIENCE = 3  # intervals without progress after which the run, or the import, is interrupted
CUT_SHORT = "cut short"
BLOCKING = "no-head-of-line-blocking"
NO_THREADS = "can't start new thread"
MAX_IGNORED = 1  # how often a room may swallow BlocksTheEventLoop before its process is killed
OUT_OF_REACH = 200  # the lowest descriptor for our pipes: a room that meddles with descriptors tries low ones


def main() -> None:
    end_with_parent()  # also if the room spins, and has turned our alarm off
    stay_the_ancestor()
    requests, replies = Connection(out_of_reach(0), writable=False), Replies(out_of_reach(1))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in range(3):  # what a room prints goes nowhere
        os.dup2(nowhere, number)
    memory_limit, longest, *intervals = map(float, sys.argv[2:])
    limit_memory(int(memory_limit))
    gc.freeze()  # what is loaded by now stays
    gc.set_threshold(20_000)  # each run leaves much, and all of it at once
    watch = Watchdog(replies, longest, *intervals)
    try:
        Trials(requests, replies, watch, int(memory_limit)).serve()
    except (EOFError, OSError):
        pass  # the end of the requests, or the parent has gone
    finally:
        os._exit(0)  # at once, whatever threads a room has left behind


def out_of_reach(number: int) -> int:
    """A copy of this descriptor."""
    try:
        return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, OUT_OF_REACH)
    except OSError:  # there are not so many
        return os.dup(number)


def limit_memory(size: int) -> None:
    """Let this process take so many bytes more than it has taken by now."""
    with contextlib.suppress(ValueError, OSError):
        highest = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + size, highest))


class Problem(Exception):
    """What the parent is to raise: the name of an error, and its text."""


def problem(what: str, error: BaseException) -> Problem:
    """What to raise about a scenario or a guarantee of the caller's that has raised `error`."""
    return Problem("TypeError" if isinstance(error, TypeError) else "ValueError", f"{what}: {describe_error(error)}")


class Trials:
    """Answers the parent's requests: first for the room, and then for one run after the other."""

    def __init__(self, requests: Connection, replies: Replies, watch: "Watchdog", memory_limit: int):
        self.requests, self.replies, self.watch, self.memory_limit = requests, replies, watch, memory_limit
        self.compared: set[str | Scenario] = set()  # scenarios of which a run was tried with everybody reading

    def serve(self) -> None:
        try:
            self.packed = self.requests.recv()
            self.replies.send("stage", "loading")
            self.load()
            self.replies.send("ready")
            while True:
                wanted, *run = self.requests.recv()
                answer = self.simulate(*run)
                if isinstance(answer, Trace) and wanted == "outcome":
                    self.replies.send("stage", "judging")
                    trace, answer = answer, self.verdicts_on(answer)
                    if self.blames_a_reader(answer, *run):
                        answer = self.compared_with_all_reading(answer, trace, *run)
                if endless_tasks:  # and all that they keep
                    self.replies.send("stage", ENDING)
                if isinstance(answer, Trace):
                    self.replies.send("trace", to_plain(answer))
                else:
                    self.replies.send("outcome", *answer)
                if endless_tasks:
                    break
        except Problem as problem:
            self.replies.send("wrong", *problem.args)

    def load(self) -> None:
        """Raises Problem unless there is such a room, and each scenario can be made."""
        with self.watch.over_loading(self.tell_of_import), self.room_problems():
            room, scenarios, guarantees = self.unpack()
            factory, name = rooms.resolve(room), rooms.display_name(room)
            require_makeable(factory, name)
        takes_nats, many_servers = takes(factory, "nats"), getattr(factory, "many_servers", False)
        self.keeps_history = takes(factory, "path") or takes_nats
        if not isinstance(factory, type):
            with self.room_problems():
                room = self.try_function(factory, name)
                many_servers = getattr(room, "many_servers", False)
                if isinstance(room, AsgiRoom):
                    self.require_open_door(room)
        needs = (NO_NATS, needs_nats, takes_nats), (ONE_SERVER, needs_many_servers, many_servers)
        needs = *needs, (NO_PATH, needs_path, self.keeps_history)
        why = {
            name: why for why, is_needed, has in needs if not has for name in scenarios if is_needed(scenarios[name])
        }
        self.not_tried = {name: Outcome({each: untested(why[name]) for each in guarantees}) for name in why}
        for scenario in scenarios:
            self.make(scenarios, scenario, 0)

    def unpack(self):
        """The room, scenarios and guarantees, anew: no run leaves anything to the next one in its class."""
        try:
            return pickle.loads(self.packed)
        except rooms.RoomError:
            raise
        except BaseException as error:
            why = describe_error(error)
            raise rooms.RoomError(f"the room cannot be rebuilt in the process that would try it: {why}") from error

    def try_function(self, function: Callable, name: str) -> Room | None:
        """The room that it makes. Raises RoomError if that is none. None: it fails; so it will do in each run, and is
        judged there."""
        try:
            with tempfile.TemporaryDirectory(prefix="chatroom-") as folder, self.watch.over_run():
                given = {"path": f"{folder}/chat.db", "keep": 100, "nats": "nats://127.0.0.1:4222"}
                made = function(**{each: given[each] for each in ASKED_FOR if takes(function, each)})
        except rooms.RoomError:  # of an ASGI application that there is not
            raise
        except BaseException:
            return None
        return as_room(made, name)

    def require_open_door(self, room: AsgiRoom) -> None:
        """Raises RoomError for an application that does not let in the only one who comes."""
        try:
            with self.watch.over_run():
                trace = simulate(self.unpack()[0], Scenario([listener("Ann")], duration=10))
        except BaseException:  # it does not start, for example; so it will do in each run, and is judged there
            return
        for event in trace.of("shut out"):
            why = f"{room.name} lets nobody in at {room.path}: {event.message}"
            raise rooms.RoomError(f"{why}; if its websocket has another path, give that (--path, or asgi(app, path))")

    def make(self, scenarios, name: str, seed: int) -> Scenario:
        """Raises Problem if the scenario cannot be made: that is no fault of the room."""

        def tell(_):
            self.tell("ValueError", f"scenario {name!r} cannot be made: it does not return")

        try:
            with self.watch.over_loading(tell):
                return make_scenario(scenarios[name], Random(seed))
        except BaseException as error:
            raise problem(f"scenario {name!r} cannot be made with seed {seed}", error) from None

    def simulate(self, scenario: str | Scenario, seed: int, conditions: dict) -> Trace | Outcome:
        """One run, or the Outcome of one that leaves no Trace."""
        if scenario in self.not_tried:
            return self.not_tried[scenario]
        with self.room_problems():
            room, scenarios, self.guarantees = self.unpack()
        self.scenario = scenario if isinstance(scenario, Scenario) else self.make(scenarios, scenario, seed)
        self.replies.send("stage", "running")
        try:
            with self.watch.over_run():
                return simulate(room, self.scenario, seed, **conditions)
        except BaseException as error:  # that of a room which does not start, or whatever it throws at us
            return failure(describe_error(error))

    def blames_a_reader(self, outcome: Outcome, scenario: str | Scenario, *_) -> bool:
        """For the first time in this scenario? Seeds come in order, so what a card shows, the first of all seeds that
        break it, is the first one here, too, however many processes there are."""
        first = scenario not in self.compared and not outcome.failed
        ours = self.guarantees.get(BLOCKING) is GUARANTEES[BLOCKING]
        return first and ours and outcome.verdicts[BLOCKING].kept is False

    def compared_with_all_reading(
        self, outcome: Outcome, trace: Trace, scenario: str | Scenario, seed: int, conditions: dict
    ) -> Outcome:
        """The outcome, after the same run with everybody reading at once: it may not be those who did not read."""
        self.compared.add(scenario)
        people = [replace(client, pause=0, dark=NEVER, light=NEVER) for client in self.scenario.clients]
        self.replies.send("stage", "comparing")
        try:
            room, *_ = self.unpack()
            with self.watch.over_run(instead=outcome):
                control = simulate(room, replace(self.scenario, clients=people), seed, **conditions)
        except BaseException:  # whatever the room throws at us
            return outcome
        if control.ending not in ("quiescent", "time is up"):
            return outcome
        return outcome._replace(verdicts={**outcome.verdicts, BLOCKING: blame(trace, control)})

    def verdicts_on(self, trace: Trace) -> Outcome:
        """Raises Problem if a guarantee of somebody's own cannot judge it: that is no fault of the room either."""
        if trace.ending == CUT_SHORT:
            return not_judged("so much happens in the run that it was cut short: it takes too much real time")
        out_of_memory = any(isinstance(error, MemoryError) or NO_THREADS in str(error) for error in trace.errors)
        endless = trace.ending in ("livelocked", "blocks the event loop")
        failed = endless or out_of_memory or isinstance(trace.exit_error, BlocksTheEventLoop)
        verdicts = {}
        for name, guarantee in self.guarantees.items():
            try:
                verdicts[name] = require_verdict(guarantee(trace))
                ours = GUARANTEES.get(name) is guarantee
                if verdicts[name].kept is None and ours and GROUPS[name] == "history" and not self.keeps_history:
                    verdicts[name] = untested(NO_PATH)
            except Exception as error:
                if GUARANTEES.get(name) is guarantee:
                    return not_judged(f"the run cannot be judged: {describe_error(error)}")
                raise problem(f"guarantee {name!r} cannot judge a run with seed {trace.seed}", error) from None
        return Outcome(verdicts, trace.room, failed, trace.ending)

    def tell_of_import(self, frame: FrameType) -> None:
        place = importing(frame)
        seconds = PATIENCE * self.watch.loading_interval
        what = f"{place or 'the import'} has not returned for {seconds:.0f} s, so the room cannot be imported"
        self.tell("RoomError", f"{what}: put what runs for long below `{GUARD}`")

    @contextlib.contextmanager
    def room_problems(self) -> Iterator[None]:
        try:
            yield
        except rooms.RoomError as error:
            limit = f"; a room may take {self.memory_limit / (1 << 30):g} GiB here"
            raise Problem("RoomError", f"{error}{limit * isinstance(error.__cause__, MemoryError)}") from None

    def tell(self, kind: str, text: str) -> None:
        self.replies.send("wrong", kind, text)
        os._exit(1)


def require_verdict(verdict: object) -> Verdict:
    if not isinstance(verdict, Verdict):
        raise TypeError(f"it returned {verdict!r:.80} instead of KEPT, broken(evidence) or untested(why)")
    return verdict


class BlocksTheEventLoop(BaseException):
    """Raised in a room that has blocked the event loop for seconds."""


class Watchdog:
    """Looks at intervals whether there is progress, and interrupts what makes none, by its own time (own_time.py)."""

    def __init__(self, replies: Replies, longest: float, run_interval: float, loading_interval: float):  # seconds
        self.replies, self.longest = replies, longest
        self.run_interval, self.loading_interval = run_interval, loading_interval
        self.parent = os.getppid()
        signal.signal(signal.SIGALRM, self.inspect)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    @contextlib.contextmanager
    def over(self, progress: Callable[[], object], stuck: Callable[[FrameType], None], interval: float):
        """Call `stuck` if `progress` returns the same thing again and again."""
        self.progress, self.stuck = progress, stuck
        self.interval = interval
        self.last, self.since = progress(), own_time()
        self.latest = self.since + self.longest
        signal.setitimer(signal.ITIMER_REAL, interval, interval)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def over_run(self, instead: Outcome | None = None):
        """`instead`: what to answer if the room cannot be interrupted; None: that the run has failed."""
        self.interrupts, self.instead = 0, instead
        return self.over(iterations, self.interrupt_run, self.run_interval)

    def over_loading(self, stuck: Callable[[FrameType], None]):
        """As long as one module after the other is imported, there is progress."""
        return self.over(lambda: len(sys.modules), stuck, self.loading_interval)

    def inspect(self, _, frame: FrameType) -> None:
        if os.getppid() != self.parent:  # the parent has gone
            os._exit(1)
        now, time = self.progress(), own_time()
        if now != self.last:
            self.last, self.since = now, time
        if time > self.latest and (loop := running_loop()):
            loop.end(CUT_SHORT)
        if time - self.since > PATIENCE * self.interval:
            self.since = time
            self.stuck(frame)

    def interrupt_run(self, frame: FrameType) -> None:
        self.interrupts += 1
        seconds = PATIENCE * self.run_interval
        place = f": {place}" if (place := place_in_room(frame)) else ""
        error = BlocksTheEventLoop(f"the room blocks the event loop{place}, has not returned for {seconds:g} s")
        if self.interrupts > MAX_IGNORED:
            self.replies.send("stage", ENDING)
            self.replies.send("outcome", *(self.instead or failure(str(error))))
            os._exit(1)
        if loop := running_loop():
            loop.call_exception_handler({"exception": error})
            loop.after_iteration = lambda tasks: (
                None
            )  # what the room does about the exception is our doing, not its own
            loop.end("blocks the event loop")
        raise error


def iterations() -> int | None:
    """How many iterations the simulated loop has made."""
    loop = running_loop()
    return loop and loop.iterations
