"""Put a room through everything: `check(Room)` tries each scenario with each seed, and judges each guarantee.

    card = check("v1.1")                       # a table; in a notebook as the last line of a cell
    card.broken                                # {"delivery": Score(tested=200, kept=81, broken=119, ...), ...}
    trace = card.replay("no-false-eviction")   # the first run that broke it, to look at
    trace = card.shortest("no-false-eviction") # the smallest one that can be found

The runs take place in processes of their own, one for each core, so that a room can end or block nothing but its own
run (see worker.py). That is no sandbox: what the room does to files or to the network, it does. In a browser, which has
no processes, they take place one after the other in this one, and a room that never comes back is waited for.

The same seeds give the same card, as long as the room has no source of randomness but the seed. Its clock may be the
loop's, or `time.time()` and its like; `random` starts anew with each seed. But a set of objects that have no `__hash__`
of their own has another order in every process.
"""

import inspect
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait

from chatroom_lib.checker.guarantees import GUARANTEES, Guarantees
from chatroom_lib.checker.outcome import GUARD, WORKER, Outcome
from chatroom_lib.checker.package import Conditions, Package, pack
from chatroom_lib.checker.scenarios import SCENARIOS, Scenarios
from chatroom_lib.checker.scorecard import Scorecard
from chatroom_lib.checker.workers import BaseWorker, workers
from chatroom_lib.clients.scenario import require_scenario
from chatroom_lib.instrumentation.room_code import importing
from chatroom_lib.rooms import VERSIONS, RoomError, RoomSpec, display_name, resolve
from chatroom_lib.rooms.loader import split
from chatroom_lib.rooms.requirements import require_makeable
from chatroom_lib.runs.event_loop import Schedule, require_schedule
from chatroom_lib.runtime import platform
from chatroom_lib.runtime.console import usable_cores
from chatroom_lib.runtime.interrupts import interruptible
from chatroom_lib.runtime.progress import progress_bar
from chatroom_lib.server.options import require_keepalive


@interruptible()
def check(
    room: RoomSpec, seeds: int = 200, *, scenarios: Scenarios | None = None, guarantees: Guarantees | None = None,
    schedule: Schedule = "fifo", keepalive: float | None = None, time_limit: float = 30.0, memory_limit: int = 1 << 30,
    processes: int | None = None, progress: bool = True,
) -> Scorecard:  # fmt: skip
    """Try `room` in every scenario with the seeds 0 to `seeds` - 1: a version ("v1"), a class, a function that makes a
    room, a handler, or "path/to/file.py:NAME" of one of these. With 200 seeds that takes about a minute on two cores.

    `scenarios` are those of scenarios.SCENARIOS, unless given: each a Scenario, or a function that makes one of a
    random.Random. `guarantees` are those of guarantees.GUARANTEES, unless given: each a function that takes a Trace and
    returns a Verdict. `schedule`, `keepalive`: as for `simulate`. `processes`: as many as there are cores. `progress`:
    show how far it is.
    A run that takes more than `time_limit` seconds of its process's time has failed, and one in which there still is
    progress is not judged. One that takes more than `memory_limit` bytes has failed.
    Raises RoomError if there is no such room or none can be tried here, TypeError or ValueError for scenarios that
    cannot be made and guarantees that cannot judge, and ValueError if there is nothing to do.
    """
    require_able()
    if not isinstance(seeds, int) or seeds < 1:
        raise ValueError(f"seeds must be 1 or more, not {seeds!r}")
    require_candidate(room)
    chosen = SCENARIOS if scenarios is None else require_scenarios(scenarios)
    promises = GUARANTEES if guarantees is None else require_guarantees(guarantees)
    if not 0 < time_limit < math.inf or not memory_limit > 0:
        raise ValueError(
            f"time_limit={time_limit!r} (seconds) and memory_limit={memory_limit!r} (bytes) must be above 0"
        )
    conditions = Conditions(require_schedule(schedule), require_keepalive(keepalive), time_limit, memory_limit)
    trials = Check(pack(room, chosen, promises), seeds, list(chosen), conditions)
    outcomes = trials.run(processes or usable_cores(), display_name(room) if progress else None)
    return Scorecard.from_outcomes(room, chosen, promises, seeds, outcomes, conditions)


