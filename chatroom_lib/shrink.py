"""The shortest run that breaks a guarantee: leave out people and messages for as long as it still does."""

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from chatroom_lib.clients import Client, Scenario
from chatroom_lib.guarantees import GUARANTEES
from chatroom_lib.scenarios import Maker
from chatroom_lib.simulation import simulate
from chatroom_lib.trace import Trace

TRIES = 10  # seeds with which a smaller scenario is tried before it counts as one that keeps the guarantee


def shrink(room, scenario: Scenario | Maker, seed: int, guarantee: str) -> Trace:
    """The smallest run found, beginning with this one, in which `room` breaks `guarantee`."""
    if not isinstance(scenario, Scenario):
        scenario = scenario(Random(seed))
    smallest = simulate(room, scenario, seed)
    while smaller := next(failing_runs(room, scenario, guarantee), None):
        scenario, smallest = smaller
    return smallest


def failing_runs(room, scenario: Scenario, guarantee: str) -> Iterator[tuple[Scenario, Trace]]:
    """Of all scenarios a step smaller, those that break the guarantee with one of the first seeds."""
    for candidate in smaller_ones(scenario):
        for seed in range(TRIES):
            trace = simulate(room, candidate, seed)
            if GUARANTEES[guarantee](trace).kept is False:
                yield candidate, trace
                break


def smaller_ones(scenario: Scenario) -> Iterator[Scenario]:
    """Without one of the people; and then with fewer messages of one of them."""
    people = scenario.clients
    for index in range(len(people)):
        if len(people) > 1:
            yield replace(scenario, clients=people[:index] + people[index + 1 :])
    for share in (0.5, 0.8, 1):
        for index, client in enumerate(people):
            count = len(client.moments)
            fewer = min(int(count * share), count - 1)
            if fewer >= 0:
                yield replace(scenario, clients=(*people[:index], saying(client, fewer), *people[index + 1 :]))


def saying(client: Client, messages: int) -> Client:
    """The same client, who says only the first of its messages."""
    if client.at:
        return replace(client, at=tuple(client.moments[:messages]), says=0)
    return replace(client, says=messages)
