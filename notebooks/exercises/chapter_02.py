"""Checks for chapter 02. All run in the simulation, so that they judge the room and not luck."""

from functools import partial

from chatroom_lib import Scenario, Trace, frozen, late_joiner, listener, simulate, slow_reader, talker
from exercises import NotYet, everyone_hears_everything, exercise, is_a_reason, kept, no_errors

CROWD = [talker("Ann", says=30, every=0.03), frozen("Bob", vanishes=1), listener("Cy"), listener("Di")]


def deaths(room: type, *latecomers, **how) -> list[Trace]:
    """20 runs in which Bob hangs and is killed, each of the four joining first in some. Raises NotYet for an error."""
    orders = [Scenario([*CROWD[seed % 4 :], *CROWD[: seed % 4], *latecomers], duration=200) for seed in range(20)]
    runs = [simulate(room, order, seed, **how) for seed, order in enumerate(orders)]
    for trace in runs:
        no_errors(trace)
    return runs


def only_bob_is_removed(runs: list[Trace]) -> None:
    for trace in runs:
        if evicted := trace.evicted():
            raise NotYet(f"with seed {trace.seed} the room evicts {' and '.join(evicted)}")
        if not trace.of("removed", who="Bob"):
            raise NotYet(f"with seed {trace.seed} Bob is dead, and still in the list")


def all_hear_all(runs: list[Trace], names: tuple[str, ...], messages: int) -> None:
    for trace in runs:
        everyone_hears_everything(trace, names, messages)


def one_order(runs: list[Trace]) -> None:
    for trace in runs:
        for one, other, a, b in trace.disagreements()[:1]:
            raise NotYet(f"with seed {trace.seed} {one} hears {a} before {b}, and {other} the other way round")


# ---------------------------------------------------------------- 1


@exercise
def check_newcomers_are_in_at_once(room: type) -> None:
    people = [talker("Ann", says=60, every=0.02), slow_reader("Bob", 0.3), late_joiner("Eve", joins=1)]
    two = [talker("Ann", says=60, every=0.02), talker("Di", says=60, every=0.02), slow_reader("Bob", 0.05)]
    quick = partial(room, delay=0)
    late = [simulate(partial(room, delay=delay), Scenario(people, 200), seed) for seed in range(10) for delay in (2, 0)]
    for trace in late:
        no_errors(trace)
    runs = deaths(quick)
    adverse = [simulate(quick, Scenario([*two, listener("Cy")], 200), seed, schedule="any") for seed in range(5)]
    kept(
        {
            "Eve is in the room at once": lambda: nobody_waits_at_the_door(late),
            "Eve hears all that is said from then on": lambda: eve_misses_nothing(late),
            "the others hear everything": lambda: all_hear_all(late, ("Ann", "Bob"), 60),
            "after a death the dead are removed, and nobody else": lambda: only_bob_is_removed(runs),
            "everybody hears one order, in whatever order tasks run": lambda: one_order(adverse),
        }
    )


def nobody_waits_at_the_door(runs: list[Trace]) -> None:
    for trace in runs:
        if (wait := trace.join_waits()["Eve"]) > 0.1:
            raise NotYet(f"with seed {trace.seed} she waits {wait:.1f} s at the door")


def eve_misses_nothing(runs: list[Trace]) -> None:
    for trace in runs:
        if missed := len(trace.missed()["Eve"]):
            raise NotYet(f"with seed {trace.seed} she misses {missed} messages")


# ---------------------------------------------------------------- 2


@exercise
def check_the_room_survives_a_death(room: type) -> None:
    runs = deaths(room, late_joiner("Eve", joins=20))
    slow = Scenario([talker("Ann", says=60, every=0.02), slow_reader("Bob", 0.05)], duration=60)
    kept(
        {
            "the room goes on": lambda: nothing_is_stuck(runs),
            "the dead are removed, and nobody else": lambda: only_bob_is_removed(runs),
            "the others hear everything": lambda: all_hear_all(runs, ("Ann", "Cy", "Di"), 30),
            "Eve, who joins later, gets in": lambda: eve_gets_in(runs),
            "broadcasts run at the same time": lambda: sends_overlap(simulate(room, slow)),
        }
    )


def nothing_is_stuck(runs: list[Trace]) -> None:
    for trace in runs:
        if trace.stuck:
            raise NotYet(f"with seed {trace.seed} it is stuck for good after Bob's death")


def eve_gets_in(runs: list[Trace]) -> None:
    for trace in runs:
        if not trace.of("entered", who="Eve"):
            raise NotYet(f"with seed {trace.seed} she never does")


def sends_overlap(trace: Trace) -> None:
    if not trace.of("overlap"):
        raise NotYet("they exclude each other, as in v2")


# ---------------------------------------------------------------- 3

ANN = talker("Ann", says=60, every=0.5)
SLOW = Scenario([ANN, slow_reader("Bob", 0.8), listener("Cy")], duration=600)
HANGING = Scenario([ANN, *(frozen(f"hangs-{number}") for number in (1, 2, 3)), listener("Cy")], duration=600)


@exercise
def check_the_price_of_patience(room: type) -> None:
    kept(
        {
            "patience is a number of seconds": lambda: chosen(room.patience, "choose one"),
            "because is a sentence": lambda: a_reason_is_given(room.because),
            "bob_stays is what happens to him": lambda: compare_fates(room),
            "others_wait is how long Cy waits, within a fifth": lambda: compare_waits(room),
        }
    )


def chosen(choice, what: str) -> None:
    if not (isinstance(choice, int | float) and 0.001 <= choice < 3600):
        raise NotYet(what)


def a_reason_is_given(because: str) -> None:
    if not is_a_reason(because):
        raise NotYet("say why, in five words or more")


def compare_fates(room: type) -> None:
    chosen(room.patience, "that depends on your patience")
    trace = simulate(room, SLOW)
    no_errors(trace)
    evicted, late = trace.evicted().get("Bob"), longest_wait(trace)
    fate = f"he is evicted after {evicted:.0f} s" if evicted else "he stays"
    print(f"Bob, who reads a message every 0.8 s: {fate}, and Cy hears Ann up to {late:.1f} s late.")
    if room.bob_stays is not (evicted is None):
        raise NotYet(f"you say {room.bob_stays}, and {fate}")


def compare_waits(room: type) -> None:
    chosen(room.patience, "that depends on your patience")
    trace = simulate(room, HANGING)
    no_errors(trace)
    late = longest_wait(trace)
    print(f"Three programs that hang: Cy hears Ann up to {late:.1f} s late.")
    if not isinstance(room.others_wait, int | float) or abs(room.others_wait - late) > 0.2 * late:
        raise NotYet(f"you say {room.others_wait}, and it is {late:.1f} s")


def longest_wait(trace: Trace) -> float:
    """Seconds. Raises NotYet if Cy does not hear all."""
    everyone_hears_everything(trace, ("Cy",), 60)
    return max(delay for event, delay in trace.latencies() if event.who == "Cy")
