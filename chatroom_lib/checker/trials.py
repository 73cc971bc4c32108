"""What is asked about a room, wherever it runs: is it one, and what do its runs come to?

worker_process.py answers such questions in a process of its own, workers.py where there are no processes.
"""

import contextlib
import pickle
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from random import Random
from types import FrameType
from typing import Literal, Protocol

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
from chatroom_lib.checker.outcome import GUARD, Outcome, failure, not_judged
from chatroom_lib.checker.scenarios import needs_many_servers, needs_nats, needs_path
from chatroom_lib.clients.scenario import NEVER, Scenario, listener, make_scenario
from chatroom_lib.instrumentation.room_code import importing
from chatroom_lib.rooms import Room
from chatroom_lib.rooms.asgi.room import AsgiRoom
from chatroom_lib.rooms.loader import as_room
from chatroom_lib.rooms.requirements import ASKED_FOR, require_makeable, takes
from chatroom_lib.runs.simulation import simulate
from chatroom_lib.runtime.platform import NotHere
from chatroom_lib.trace import Trace

Wanted = Literal["outcome", "trace"]
CUT_SHORT = "cut short"
BLOCKING = "no-head-of-line-blocking"
NO_THREADS = "can't start new thread"


class BlocksTheEventLoop(BaseException):
    """Raised in a room that has blocked the event loop for seconds."""


class Problem(Exception):
    """What the parent is to raise: the name of an error, and its text."""


def problem(what: str, error: BaseException) -> Problem:
    """What to raise about a scenario or a guarantee of the caller's that has raised `error`."""
    return Problem("TypeError" if isinstance(error, TypeError) else "ValueError", f"{what}: {describe_error(error)}")


class Watch(Protocol):
    """Looks after a room, which may never come back. `stage` is told what is done next."""

    def stage(self, name: str) -> None: ...

    def over_run(self, instead: Outcome | None = None) -> AbstractContextManager: ...

    def over_loading(self, stuck: Callable[[FrameType, float], Problem]) -> AbstractContextManager: ...


class Unwatched:
    """Nobody can."""

    def stage(self, name: str) -> None:
        pass

    def over_run(self, instead: Outcome | None = None) -> AbstractContextManager:
        return contextlib.nullcontext()

    def over_loading(self, stuck: Callable[[FrameType, float], Problem]) -> AbstractContextManager:
        return contextlib.nullcontext()


class Trials:
    """A room, and its runs one after the other, in this process."""

    def __init__(self, packed: bytes, watch: Watch, memory_limit: int):
        """Raises Problem unless there is such a room, and each scenario can be made."""
        self.packed, self.watch, self.memory_limit = packed, watch, memory_limit
        self.compared: set[str | Scenario] = set()  # scenarios of which a run was tried with everybody reading
        self.load()

    def answer(self, wanted: Wanted, scenario: str | Scenario, seed: int, conditions: dict) -> Trace | Outcome:
        """The Outcome of a run, or its Trace if that is wanted and there is one. Raises Problem."""
        answer = self.simulate(scenario, seed, conditions)
        if isinstance(answer, Trace) and wanted == "outcome":
            self.watch.stage("judging")
            trace, answer = answer, self.verdicts_on(answer)
            if self.blames_a_reader(answer, scenario):
                answer = self.compared_with_all_reading(answer, trace, scenario, seed, conditions)
        return answer

    def load(self) -> None:
        self.watch.stage("loading")
        with self.watch.over_loading(stuck_in_import), self.room_problems():
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

        def stuck(*_) -> Problem:
            return Problem("ValueError", f"scenario {name!r} cannot be made: it does not return")

        try:
            with self.watch.over_loading(stuck):
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
        self.watch.stage("running")
        try:
            with self.watch.over_run():
                return simulate(room, self.scenario, seed, **conditions)
        except BaseException as error:  # that of a room which does not start, or whatever it throws at us
            return asks_too_much([error.__cause__ or error]) or failure(describe_error(error))

    def blames_a_reader(self, outcome: Outcome, scenario: str | Scenario) -> bool:
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
        self.watch.stage("comparing")
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
        if outcome := asks_too_much(trace.errors):
            return outcome
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

    @contextlib.contextmanager
    def room_problems(self) -> Iterator[None]:
        try:
            yield
        except rooms.RoomError as error:
            limit = f"; a room may take {self.memory_limit / (1 << 30):g} GiB here"
            raise Problem("RoomError", f"{error}{limit * isinstance(error.__cause__, MemoryError)}") from None


def stuck_in_import(frame: FrameType, seconds: float) -> Problem:
    what = f"{importing(frame) or 'the import'} has not returned for {seconds:.0f} s, so the room cannot be imported"
    return Problem("RoomError", f"{what}: put what runs for long below `{GUARD}`")


def asks_too_much(errors: Sequence[BaseException]) -> Outcome | None:
    """The outcome of a run whose room wants what this platform does not have."""
    return next((not_judged(str(error)) for error in errors if isinstance(error, NotHere)), None)


def require_verdict(verdict: object) -> Verdict:
    if not isinstance(verdict, Verdict):
        raise TypeError(f"it returned {verdict!r:.80} instead of KEPT, broken(evidence) or untested(why)")
    return verdict
