"""Checks for chapter 01. All run in the simulation, so that they judge the room and not luck."""

from chatroom_lib import Scenario, frozen, leaving, listener, simulate, talker, vanishing
from exercises import NotYet, everyone_hears_everything, exercise, no_errors


@exercise
def check_only_the_dead_are_removed(room: type) -> None:
    people = [talker("Ann", says=30, every=0.03), frozen("Bob", vanishes=1), listener("Cy"), listener("Di")]
    for seed in range(20):
        trace = simulate(room, Scenario(people[seed % 4 :] + people[: seed % 4], duration=60), seed)
        no_errors(trace)
        if trace.evicted():
            raise NotYet(f"with seed {seed} the room evicts {' and '.join(trace.evicted())}, who did not die")
        if not trace.of("removed", who="Bob"):
            raise NotYet(f"with seed {seed} Bob is dead and still in the list")
        everyone_hears_everything(trace, ("Ann", "Cy", "Di"), 30)


@exercise
def check_a_silent_room_forgets_who_left(room: type) -> None:
    people = [listener("Ann"), leaving("Bob", leaves=1), vanishing("Cy", vanishes=2), listener("Di")]
    for seed in range(20):
        trace = simulate(room, Scenario(people, duration=60), seed)
        no_errors(trace)
        if (size := trace.pool_size()[-1][1]) != 2:
            raise NotYet(f"of four people Bob has left and Cy has vanished, and the list still has {size} connections")
    talking = Scenario([talker("Ann", says=5), listener("Bob")], duration=60)
    everyone_hears_everything(simulate(room, talking), ("Ann", "Bob"), 5)


@exercise
def check_nobody_waits_for_the_frozen(room: type) -> None:
    people = [talker("Ann", says=60, every=0.03), frozen("Bob", vanishes=10), listener("Cy")]
    late = talker("Di", says=1, joins=15)
    for seed in range(20):
        trace = simulate(room, Scenario([*people[seed % 3 :], *people[: seed % 3], late], duration=60), seed)
        no_errors(trace)
        everyone_hears_everything(trace, ("Ann", "Cy"), 61)
        slowest = max(delay for event, delay in trace.latencies())
        if slowest > 0.1:
            raise NotYet(f"with seed {seed} a message takes {slowest:.1f} s")
        if trace.evicted() or not trace.of("removed", who="Bob"):
            raise NotYet(f"with seed {seed} the list has the wrong people in it after Bob's death")
