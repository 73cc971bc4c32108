"""Put a room through everything: `check(Room)` tries each scenario with each seed, and judges each guarantee.

    card = check("v1.1")                       # a table; in a notebook as the last line of a cell
    card.broken                                # {"delivery": Score(tested=200, kept=81, broken=119, ...), ...}
    trace = card.replay("no-false-eviction")   # the first run that broke it, to look at
    trace = card.shortest("no-false-eviction") # the smallest one that can be found

The runs take place in processes of their own, one for each core, so that a room can end or block nothing but its own
run (see worker.py). That is no sandbox: what the room does to files or to the network, it does.

The same seeds give the same card, as long as the room has no source of randomness but the seed. Its clock may be the
loop's, or `time.time()` and its like; `random` starts anew with each seed. But a set of objects that have no `__hash__`
of their own has another order in every process.
"""

import inspect
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait

from chatroom_lib.checker.scenarios import SCENARIOS, Scenarios
from chatroom_lib.checker.scorecard import Scorecard
from chatroom_lib.checker.worker import Outcome, Worker, pack
from chatroom_lib.rooms import RoomError, RoomSpec, display_name, resolve
from chatroom_lib.runtime.console import usable_cores
from chatroom_lib.runtime.interrupts import interruptible
from chatroom_lib.runtime.progress import progress_bar


@interruptible()
def check(
    room: RoomSpec, seeds: int = 200, *, scenarios: Scenarios | None = None,
    processes: int | None = None, progress: bool = True,
) -> Scorecard:  # fmt: skip
    """Try `room` in every scenario with the seeds 0 to `seeds` - 1: a version ("v1"), a class, a function that makes a
    room, or "path/to/file.py:Class". With 200 seeds that takes about a minute on two cores.

    `scenarios` are those of scenarios.SCENARIOS, unless given: each a Scenario, or a function that makes one of a
    random.Random. `processes`: as many as there are cores. `progress`: show how far it is.
    Raises RoomError if there is no such room, and ValueError if there is nothing to do.
    """
    if not isinstance(seeds, int) or seeds < 1:
        raise ValueError(f"seeds must be 1 or more, not {seeds!r}")
    require_no_arguments(room)
    chosen = SCENARIOS if scenarios is None else dict(scenarios)
    if not chosen:
        raise ValueError("there is no scenario to try the room in")
    trials = Check(pack(room, chosen), seeds, list(chosen))
    outcomes = trials.run(processes or usable_cores(), display_name(room) if progress else None)
    return Scorecard.from_outcomes(room, chosen, seeds, outcomes)


def require_no_arguments(room: RoomSpec) -> None:
    """Raises RoomError unless a room can be made without saying more."""
    factory = resolve(room)
    if isinstance(factory, type):
        try:
            inspect.signature(factory).bind()
        except TypeError as error:
            name = factory.__name__
            raise RoomError(f"cannot make a {name}: {error}; try a function that makes one") from None


class Check:
    """All runs of one check. Once a run has failed outright, its scenario is not tried with later seeds."""

    def __init__(self, packed: bytes, seeds: int, scenarios: list[str]):
        self.packed, self.total = packed, seeds * len(scenarios)
        self.runs: Iterator[tuple[str, int]] = ((name, seed) for seed in range(seeds) for name in scenarios)
        self.outcomes: dict[tuple[str, int], Outcome] = {}
        self.failed: dict[str, int] = {}  # scenario -> the first seed with which a run failed
        self.handed_out = 0
        self.lock = threading.Lock()  # held while a run is handed out or comes back

    def run(self, processes: int, title: str | None) -> dict[tuple[str, int], Outcome]:
        """(scenario, seed) -> Outcome. `title`: what the progress bar says; None: there is none."""
        workers = [Worker(self.packed) for _ in range(min(processes, self.total))]
        with ThreadPoolExecutor(len(workers)) as threads, progress_bar(title, self.total) as show:
            running = []
            try:
                for worker in workers:
                    running.append(threads.submit(self.serve, worker))
                while wait(running, timeout=0.2).not_done:
                    show(self.handed_out)
            finally:
                self.runs = iter(())  # if we are interrupted, no run follows,
                while wait(running, timeout=0.05).not_done:  # and nobody waits for one
                    for worker in workers:
                        worker.kill()
            for each in running:
                each.result()
        return {run: outcome for run, outcome in self.outcomes.items() if run[1] <= self.failed.get(run[0], run[1])}

    def serve(self, worker: Worker) -> None:
        try:
            while run := self.next_run():
                self.note(run, worker.run(*run))
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
