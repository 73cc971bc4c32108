"""The scenarios in which a page lets a reader try a room step by step."""

from random import Random

from chatroom_lib.checker.scenarios import SCENARIOS, Maker
from chatroom_lib.clients.scenario import NEVER, Client, Scenario, frozen, late_joiner, listener, talker

YOUR_OWN = "your own"
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
ANN = talker("Ann", says=6, starts=1, every=2.5, size=4000)  # one such message fills what may be in flight to Bob


def bob_dies(rng: Random) -> Scenario:
    """Ann says six long messages, one every 2.5 s. Bob's program hangs: he reads none, and is killed; the seed decides
    when. Cy and Di listen."""
    bob = frozen("Bob", vanishes=rng.randint(4, 15))
    return Scenario([ANN, bob, listener("Cy"), listener("Di")], duration=40)


def eve_comes(rng: Random) -> Scenario:
    """Ann says six long messages, one every 2.5 s. Bob's program hangs, and nobody ends it. Cy listens. Eve comes; the
    seed decides when."""
    eve = late_joiner("Eve", joins=rng.randint(2, 14))
    return Scenario([ANN, frozen("Bob"), listener("Cy"), eve], duration=40)


OURS = {"Bob freezes, then dies": bob_dies, "Eve comes while Bob hangs": eve_comes}
SMALL = (*OURS, "healthy", "late joiner", "churn", "stillborn", "mass leave")  # the others have hundreds of steps
CHOICES = OURS | SCENARIOS  # also those in which a check has found something


def what_happens(scenario: Maker) -> str:
    return " ".join(scenario.__doc__.split())


def person(client: Client) -> dict[str, str]:
    """Who somebody is, and what they do."""
    does = [
        f"joins at {client.joins:g} s" if client.joins else "",
        f"says {client.says} message{'s' * (client.says != 1)}" if client.says else "",
        "does not read" if client.pause == NEVER else "" if client.prompt else "reads slowly",
        f"leaves at {client.leaves:g} s" if client.leaves < NEVER else "",
        f"is killed at {client.vanishes:g} s" if client.vanishes < NEVER else "",
    ]
    return {"name": client.name, "does": ", ".join(filter(None, does)) or "listens"}
