"""What a benchmark found: medians over its rounds, and ratios to the baseline, as tables and as JSON."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from statistics import median

from chatroom_lib.bench.load_generator import Measurement
from chatroom_lib.bench.loads import Load
from chatroom_lib.bench.targets import BASELINE

COLUMNS = {  # of a table: how to read a number, its unit, and how it is shown
    "deliveries_per_second": ("deliveries/s", "{:,.0f}"),
    "p50_ms": ("p50 ms", "{:,.2f}"),
    "p99_ms": ("p99 ms", "{:,.2f}"),
    "cpu_us": ("CPU µs each", "{:,.2f}"),
    "bytes_per_connection": ("kB each", "{:,.1f}"),
}


@dataclass
class Report:
    """`measured[load][target]` is a list with a Measurement for each round, or the text of what went wrong."""

    day: str
    machine: dict
    versions: dict  # target -> what it stands on
    missing: dict  # target -> why it did not take part
    rounds: int
    seconds: float  # of each measurement
    measured: dict[Load, dict[str, "list[Measurement] | str"]] = field(default_factory=dict)

    def median(self, load: Load, target: str, what: str) -> float:
        return median(getattr(result, what) for result in self.measured[load][target])

    def ratio(self, load: Load, target: str, what: str, to: str = BASELINE) -> float:
        """The median, over the rounds, of how many times as much `target` has as `to`."""
        pairs = zip(self.measured[load][target], self.measured[load][to])
        return median(getattr(one, what) / getattr(other, what) for one, other in pairs)

    def fit(self, load: Load) -> list[str]:
        """The targets that got through `load`."""
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
        whats = [*columns_of(load), *(() if idle(load) else ("server_cpu", "generator_cpu", "lost"))]
        row = {what: self.median(load, name, what) for what in whats}
        if BASELINE in self.fit(load):
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
        """The cells of one table, a row for each target."""
        for name, results in self.measured[load].items():
            if isinstance(results, str):
                yield [name, results]
                continue
            row = [name]
            for what, (_, form) in columns_of(load).items():
                value = self.median(load, name, what) / (1024 if what == "bytes_per_connection" else 1)
                row.append(form.format(value))
                row.append(f"{self.ratio(load, name, what):,.2f}×" if BASELINE in self.fit(load) else "")
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
            f"Medians of {self.rounds} rounds of {self.seconds:g} s; × is the ratio to {BASELINE} in the same round. "
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
