"""Checks for chapter 04: a small gauntlet each."""

from chatroom_lib import check
from exercises import NotYet, exercise

SEEDS = 5
REQUIRED = ("no-false-eviction", "recovery", "no-leak", "no-crash", "at-most-once", "admission")


@exercise
def check_everything_is_kept(room: type) -> None:
    card = check(room, SEEDS, progress=False)
    for name, score in card.broken.items():
        raise NotYet(f"{len(card.kept)} of {len(card.scores)} kept. {name}: {score.evidence} ({score.scenario})")
    if card.untested:
        raise NotYet(f"nothing is broken, but {' and '.join(card.untested)} could not be tested")


@exercise
def check_nobody_else_is_evicted(room: type) -> None:
    card = check(room, SEEDS, keepalive=0, progress=False)
    for name in REQUIRED:
        if name not in card.kept:
            score = card.scores[name]
            raise NotYet(f"{name}: {score.evidence} ({score.scenario})" if score.broken else f"{name} was not tested")
    if card.cells["delivery", "churn"].broken:
        raise NotYet(f"delivery: {card.cells['delivery', 'churn'].evidence} (churn)")
