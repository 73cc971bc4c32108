"""The result of a check: how often each guarantee was kept and broken, as a table, and the runs behind it."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from html import escape
from io import StringIO
from textwrap import fill

from rich import box
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from chatroom_lib import rooms
from chatroom_lib.checker.guarantees import GROUPS, NOT_PROMISED, Guarantees, Verdict
from chatroom_lib.checker.outcome import Outcome
from chatroom_lib.checker.package import Conditions
from chatroom_lib.checker.scenarios import Scenarios, needs_path
from chatroom_lib.checker.shrink import replay, shrink
from chatroom_lib.rooms import RoomSpec
from chatroom_lib.trace import Trace

WORST_FIRST = [False, True, None]
LONGEST_NAME, NARROW = 24, 11  # characters in a line for the name of a guarantee
NOT_TESTED_MARK, KEPT_MARK = "\N{MIDDLE DOT}", "\N{CHECK MARK}"
GROUP_STYLE = "text-align: left; font-weight: normal; font-style: italic"
KEPT_COLOUR, BROKEN_COLOUR = "rgba(27, 120, 55, 0.3)", "rgba(214, 0, 110, 0.3)"  # on light pages and on dark ones


@dataclass
class Score:
    """How often a guarantee was tested, in one scenario or in all."""

    tested: int = 0  # seeds with which it could be judged
    kept: int = 0
    broken: int = 0
    first_seed: int | None = None  # the first with which it was broken
    scenario: str | None = None  # in which one
    evidence: str | None = None  # who, what and when
    untested: str | None = None  # why it could not be judged, with the first seed with which it could not

    unit = "seed"  # what is counted; of the class

    def which(self, seed: int) -> str:
        return f"seed {seed}"

    @property
    def mark(self) -> str:
        return (str(self.broken) if self.broken else KEPT_MARK) if self.tested else NOT_TESTED_MARK

    @property
    def problem(self) -> str:
        """The evidence against it, or why it is not tested; "" if it was kept."""
        if self.broken:
            return f"{self.evidence} ({self.which(self.first_seed)}, {self.scenario})"
        return "" if self.tested else f"not tested: {self.untested}".removesuffix(": ")

    @property
    def style(self) -> str:
        return ("bold red" if self.broken else "green") if self.tested else "dim"

    def add(self, verdict: Verdict, scenario: str, seed: int) -> None:
        """One more seed; they come in order."""
        if verdict.kept is None:
            self.untested = self.untested or verdict.evidence
            return
        self.tested += 1
        self.kept += verdict.kept
        self.broken += not verdict.kept
        if not verdict.kept and self.first_seed is None:
            self.first_seed, self.scenario, self.evidence = seed, scenario, verdict.evidence


class RoundScore(Score):
    """The same of a server that is tried from outside, in rounds: seed 0 is the first."""

    unit = "round"

    def which(self, seed: int) -> str:
        return f"round {seed + 1}"


class GuaranteeError(AssertionError):
    """A room breaks what it should keep, or that could not be tested."""


@dataclass
class Scorecard:
    """Which guarantees a room keeps. `repr` is a table for a terminal, and a notebook shows one, too."""

    room: str
    seeds: int
    scores: dict[str, Score]  # guarantee -> over all scenarios; a seed breaks it if any scenario does
    cells: dict[tuple[str, str], Score]  # (guarantee, scenario) -> in this one
    failed: dict[str, int]  # scenario -> the seed with which a run failed outright, so that it was tried no further
    made_by: RoomSpec = field(repr=False, compare=False)  # what makes the room
    scenarios: Scenarios = field(repr=False, compare=False)
    guarantees: Guarantees = field(repr=False, compare=False)
    conditions: Conditions  # under which it was tried
    notes: list[tuple[str, str]] = field(default_factory=list)  # (what, why): what else there is to say
    runs: dict[tuple[str, int], Trace] | None = field(
        default=None, repr=False, compare=False
    )  # of a server: those kept

    @classmethod
    def from_outcomes(
        cls, room: RoomSpec, scenarios: Scenarios, guarantees: Guarantees, seeds: int,
        outcomes: dict[tuple[str, int], Outcome], conditions: Conditions, kind: type[Score] = Score, **more,
    ) -> "Scorecard":  # fmt: skip
        """From the outcome of each (scenario, seed); the others as they were given to `check`, or fields."""
        scores = {guarantee: kind() for guarantee in guarantees}
        cells = {(guarantee, scenario): kind() for guarantee in guarantees for scenario in scenarios}
        for seed in range(seeds):
            tried = {name: outcomes[name, seed].verdicts for name in scenarios if (name, seed) in outcomes}
            for guarantee, score in scores.items():
                verdicts = [(verdicts[guarantee], name) for name, verdicts in tried.items()]
                for verdict, name in verdicts:
                    cells[guarantee, name].add(verdict, name, seed)
                if verdicts:
                    score.add(*min(verdicts, key=how_bad), seed)
        failed = {name: seed for name in scenarios for seed in range(seeds) if is_failure(outcomes.get((name, seed)))}
        names = [outcome.room for outcome in outcomes.values() if outcome.room]  # what the rooms call themselves
        name = names[0] if names and not isinstance(room, str) else rooms.display_name(room)
        return cls(name, seeds, scores, cells, failed, room, scenarios, guarantees, conditions, **more)

    @property
    def broken(self) -> dict[str, Score]:
        return {name: score for name, score in self.scores.items() if score.broken}

    @property
    def kept(self) -> list[str]:
        """The guarantees that were tested and never broken."""
        return [name for name, score in self.scores.items() if score.tested and not score.broken]

    @property
    def untested(self) -> list[str]:
        return [name for name, score in self.scores.items() if not score.tested]

    def as_dict(self) -> dict:
        """For JSON. Equal for equal rooms and seeds, in every process."""
        return {
            "room": self.room,
            "seeds": self.seeds,
            **self.conditions._asdict(),
            "guarantees": {name: asdict(score) for name, score in self.scores.items()},
            "cells": {
                name: {scenario: asdict(self.cells[name, scenario]) for scenario in self.scenarios}
                for name in self.scores
            },
            "failed": self.failed,
        }

    @property
    def promised(self) -> list[str]:
        """Those that are about a room of this kind: one with a history or without, one that pings or does not."""
        return [name for name, score in self.scores.items() if score.tested or score.untested not in NOT_PROMISED]

    def require(self, *names: str, but: Iterable[str] = ()) -> None:
        """Raise GuaranteeError, with the evidence, unless the guarantees of these names, or else all `but` those, were
        tested and never broken. For your own tests. Those about a history are required of a room that takes no `path`
        only by name, and those about presence of one that pings nobody. Raises ValueError for a name that there is
        not."""
        for name in (*names, *but):
            self.score_of(name)
        wanted = [name for name in names or self.promised if name not in but]
        problems = [f"{name}: {self.scores[name].problem}" for name in wanted if self.scores[name].problem]
        if problems:
            raise GuaranteeError("\n".join([f"{self.room} does not keep what it should:", *problems]))

    def score_of(self, guarantee: str) -> Score:
        if guarantee not in self.scores:
            raise ValueError(f"no guarantee {guarantee!r}: there are {', '.join(self.scores)}")
        return self.scores[guarantee]

    # ------------------------------------------------------------ the runs behind it

    def replay(self, guarantee: str, scenario: str | None = None) -> Trace:
        """The first run that broke a guarantee, in any scenario or in this one.

        It runs in a process of its own, as for the check. Raises ValueError if the guarantee was never broken, if the
        run leaves no trace, or if it cannot be repeated. (Of a server that was tried from outside, that run is kept.)
        """
        name, seed = self.first_broken(guarantee, scenario)
        if self.runs is not None:
            return self.runs[name, seed]
        trace = replay(self.made_by, self.scenarios[name], seed, self.conditions)
        if self.guarantees[guarantee](trace).kept is not False:
            raise ValueError(
                f"with seed {trace.seed} {self.room} does not do the same again: it has another source of randomness, "
                "such as the order of a set of objects or another clock"
            )
        return trace

    def shortest(self, guarantee: str, scenario: str | None = None, progress: bool = True) -> Trace:
        """The smallest run found that breaks a guarantee: people and messages of a run that broke it are left out, for
        as long as it is still broken. `progress`: show how far it is. Raises what `replay` raises.
        """
        name, seed = self.first_broken(guarantee, scenario)
        if self.runs is not None:
            raise ValueError("a run on a server cannot be repeated, and so not be made shorter: see card.replay()")
        title = f"{self.room}, the shortest run" if progress else None
        promise = self.guarantees[guarantee]
        return shrink(self.made_by, self.scenarios[name], seed, promise, self.conditions, title)

    def first_broken(self, guarantee: str, scenario: str | None) -> tuple[str, int]:
        """The name of the scenario and the seed of the first run that broke it."""
        in_any = self.score_of(guarantee)
        if scenario is not None and scenario not in self.scenarios:
            raise ValueError(f"no scenario {scenario!r}: there are {', '.join(self.scenarios)}")
        score = in_any if scenario is None else self.cells[guarantee, scenario]
        if score.first_seed is None:
            where = f" in {scenario!r}" if scenario else ""
            why = (
                f"was kept with all {score.tested} {score.unit}s"
                if score.tested
                else f"could not be tested: {score.untested}"
            )
            raise ValueError(f"{guarantee}{where} {why}: there is no run to show")
        return score.scenario, score.first_seed

    # ------------------------------------------------------------ as a table

    @property
    def tried(self) -> list[str]:
        """The scenarios without those that are for rooms of another kind."""

        def was(name: str) -> bool:
            return any(self.cells[guarantee, name].untested not in NOT_PROMISED for guarantee in self.scores)

        return [name for name, scenario in self.scenarios.items() if was(name) or not needs_path(scenario)]

    def grid(self) -> "Grid":
        tried = self.tried
        rows = {
            guarantee: [score, *(self.cells[guarantee, scenario] for scenario in tried)]
            for guarantee, score in self.scores.items()
        }
        remarks = [(name, score.problem) for name, score in self.scores.items() if score.problem]
        which = next(iter(self.scores.values())).which
        remarks += [
            (name, f"tried no further after {which(seed)}: the run failed") for name, seed in self.failed.items()
        ]
        remarks += self.notes
        title = self.room + ", tasks in any order" * (self.conditions.schedule == "any")
        if self.conditions.keepalive is not None:
            title += f", keepalive {self.conditions.keepalive:g} s"
        return Grid(title, self.seeds, ["any", *tried], rows, remarks)

    def __rich__(self):
        return self.grid()

    def __repr__(self):
        return repr(self.grid())

    def _repr_html_(self):
        return self.grid()._repr_html_()


def how_bad(verdict: tuple[Verdict, str]) -> tuple[int, bool]:
    """The worst first, and of those that say nothing, those that say why."""
    return WORST_FIRST.index(verdict[0].kept), not verdict[0].evidence


def is_failure(outcome: Outcome | None) -> bool:
    return outcome is not None and outcome.failed


def compare(*cards: Scorecard) -> "Grid":
    """The cards of several rooms, checked with the same number of seeds, side by side: a column for each.

    Raises TypeError for what is no card, and ValueError for other numbers of seeds.
    """
    for card in cards:
        if not isinstance(card, Scorecard):
            raise TypeError(f'compare() takes cards, as in compare(check("v1"), check("v2")), not {card!r:.80}')
    if len({card.seeds for card in cards}) != 1:
        seeds = ", ".join(str(card.seeds) for card in cards) or "no card"
        raise ValueError(f"only cards with the same number of seeds can be compared; these have {seeds}")
    names = dict.fromkeys(name for card in cards for name in card.scores)
    rows = {name: [card.scores.get(name, Score()) for card in cards] for name in names}
    return Grid(f"{len(cards)} rooms", cards[0].seeds, [card.room for card in cards], rows)


@dataclass
class Grid:
    """Scores in rows and columns: for a terminal, as text, and for a notebook."""

    title: str
    seeds: int
    columns: list[str]
    rows: dict[str, list[Score]]
    remarks: list[tuple[str, str]] = field(default_factory=list)  # (what, why)

    def groups(self) -> list[tuple[str, list[tuple[str, list[Score]]]]]:
        """What each group of guarantees is about, and its rows; without those of which nothing was tested, and for one
        and the same reason."""
        about = {name: GROUPS.get(name, "your own") for name in self.rows}
        groups = [
            (group, [(name, scores) for name, scores in self.rows.items() if about[name] == group])
            for group in dict.fromkeys(about.values())
        ]
        return [(group, rows) for group, rows in groups if not why_untested(rows)]

    def below(self) -> list[tuple[str, str]]:
        """The remarks; the groups that are left out are one each."""
        shown = {name for _, rows in self.groups() for name, _ in rows}
        remarks = [remark for remark in self.remarks if remark[0] in shown or remark[0] not in self.rows]
        left_out: dict[str, list] = {}  # group, or a guarantee of somebody's own
        for name, scores in self.rows.items():
            if name not in shown:
                left_out.setdefault(GROUPS.get(name, name), []).append((name, scores))
        for what, rows in left_out.items():
            remarks.append(("not tested", f"{what} ({why_untested(rows)})"))
        return remarks

    @property
    def legend(self) -> str:
        marks = f"{KEPT_MARK} kept, {NOT_TESTED_MARK} not tested"
        if self.unit == "round":
            return f"{marks}, a number: the rounds, of {self.seeds}, in which it was broken"
        return f"{marks}, a number: the seeds, of {self.seeds}, with which it was broken"

    @property
    def unit(self) -> str:
        return next((score.unit for scores in self.rows.values() for score in scores), Score.unit)

    @property
    def heading(self) -> str:
        return f"{self.title}, {self.seeds} {self.unit}{'s' * (self.unit != 'round' or self.seeds != 1)}"

    def __rich_console__(self, _, options) -> Iterator:
        """For rich, which tells how wide the terminal is: in 80 columns the names take more than one line, and many
        scenarios more than one table."""
        widths = [max(map(len, words(name).split("\n"))) + 1 for name in self.columns]

        def tables(names: int, padding: int) -> list[slice]:
            return list(parts([width + padding for width in widths], options.max_width - names))

        layouts = (LONGEST_NAME, 1), (LONGEST_NAME, 0), (NARROW, 0)
        names, padding = min(layouts, key=lambda layout: len(tables(*layout)))
        yield Text(f"{self.heading}\n", "bold")
        for places in tables(names, padding):
            yield self.table(places, names, padding)
            yield Text()
        yield Text(f"{self.legend}\n", "dim")
        for what, why in self.below():
            yield Text.assemble((what, "bold"), f": {why}")

    def table(self, places: slice, names: int, padding: int) -> Table:
        """With these columns; the names of guarantees take `names` characters in a line."""
        headers = [Column(words(name), justify="center") for name in self.columns[places]]
        look = dict(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, padding, 0, 0))
        table = Table("", *headers, **look)
        for group, rows in self.groups():
            table.add_row(Text(group, "italic dim"))
            for name, scores in rows:
                table.add_row(fill(name, names), *(Text(score.mark, score.style) for score in scores[places]))
            table.add_section()
        return table

    def __repr__(self):
        console = Console(file=StringIO(), width=110, color_system=None, force_terminal=False, force_jupyter=False)
        console.print(self)
        return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())

    def _repr_html_(self):
        def cell(score: Score) -> str:
            colour = BROKEN_COLOUR if score.broken else KEPT_COLOUR if score.tested else "transparent"
            why = escape(score.problem, quote=True)
            return f'<td title="{why}" style="text-align: center; background: {colour}">{score.mark}</td>'

        style = "text-align: center; white-space: pre"
        headers = "".join(f'<th style="{style}">{escape(words(name))}</th>' for name in ["", *self.columns])
        rows = ""
        for group, members in self.groups():
            rows += f'<tr><th colspan="{len(self.columns) + 1}" style="{GROUP_STYLE}">{group}</th></tr>'
            for name, scores in members:
                cells = "".join(map(cell, scores))
                rows += f'<tr><th style="text-align: left">{escape(name)}</th>{cells}</tr>'
        remarks = "".join(f"<br><b>{escape(what)}</b>: {escape(why)}" for what, why in self.below())
        return (
            f'<table><caption style="text-align: left">{escape(self.heading)}</caption>'
            f"<thead><tr>{headers}</tr></thead><tbody>{rows}</tbody></table><p>{self.legend}{remarks}</p>"
        )


def why_untested(rows: list[tuple[str, list[Score]]]) -> str:
    """The one reason why none of several guarantees could be tested; "" if there are several, or any was."""
    scores = [score for _, scores in rows for score in scores]
    reasons = {score.untested for _, scores in rows for score in scores[:1]}
    if len(rows) == 1 or len(reasons) > 1 or any(score.tested for score in scores):
        return ""
    return reasons.pop() or ""


def parts(widths: list[int], width: int) -> Iterator[slice]:
    """Columns of these widths, in parts of at most `width` characters."""
    start = taken = 0
    for place, wide in enumerate(widths):
        if taken + wide > width and place > start:
            yield slice(start, place)
            start, taken = place, 0
        taken += wide
    yield slice(start, None)


def words(name: str) -> str:
    """A name for the head of a column, with a line for each of its words: "frozen reader", "UnboundedQueues"."""
    return re.sub(r"(?<=[a-zA-Z])(?=[A-Z][a-z])| ", "\n", name)
