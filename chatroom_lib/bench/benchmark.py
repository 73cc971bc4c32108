"""The benchmark: every entrant under every load, round after round, told as multiples of the yardstick.

A round measures all entrants one after another, so that what disturbs the machine for a while disturbs them all. A
ratio compares two measurements of one round; the tables show medians over the rounds.
"""

import os
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from statistics import median

from chatroom_lib.bench.entrants import ENTRANTS, YARDSTICK, find
from chatroom_lib.bench.generator import Measurement
from chatroom_lib.bench.measurement import BenchError, cores, measure
from chatroom_lib.progress import progress_bar


@dataclass(frozen=True)
class Load:
    """What a server is put through: see `Job`."""

    clients: int
    in_flight: int = 0
    rate: float = 0.0  # messages a second

    def __str__(self):
        if self.rate:
            return f"{self.clients:,} clients, {self.rate:g} messages a second"
        if self.in_flight:
            return f"{self.clients:,} clients, {self.in_flight:,} in flight"
        return f"{self.clients:,} idle connections"


LOADS = (Load(200, 8), Load(200, 64), Load(2000, 16), Load(10, 1), Load(200, rate=100), Load(1000))
IN_FLIGHT, CLIENTS = 16, 200  # what stays the same in one curve, while the other grows
CURVES = {
    "clients": tuple(Load(clients, IN_FLIGHT) for clients in (10, 100, 1000, 4000)),
    "in flight": tuple(Load(CLIENTS, in_flight) for in_flight in (1, 8, 64, 256)),
}
ON_CURVES = (YARDSTICK, "v3.1", "v4")
QUICK = dict(
    entrants=(YARDSTICK, "v1", "v3.1", "v4", "FastAPI", "aiohttp"),
    loads=(Load(200, 8), Load(500)),
    curves=False,
    warm_up=0.2,
    seconds=0.5,
)
COLUMNS = {  # of a table: how to read a number, its unit, and how it is shown
    "deliveries_per_second": ("deliveries/s", "{:,.0f}"),
    "p50_ms": ("p50 ms", "{:,.2f}"),
    "p99_ms": ("p99 ms", "{:,.2f}"),
    "cpu_us": ("CPU µs each", "{:,.2f}"),
    "bytes_per_connection": ("kB each", "{:,.1f}"),
}


