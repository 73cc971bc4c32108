"""Who tries a room: processes of their own or, where there are none, this one."""

import os
from contextlib import redirect_stderr, redirect_stdout
from typing import Literal

from chatroom_lib.checker.outcome import Outcome
from chatroom_lib.checker.package import Conditions, Package
from chatroom_lib.checker.trials import Problem, Trials, Unwatched
from chatroom_lib.clients.scenario import Scenario
from chatroom_lib.runtime import platform
from chatroom_lib.trace import Trace


class BaseWorker:
    """Tries a room in one run after the other."""

    def __init__(self, package: Package, conditions: Conditions):
        self.package, self.conditions = package, conditions

    def run(self, scenario: str | Scenario, seed: int) -> Outcome:
        """Try the room in this scenario, or in the one of this name, with this seed.

        Raises RoomError if the room cannot be tried, and TypeError or ValueError for a scenario that cannot be made.
        """
        return self.answer_to("outcome", scenario, seed)

    def trace(self, scenario: Scenario, seed: int) -> Trace:
        """The same run again, to look at. Raises ValueError if it leaves no trace, and what `run` raises."""
        answer = self.answer_to("trace", scenario, seed)
        if isinstance(answer, Outcome):
            raise ValueError(f"there is nothing to show: {answer.why}")
        return answer

    def answer_to(self, wanted: Literal["outcome", "trace"], scenario: str | Scenario, seed: int) -> Outcome | Trace:
        raise NotImplementedError

    def kill(self) -> None:
        """End the run in progress, from another thread than the one that waits for its outcome."""

    def end(self) -> str:
        """Leave nothing behind; returns how it ended."""
        return "it never ran"


class WorkerHere(BaseWorker):
    """In this very process: a room that never comes back is waited for.

    Whoever starts Python fixes the order of a set of texts, by PYTHONHASHSEED.
    """

    trials: Trials | None = None

    def answer_to(self, wanted: Literal["outcome", "trace"], scenario: str | Scenario, seed: int) -> Outcome | Trace:
        try:
            with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
                self.trials = self.trials or Trials(self.package.data, Unwatched(), self.conditions.memory_limit)
                answer = self.trials.answer(wanted, scenario, seed, self.conditions.of_a_run)
        except Problem as problem:
            raise self.package.problem(*problem.args) from None
        return answer.on(self.package.guarantees) if isinstance(answer, Outcome) else answer


def workers(package: Package, conditions: Conditions, number: int) -> list[BaseWorker]:
    """So many, or the one that there can be here."""
    if not platform.HAS_PROCESSES:
        return [WorkerHere(package, conditions)]
    from chatroom_lib.checker.worker import Worker

    return [Worker(package, conditions) for _ in range(number)]
