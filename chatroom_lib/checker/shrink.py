"""A run that broke a guarantee once more, and the shortest one: people and messages are left out for as long as it is
still broken. Both run where `check` runs."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from random import Random

from chatroom_lib.checker.guarantees import Guarantee, Guarantees
from chatroom_lib.checker.package import Conditions, pack
from chatroom_lib.checker.scenarios import Maker
from chatroom_lib.checker.workers import BaseWorker, workers
from chatroom_lib.clients.scenario import Client, Scenario, make_scenario
from chatroom_lib.runtime.interrupts import interruptible
from chatroom_lib.runtime.progress import progress_bar
from chatroom_lib.trace import Trace

GUARANTEE = "the one to break"
TRIES = 10  # seeds with which a smaller scenario is tried before it counts as one that keeps the guarantee


@interruptible()
def replay(room, scenario: Scenario | Maker, seed: int, conditions: Conditions) -> Trace:
    """This run. Raises ValueError if it leaves no trace."""
    with one_worker(room, {}, conditions) as worker:
        return worker.trace(make_scenario(scenario, Random(seed)), seed)


@interruptible()
def shrink(
    room, scenario: Scenario | Maker, seed: int, guarantee: Guarantee, conditions: Conditions, title: str | None = None
) -> Trace:
    """The smallest run found, beginning with this one, in which `room` breaks `guarantee`. `title`: what the progress
    bar says; None: there is none. Raises ValueError if it leaves no trace."""
    scenario = make_scenario(scenario, Random(seed))
    whole = size(scenario)
    with (
        one_worker(room, {GUARANTEE: guarantee}, conditions) as worker,
        progress_bar(title, whole, "people and messages left out") as show,
    ):
        shrinking = True
        while shrinking:  # until neither helps any more: with fewer messages, fewer people may do
            shrinking = False
            for smaller_ones in (with_fewer_people, with_fewer_messages, with_fewer_kills):
                while found := first_failing(worker, smaller_ones(scenario)):
                    scenario, seed = found
                    shrinking = True
                    show(whole - size(scenario))
        return worker.trace(scenario, seed)


def size(scenario: Scenario) -> int:
    """How many people, messages and kills there are in it."""
    return sum(1 + len(client.send_times) for client in scenario.clients) + len(scenario.kills)


@contextlib.contextmanager
def one_worker(room, guarantees: Guarantees, conditions: Conditions) -> Iterator[BaseWorker]:
    (worker,) = workers(pack(room, {}, guarantees), conditions, 1)
    try:
        yield worker
    finally:
        worker.end()


def first_failing(worker: BaseWorker, scenarios: Iterable[Scenario]) -> tuple[Scenario, int] | None:
    """The first of these scenarios in which the guarantee breaks with one of the first seeds, and that seed."""
    for scenario in scenarios:
        for seed in range(TRIES):
            outcome = worker.run(scenario, seed)
            kept = outcome.verdicts[GUARANTEE].kept
            if kept is False and not outcome.failed:
                return scenario, seed
            if kept is None or outcome.failed:  # nothing to break it is left, and no other seed brings it back
                break
    return None


def with_fewer_people(scenario: Scenario) -> Iterator[Scenario]:
    """Without one of them."""
    people = scenario.clients
    for index in range(len(people)):
        if len(people) > 1:
            yield replace(scenario, clients=people[:index] + people[index + 1 :])


def with_fewer_kills(scenario: Scenario) -> Iterator[Scenario]:
    """Without one of them."""
    for index in range(len(scenario.kills)):
        yield replace(scenario, kills=scenario.kills[:index] + scenario.kills[index + 1 :])


def with_fewer_messages(scenario: Scenario) -> Iterator[Scenario]:
    """Without all, half, a quarter ... of what one of them says, down to one message."""
    people = scenario.clients
    for index, client in enumerate(people):
        count = less = len(client.send_times)
        while less:
            yield replace(scenario, clients=(*people[:index], saying(client, count - less), *people[index + 1 :]))
            less //= 2


def saying(client: Client, messages: int) -> Client:
    """The same client, who says only the first of its messages."""
    texts = client.texts[:messages]
    if client.at:
        return replace(client, at=tuple(client.send_times[:messages]), says=0, texts=texts)
    return replace(client, says=messages, texts=texts)