def require_able() -> None:
    """Raises RoomError where no room can be checked."""
    if platform.HAS_PROCESSES and not (hasattr(os, "killpg") and hasattr(signal, "setitimer")):
        raise RoomError(
            "check() needs a POSIX system, such as Linux or macOS: it tries rooms in processes of their own"
        )
    if WORKER in os.environ:
        place = importing(inspect.currentframe())
        who = f"{place} calls it, and is imported there" if place else "a room calls it"
        raise RoomError(f"check() cannot run in a process of check(): {who}; put the call below `{GUARD}`")


def require_candidate(room: RoomSpec) -> None:
    """Raises RoomError for what is seen to be no room without running its file."""
    if isinstance(room, str):
        if room not in VERSIONS:
            split(room)
    else:
        require_makeable(resolve(room), display_name(room))


def require_scenarios(scenarios: Scenarios) -> dict:
    if not isinstance(scenarios, Mapping):
        raise TypeError(f"scenarios must be a dictionary, {{name: scenario}}, not {scenarios!r:.80}")
    if not scenarios:
        raise ValueError("there is no scenario to try the room in")
    for name, scenario in scenarios.items():
        try:
            require_scenario(scenario)
        except TypeError as error:
            raise TypeError(f"{name!r}: {error}") from None
    return dict(scenarios)


def require_guarantees(guarantees: Guarantees) -> dict:
    if not isinstance(guarantees, Mapping) or not all(map(callable, guarantees.values())):
        raise TypeError(f"guarantees must be a dictionary, {{name: function of a Trace}}, not {guarantees!r:.80}")
    if not guarantees:
        raise ValueError("there is no guarantee to judge")
    return dict(guarantees)


class Check:
    """All runs of one check. Once a run has failed outright, its scenario is not tried with later seeds."""

    def __init__(self, package: Package, seeds: int, scenarios: list[str], conditions: Conditions):
        self.package, self.conditions, self.total = package, conditions, seeds * len(scenarios)
        self.runs: Iterator[tuple[str, int]] = ((name, seed) for seed in range(seeds) for name in scenarios)
        self.outcomes: dict[tuple[str, int], Outcome] = {}
        self.failed: dict[str, int] = {}  # scenario -> the first seed with which a run failed
        self.handed_out = 0
        self.lock = threading.Lock()  # held while a run is handed out or comes back

    def run(self, processes: int, title: str | None) -> dict[tuple[str, int], Outcome]:
        """(scenario, seed) -> Outcome. `title`: what the progress bar says; None: there is none."""
        crew = workers(self.package, self.conditions, min(processes, self.total))
        with progress_bar(title, self.total) as show:
            if platform.HAS_THREADS:
                self.run_beside_each_other(crew, show)
            else:
                self.serve(crew[0], show)
        return {run: outcome for run, outcome in self.outcomes.items() if run[1] <= self.failed.get(run[0], run[1])}

    def run_beside_each_other(self, crew: list[BaseWorker], show: Callable[[float], None]) -> None:
        """A thread for each worker."""
        with ThreadPoolExecutor(len(crew)) as threads:
            running = []
            try:
                for worker in crew:
                    running.append(threads.submit(self.serve, worker))
                while not self.is_over(running):
                    show(self.handed_out)
            finally:
                self.runs = iter(())  # if we are interrupted, no run follows,
                while wait(running, timeout=0.05).not_done:  # and nobody waits for one
                    for worker in crew:
                        worker.kill()

    @staticmethod
    def is_over(running: list[Future]) -> bool:
        """Have they ended? Waits for a moment. Raises what one of them has raised."""
        done, others = wait(running, timeout=0.2, return_when=FIRST_EXCEPTION)
        for each in done:
            each.result()
        return not others

    def serve(self, worker: BaseWorker, show: Callable[[float], None] = lambda done: None) -> None:
        try:
            while run := self.next_run():
                self.note(run, worker.run(*run))
                show(self.handed_out)
        finally:
            worker.end()

    def note(self, run: tuple[str, int], outcome: Outcome) -> None:
        with self.lock:
            self.outcomes[run] = outcome
            if outcome.failed:
                scenario, seed = run
                self.failed[scenario] = min(seed, self.failed.get(scenario, seed))

    def next_run(self) -> tuple[str, int] | None:
        with self.lock:
            for scenario, seed in self.runs:
                self.handed_out += 1
                if seed < self.failed.get(scenario, seed + 1):
                    return scenario, seed
        return None
