"""The benchmark: every target under every load, round after round, all of it relative to the baseline.

A round measures all targets one after another, so that whatever disturbs the machine for a while disturbs them all.
A ratio compares two measurements of the same round; the tables show medians over the rounds.
"""

import os
import platform
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import date
from pathlib import Path

from chatroom_lib.bench.loads import CURVES, LOADS, ON_CURVES, Load
from chatroom_lib.bench.measurement import BenchError, measure, two_cores
from chatroom_lib.bench.report import Failure, Report
from chatroom_lib.bench.targets import BASELINE, TARGETS, find
from chatroom_lib.runtime.progress import progress_bar


def bench(
    targets: Iterable[str] = tuple(TARGETS),
    loads: Iterable[Load] = LOADS,
    rounds: int = 3,
    warm_up: float = 0.5,
    seconds: float = 1.5,
    curves: bool = True,
    progress: bool = True,
    on_round: Callable[[Report], object] | None = None,
) -> Report:
    """Measure the baseline and `targets` (names in `TARGETS`, versions, or "path/to/file.py:NAME") under `loads`,
    `rounds` times.

    `warm_up` and `seconds`: how long each load lasts before the measured window, and in it. `curves`: also measure the
    targets `ON_CURVES` under the loads of `CURVES`. `progress`: show a bar. All of it takes a quarter of an hour.
    `on_round` is called with the Report so far after each round, and once more if the benchmark is cut short by an
    interrupt or an error, before that goes on; `Report.rounds_done` says how many rounds are complete.

    A target that is not installed, or that fails under a load, is a row of the Report, with the reason.
    Raises RoomError for a name that is neither a target nor a room.
    """
    chosen, on_curves = dict.fromkeys([BASELINE, *targets]), ON_CURVES if curves else ()
    versions, missing = {}, {}
    for name in dict.fromkeys([*chosen, *on_curves]):
        try:
            versions[name] = find(name).version
        except LookupError as error:
            missing[name] = str(error)
    report = Report(date.today().isoformat(), machine(), versions, missing, rounds, seconds, rounds_done=0)
    plan = [(load, name) for load in loads for name in chosen]
    extra = [(load, name) for curve in CURVES.values() for load in curve for name in on_curves]
    plan = [(load, name) for load, name in dict.fromkeys([*plan, *extra]) if name in versions]
    on_round = on_round or (lambda report: None)
    with progress_bar("benchmark" if progress else None, rounds * len(plan)) as show:
        try:
            for number in range(rounds):
                for index, (load, name) in enumerate(plan):
                    show(number * len(plan) + index)
                    add(report, load, name, number + 1, warm_up, seconds)
                report.rounds_done = number + 1
                on_round(report)
        except BaseException:
            on_round(report)
            raise
    return report


def add(report: Report, load: Load, name: str, number: int, warm_up: float, seconds: float) -> None:
    """Add the measurement of round `number` to `report`. A target that has failed once is not measured again."""
    if report.failure(load, name):
        return
    results = report.measured.setdefault(load, {}).setdefault(name, [])
    try:
        results.append(measure(name, **asdict(load), warm_up=warm_up, seconds=seconds))
    except BenchError as error:
        report.failures.setdefault(load, {})[name] = Failure(number, str(error))


def machine() -> dict:
    """What the numbers depend on, and nothing that identifies the machine."""
    return {
        "cores": os.cpu_count(),
        "pinned": two_cores() != (-1, -1),
        "processor": processor(),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
    }


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
