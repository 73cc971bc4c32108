"""The results of a benchmark: medians over its rounds and ratios to the baseline, as tables and as JSON."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from statistics import median

from chatroom_lib.bench.load_generator import Measurement
from chatroom_lib.bench.loads import Load
from chatroom_lib.bench.targets import BASELINE

COLUMNS = {  # of a table: the metric, its title with the unit, and its format
    "deliveries_per_second": ("deliveries/s", "{:,.0f}"),
    "p50_ms": ("p50 ms", "{:,.2f}"),
    "p99_ms": ("p99 ms", "{:,.2f}"),
    "cpu_us": ("CPU µs each", "{:,.2f}"),
    "bytes_per_connection": ("kB each", "{:,.1f}"),
}


@dataclass(frozen=True)
class Failure:
    """A target could not be measured under a load, and was not tried again."""

    round: int  # the first is 1
    reason: str

    def __str__(self):
        return f"failed in round {self.round}: {self.reason}"


@dataclass
class Report:
    """`measured[load][target]` is a list of Measurements, one for each round, `failures[load][target]` says why there
    are no more of them. Of a benchmark that was cut short, the last round may lack targets."""

    day: str  # YYYY-MM-DD
    machine: dict
    versions: dict  # target -> the package that it is built on, with its version
    missing: dict  # target -> why it was not measured
    rounds: int
    seconds: float  # of each measurement
    measured: dict[Load, dict[str, list[Measurement]]] = field(default_factory=dict)
    failures: dict[Load, dict[str, Failure]] = field(default_factory=dict)
    rounds_done: int | None = None  # unless it was cut short, `rounds`

    def __post_init__(self):
        if self.rounds_done is None:
            self.rounds_done = self.rounds

    @property
    def cut_short(self) -> bool:
        return self.rounds_done < self.rounds

    def results(self, load: Load, target: str) -> list[Measurement]:
        """One for each round in which `target` was measured under `load`, the first round first."""
        return self.measured.get(load, {}).get(target, [])

    def median(self, load: Load, target: str, metric: str) -> float | None:
        """The median of a Measurement's `metric` over the rounds; None if it was not measured."""
        return median_of(getattr(result, metric) for result in self.results(load, target))

    def ratio(self, load: Load, target: str, metric: str, to: str = BASELINE) -> float | None:
        """The median of `ratios`. None if in no round both were measured, and that of `to` was above 0."""
        return median_of(self.ratios(load, target, metric, to))

    def ratios(self, load: Load, target: str, metric: str, to: str = BASELINE) -> list[float]:
        """In each round the `metric` of `target`, divided by that of `to`, where both were measured."""
        pairs = zip(self.results(load, target), self.results(load, to))  # either may have failed in a later round
        values = ((getattr(one, metric), getattr(other, metric)) for one, other in pairs)
        return [one / other for one, other in values if one is not None and other and other > 0]

    def failure(self, load: Load, target: str) -> Failure | None:
        return self.failures.get(load, {}).get(target)

    def completed(self, load: Load) -> list[str]:
        """The targets that were measured under `load` and did not fail."""
        results = self.measured.get(load, {})
        return [name for name in results if results[name] and not self.failure(load, name)]

    def as_dict(self) -> dict:
        loads = [
            {
                **asdict(load),
                "title": str(load),
                "entrants": {name: self.row(load, name) for name in self.measured[load]},
            }
            for load in self.measured
        ]
        plain = {name: value for name, value in vars(self).items() if name not in ("measured", "failures")}
        # These keys are what --json has always printed.
        return {**plain, "cut_short": self.cut_short, "yardstick": BASELINE, "loads": loads}

    def row(self, load: Load, name: str) -> dict:
        """Why it failed, if it did; the medians, their ratios to the baseline, and the rounds, if there are any."""
        failure = self.failure(load, name)
        row = {"error": str(failure), "failed_in_round": failure.round} if failure else {}
        if not self.results(load, name):
            return {**row, "rounds": []}
        metrics = [*columns_of(load), *(() if is_idle(load) else ("server_cpu", "generator_cpu", "lost", "doubled"))]
        row |= {metric: self.median(load, name, metric) for metric in metrics}
        if self.results(load, BASELINE):
            row["ratios"] = {metric: self.ratio(load, name, metric) for metric in columns_of(load)}
        return {**row, "rounds": [asdict(result) for result in self.results(load, name)]}

    @classmethod
    def from_dict(cls, data: dict) -> "Report":
        """The Report from which `as_dict` made `data`, or whose JSON `chatroom bench --json` printed."""
        plain = {name: data[name] for name in ("day", "machine", "versions", "missing", "rounds", "seconds")}
        report = cls(**plain, rounds_done=data.get("rounds_done"))
        for loaded in data["loads"]:
            load = Load(loaded["clients"], loaded["in_flight"], loaded["rate"])
            rows = loaded["entrants"]
            report.measured[load] = {
                name: [Measurement(**result) for result in row.get("rounds", ())] for name, row in rows.items()
            }
            failures = {name: failure_in(row) for name, row in rows.items() if "error" in row}
            if failures:
                report.failures[load] = failures
        return report

    # ------------------------------------------------------------ tables

    def rows(self, load: Load) -> Iterable[list[str]]:
        """The cells of one table, a row for each target."""
        for name in self.measured[load]:
            if not self.results(load, name):
                yield [name, "failed" if self.failure(load, name) else "not reached"]
                continue
            row = [name]
            for metric, (_, form) in columns_of(load).items():
                value = self.median(load, name, metric)
                scaled = value and value / (1024 if metric == "bytes_per_connection" else 1)
                row += [cell(scaled, form), cell(self.ratio(load, name, metric), "{:,.2f}×")]
            if not is_idle(load):
                row += [cell(self.median(load, name, metric), "{:.0%}") for metric in ("server_cpu", "generator_cpu")]
                row.append(cell(self.median(load, name, "lost"), "{:,.0f}"))
            yield row

    def headers(self, load: Load) -> list[str]:
        headers = ["", *(header for title, _ in columns_of(load).values() for header in (title, ""))]
        return headers if is_idle(load) else [*headers, "server", "load", "lost"]

    def tables(self):
        """What rich prints on a terminal."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        tables = []
        for load in self.measured:
            table = Table(title=f"\n{load}", title_justify="left")
            for header in self.headers(load):
                table.add_column(header, justify="right" if table.columns else "left", no_wrap=True)
            for row in self.rows(load):
                table.add_row(*map(Text, row))
            tables += [table, *map(Text, self.remarks(load))]
        return Group(*tables, *map(Text, self.notes()))

    def remarks(self, load: Load) -> list[str]:
        """What there is to say about a table's rows."""
        remarks = [f"{name} {failure}." for name, failure in self.failures.get(load, {}).items()]
        for name in self.measured[load]:
            if doubled := self.median(load, name, "doubled"):
                remarks.append(f"{name} delivered {doubled:,.0f} messages more than once.")
        return remarks

    def notes(self) -> list[str]:
        cut_short = f"Cut short: {self.rounds_done} of {self.rounds} rounds are complete."
        return [
            "",
            *([cut_short] if self.cut_short else []),
            f"Medians of {self.rounds} rounds of {self.seconds:g} s; × is the ratio to {BASELINE} in the same round. "
            "Server and load: the share of a core that each process used. Lost: deliveries that never arrived.",
            f"{self.day}: {self.machine['cores']} cores, {self.machine['processor']}, {self.machine['system']}, "
            f"Python {self.machine['python']}, {', '.join(sorted(set(self.versions.values())))}.",
            *(f"Not measured: {name}: {why}" for name, why in self.missing.items()),
        ]

    def markdown(self) -> str:
        """The tables and notes as Markdown."""
        lines = []
        for load in self.measured:
            headers = self.headers(load)
            lines.append(f"\n## {load}\n")
            lines.append("| " + " | ".join(headers) + " |")
            lines.append("|" + "---|" + "--:|" * (len(headers) - 1))
            lines += ["| " + " | ".join(row) + " |" for row in self.rows(load)]
            lines += [f"\n{remark}" for remark in self.remarks(load)]
        return "\n".join([*lines, *self.notes(), ""])


def is_idle(load: Load) -> bool:
    return not (load.in_flight or load.rate)


def columns_of(load: Load) -> dict[str, tuple[str, str]]:
    return {name: column for name, column in COLUMNS.items() if (name == "bytes_per_connection") == is_idle(load)}


def median_of(values: Iterable[float | None]) -> float | None:
    """Of those that are not None; None if there are none."""
    there = [value for value in values if value is not None]
    return median(there) if there else None


def cell(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def failure_in(row: dict) -> Failure:
    """From the JSON of a row, which before there was "failed_in_round" said "failed: reason"."""
    number = row.get("failed_in_round", 1)
    return Failure(number, row["error"].removeprefix("failed: ").removeprefix(f"failed in round {number}: "))
