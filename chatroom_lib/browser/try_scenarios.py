"""The scenarios in which a page lets a reader try a room step by step: few people, few messages."""

from random import Random
from typing import NamedTuple

from chatroom_lib.checker.scenarios import SCENARIOS, Maker
from chatroom_lib.clients.scenario import NEVER, Client, Scenario, frozen, late_joiner, listener, make_scenario, talker

YOUR_OWN = "your own"
LONG = 4000  # characters: one such message fills what may be in flight to somebody who does not read
EXAMPLE = """Scenario(
    [
        talker("Ann", says=6, starts=1, every=2.5, size=4000),
        frozen("Bob", vanishes=10),
        listener("Cy"),
        late_joiner("Di", joins=9),
    ],
    duration=40,
)
"""


class Choice(NamedTuple):
    name: str
    text: str  # what happens
    scenario: Scenario | Maker


OURS = [
    Choice(
        "Bob freezes, then dies",
        "Ann says six long messages, one every 2.5 s. Bob's program hangs: he reads none, and is killed at 10 s. "
        "Cy and Di listen.",
        Scenario(
            [
                talker("Ann", says=6, starts=1, every=2.5, size=LONG),
                frozen("Bob", vanishes=10),
                listener("Cy"),
                listener("Di"),
            ],
            duration=40,
        ),
    ),
    Choice(
        "Eve comes while Bob hangs",
        "Ann says six long messages, one every 2.5 s. Bob's program hangs, and nobody ends it. Cy listens. Eve comes "
        "at 9 s.",
        Scenario(
            [
                talker("Ann", says=6, starts=1, every=2.5, size=LONG),
                frozen("Bob"),
                listener("Cy"),
                late_joiner("Eve", joins=9),
            ],
            duration=40,
        ),
    ),
]
OF_CHECK = ("healthy", "late joiner", "churn", "stillborn", "mass leave")  # those of SCENARIOS that are small
CHOICES = {
    choice.name: choice
    for choice in (
        *OURS,
        *(Choice(name, " ".join(SCENARIOS[name].__doc__.split()), SCENARIOS[name]) for name in OF_CHECK),
    )
}


def people(scenario: Scenario | Maker) -> list[dict[str, str]]:
    """Who is in it, and what they do; of a scenario that is drawn, the names alone."""
    drawn = callable(scenario)
    clients = make_scenario(scenario, Random(0)).clients
    names = sorted(client.name for client in clients)
    return [{"name": name, "does": ""} for name in names] if drawn else [person(client) for client in clients]


def person(client: Client) -> dict[str, str]:
    does = [
        f"joins at {client.joins:g} s" if client.joins else "",
        f"says {client.says} message{'s' * (client.says != 1)}" if client.says else "",
        "does not read" if client.pause == NEVER else "" if client.prompt else "reads slowly",
        f"leaves at {client.leaves:g} s" if client.leaves < NEVER else "",
        f"is killed at {client.vanishes:g} s" if client.vanishes < NEVER else "",
    ]
    return {"name": client.name, "does": ", ".join(filter(None, does)) or "listens"}
