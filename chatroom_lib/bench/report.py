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


@dataclass
class Report:
    """`measured[load][target]` is a list of Measurements, one for each round, or a text that says why it failed."""

    day: str  # YYYY-MM-DD
    machine: dict
    versions: dict  # target -> the package that it is built on, with its version
    missing: dict  # target -> why it was not measured
    rounds: int
    seconds: float  # of each measurement
    measured: dict[Load, dict[str, "list[Measurement] | str"]] = field(default_factory=dict)

    def median(self, load: Load, target: str, metric: str) -> float:
        """The median of a Measurement's `metric` over the rounds."""
        return median(getattr(result, metric) for result in self.measured[load][target])

    def ratio(self, load: Load, target: str, metric: str, to: str = BASELINE) -> float:
        """The median over the rounds of the `metric` of `target`, divided by that of `to` in the same round."""
        pairs = zip(self.measured[load][target], self.measured[load][to], strict=True)
        return median(getattr(one, metric) / getattr(other, metric) for one, other in pairs)

    def completed(self, load: Load) -> list[str]:
        """The targets that were measured under `load` and did not fail."""
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
        return {**plain, "yardstick": BASELINE, "loads": loads}  # these keys are what --json has always printed

    def row(self, load: Load, name: str) -> dict:
        """The medians, their ratios to the baseline, and the rounds."""
        metrics = [*columns_of(load), *(() if is_idle(load) else ("server_cpu", "generator_cpu", "lost"))]
        row = {metric: self.median(load, name, metric) for metric in metrics}
        if BASELINE in self.completed(load):
            row["ratios"] = {metric: self.ratio(load, name, metric) for metric in columns_of(load)}
        return {**row, "rounds": [asdict(result) for result in self.measured[load][name]]}

    @classmethod
    def from_dict(cls, data: dict) -> "Report":
        """The Report from which `as_dict` made `data`, or whose JSON `chatroom bench --json` printed."""
        plain = {name: data[name] for name in ("day", "machine", "versions", "missing", "rounds", "seconds")}
        measured = {
            Load(loaded["clients"], loaded["in_flight"], loaded["rate"]): {
                name: row.get("error") or [Measurement(**result) for result in row["rounds"]]
                for name, row in loaded["entrants"].items()
            }
            for loaded in data["loads"]
        }
        return cls(**plain, measured=measured)

    # ------------------------------------------------------------ tables

    def rows(self, load: Load) -> Iterable[list[str]]:
        """The cells of one table, a row for each target."""
        for name, results in self.measured[load].items():
            if isinstance(results, str):
                yield [name, results]
                continue
            row = [name]
            for metric, (_, form) in columns_of(load).items():
                value = self.median(load, name, metric) / (1024 if metric == "bytes_per_connection" else 1)
                row.append(form.format(value))
                row.append(f"{self.ratio(load, name, metric):,.2f}×" if BASELINE in self.completed(load) else "")
            if not is_idle(load):
                row += [f"{self.median(load, name, metric):.0%}" for metric in ("server_cpu", "generator_cpu")]
                row.append(f"{self.median(load, name, 'lost'):,.0f}")
            yield row

    def headers(self, load: Load) -> list[str]:
        headers = ["", *(header for title, _ in columns_of(load).values() for header in (title, ""))]
        return headers if is_idle(load) else [*headers, "server", "load", "lost"]

    def tables(self):
        """What rich prints on a terminal."""
        from rich.console import Group
        from rich.table import Table

        tables = []
        for load in self.measured:
            table = Table(title=f"\n{load}", title_justify="left")
            for header in self.headers(load):
                table.add_column(header, justify="right" if table.columns else "left", no_wrap=True)
            for row in self.rows(load):
                table.add_row(*row)
            tables.append(table)
        return Group(*tables, *self.notes())

    def notes(self) -> list[str]:
        return [
            "",
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
        return "\n".join([*lines, *self.notes(), ""])


def is_idle(load: Load) -> bool:
    return not (load.in_flight or load.rate)


def columns_of(load: Load) -> dict[str, tuple[str, str]]:
    return {name: column for name, column in COLUMNS.items() if (name == "bytes_per_connection") == is_idle(load)}