@dataclass
class Report:
    """`measured[load][entrant]` is a list with a Measurement for each round, or the text of what went wrong."""

    day: str
    machine: dict
    versions: dict  # entrant -> what it stands on
    missing: dict  # entrant -> why it did not take part
    rounds: int
    seconds: float  # of each measurement
    measured: dict[Load, dict[str, "list[Measurement] | str"]] = field(default_factory=dict)

    def median(self, load: Load, entrant: str, what: str) -> float:
        return median(getattr(result, what) for result in self.measured[load][entrant])

    def ratio(self, load: Load, entrant: str, what: str, to: str = YARDSTICK) -> float:
        """The median, over the rounds, of how many times as much `entrant` has as `to`."""
        pairs = zip(self.measured[load][entrant], self.measured[load][to])
        return median(getattr(one, what) / getattr(other, what) for one, other in pairs)

    def fit(self, load: Load) -> list[str]:
        """The entrants that got through `load`."""
        return [name for name, results in self.measured[load].items() if not isinstance(results, str)]

    def as_dict(self) -> dict:
        loads = [
            {
                **asdict(load),
                "title": str(load),
                "entrants": {
                    name: {"error": results} if isinstance(results, str) else self.row(load, name)
                    for name, results in self.measured[load].items()
                },
            }
            for load in self.measured
        ]
        plain = {name: value for name, value in vars(self).items() if name != "measured"}
        return {**plain, "yardstick": YARDSTICK, "loads": loads}

    def row(self, load: Load, name: str) -> dict:
        """The medians, their ratios to the yardstick, and the rounds."""
        whats = [*columns_of(load), *(() if idle(load) else ("server_cpu", "generator_cpu", "lost"))]
        row = {what: self.median(load, name, what) for what in whats}
        if YARDSTICK in self.fit(load):
            row["ratios"] = {what: self.ratio(load, name, what) for what in columns_of(load)}
        return {**row, "rounds": [asdict(result) for result in self.measured[load][name]]}

    @classmethod
    def from_dict(cls, data: dict) -> "Report":
        """What `as_dict` made, or what `chatroom bench --json` printed."""
        plain = {name: data[name] for name in ("day", "machine", "versions", "missing", "rounds", "seconds")}
        measured = {
            Load(loaded["clients"], loaded["in_flight"], loaded["rate"]): {
                name: row.get("error") or [Measurement(**result) for result in row["rounds"]]
                for name, row in loaded["entrants"].items()
            }
            for loaded in data["loads"]
        }
        return cls(**plain, measured=measured)

    # ------------------------------------------------------------ to be read

    def rows(self, load: Load) -> Iterable[list[str]]:
        """The cells of one table, a row for each entrant."""
        for name, results in self.measured[load].items():
            if isinstance(results, str):
                yield [name, results]
                continue
            row = [name]
            for what, (_, form) in columns_of(load).items():
                value = self.median(load, name, what) / (1024 if what == "bytes_per_connection" else 1)
                row.append(form.format(value))
                row.append(f"{self.ratio(load, name, what):,.2f}×" if YARDSTICK in self.fit(load) else "")
            if not idle(load):
                row += [f"{self.median(load, name, what):.0%}" for what in ("server_cpu", "generator_cpu")]
                row.append(f"{self.median(load, name, 'lost'):,.0f}")
            yield row

    def heads(self, load: Load) -> list[str]:
        heads = ["", *(head for title, _ in columns_of(load).values() for head in (title, ""))]
        return heads if idle(load) else [*heads, "server", "load", "lost"]

    def tables(self):
        """For a terminal."""
        from rich.console import Group
        from rich.table import Table

        tables = []
        for load in self.measured:
            table = Table(title=f"\n{load}", title_justify="left")
            for head in self.heads(load):
                table.add_column(head, justify="right" if table.columns else "left", no_wrap=True)
            for row in self.rows(load):
                table.add_row(*row)
            tables.append(table)
        return Group(*tables, *self.notes())

    def notes(self) -> list[str]:
        return [
            "",
            f"Medians of {self.rounds} rounds of {self.seconds:g} s; × is the ratio to {YARDSTICK} in the same round. "
            "Server and load: the share of a core that each process took. Lost: deliveries that never came.",
            f"{self.day}: {self.machine['cores']} cores, {self.machine['processor']}, {self.machine['system']}, "
            f"Python {self.machine['python']}, {', '.join(sorted(set(self.versions.values())))}.",
            *(f"Not measured: {name}: {why}" for name, why in self.missing.items()),
        ]

    def markdown(self) -> str:
        parts = []
        for load in self.measured:
            heads = self.heads(load)
            parts.append(f"\n## {load}\n")
            parts.append("| " + " | ".join(heads) + " |")
            parts.append("|" + "---|" + "--:|" * (len(heads) - 1))
            parts += ["| " + " | ".join(row) + " |" for row in self.rows(load)]
        return "\n".join([*parts, *self.notes(), ""])


def idle(load: Load) -> bool:
    return not (load.in_flight or load.rate)


def columns_of(load: Load) -> dict[str, tuple[str, str]]:
    return {what: column for what, column in COLUMNS.items() if (what == "bytes_per_connection") == idle(load)}


def machine() -> dict:
    """What the numbers depend on, and nothing that names the machine."""
    return {
        "cores": os.cpu_count(),
        "pinned": cores() != (-1, -1),
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


def bench(
    entrants: Iterable[str] = tuple(ENTRANTS),
    loads: Iterable[Load] = LOADS,
    rounds: int = 3,
    warm_up: float = 0.5,
    seconds: float = 1.5,
    curves: bool = True,
    progress: bool = True,
) -> Report:
    """Measure `entrants` (see `ENTRANTS`; or a version, or path/to/file.py:Class) under `loads`, `rounds` times.

    `curves`: also three of them under the loads of the scaling curves. Raises RoomError for a name that is none.
    """
    versions, missing = {}, {}
    for name in (YARDSTICK, *entrants):
        try:
            versions[name] = find(name).version
        except LookupError as error:
            missing[name] = str(error)
    report = Report(date.today().isoformat(), machine(), versions, missing, rounds, seconds)
    plan = [(load, name) for load in loads for name in versions]
    if curves:
        extra = [(load, name) for curve in CURVES.values() for load in curve for name in ON_CURVES]
        plan = list(dict.fromkeys([*plan, *extra]))
    with progress_bar("benchmark" if progress else None, rounds * len(plan)) as show:
        for number in range(rounds):
            for place, (load, name) in enumerate(plan):
                show(number * len(plan) + place)
                add(report.measured.setdefault(load, {}), load, name, warm_up, seconds)
    return report


def add(results: dict, load: Load, name: str, warm_up: float, seconds: float) -> None:
    """One more measurement. Who fails once does not run again."""
    if isinstance(results.get(name), str):
        return
    try:
        results.setdefault(name, []).append(measure(name, **asdict(load), warm_up=warm_up, seconds=seconds))
    except BenchError as error:
        results[name] = f"failed: {error}"
