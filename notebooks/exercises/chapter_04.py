"""Checks for chapter 04: a small gauntlet each."""

from collections.abc import Callable
from functools import cache, partial

from chatroom_lib import Scorecard, check, scenarios, simulate
from chatroom_lib.reference_rooms import UnboundedQueues
from exercises import NotYet, exercise, is_a_reason, kept

SEEDS = 5
MARKET = ("churn", "frozen reader", "frozen then dies", "slow reader", "late joiner")  # nobody floods a ticker
MARKET_SEEDS = 3


@exercise
def check_everything_is_kept(room: type) -> None:
    card = check(room, SEEDS, progress=False)
    kept({name: partial(keeps, card, name) for name in card.promised})


def keeps(card: Scorecard, guarantee: str) -> None:
    if problem := card.scores[guarantee].problem:
        raise NotYet(problem)


@exercise
def check_the_ticker(room: type) -> None:
    needs = set(getattr(room, "needs", ()))
    card = on_the_market(room)
    for name in needs:
        card.score_of(name)
    kept(
        {
            "the room keeps what you demand": lambda: keeps_all(card, needs),
            "a slow screen stays on": lambda: slow_screen_stays(room),
            "your tests refuse a room that waits for a hung screen": refuses("v2", needs),
            "your tests refuse a room that evicts healthy screens": refuses("v1.1", needs, "no-false-eviction"),
            "your tests refuse a room whose memory grows for months": refuses(UnboundedQueues, needs),
            "your tests allow a room to skip old prices": partial(allows_to_drop, needs),
            "you say why": lambda: says_why(room),
        }
    )


def on_the_market(room, seeds: int = MARKET_SEEDS, days: tuple[str, ...] = MARKET) -> Scorecard:
    chosen = {name: scenarios.SCENARIOS[name] for name in days}
    return check(room, seeds, scenarios=chosen, progress=False)


@cache
def example(room) -> Scorecard:
    """A room that we know. One seed shows what it breaks, but that v1.1 evicts somebody takes a death, and three."""
    return on_the_market(room, 3, ("frozen then dies",)) if room == "v1.1" else on_the_market(room, 1)


def keeps_all(card: Scorecard, needs: set[str]) -> None:
    for name in needs:
        keeps(card, name)


def slow_screen_stays(room: type) -> None:
    trace = simulate(room, scenarios.SCENARIOS["slow reader"], seed=0)
    if "Bob" in {*trace.evicted(), *trace.gone()}:
        heard = len(trace.heard("Bob"))
        raise NotYet(f"Bob, who reads one price every 5 s, is evicted after {heard}")


def refuses(bad_room, needs: set[str], because: str = "") -> Callable[[], None]:
    """A requirement: something in `needs`, or just `because`, is broken by this room."""

    def verify() -> None:
        card = example(bad_room)
        if not needs & ({because} if because else set(card.broken)):
            name = because or min(card.broken)
            raise NotYet(f"{card.room} passes them. For example, {card.scores[name].evidence}")

    return verify


def allows_to_drop(needs: set[str]) -> None:
    if forbidden := needs & set(example("v3.1").broken):
        raise NotYet(
            f"{', '.join(sorted(forbidden))} forbids it: v3.1, which drops what a slow screen cannot take, breaks that"
        )


def says_why(room: type) -> None:
    if not is_a_reason(getattr(room, "why", "")):
        raise NotYet("in `why`, a sentence for whoever reads your tests in a year")
