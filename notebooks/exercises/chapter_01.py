"""Checks for chapter 01. All run in the simulation, so that they judge the room and not the luck of the day."""

from chatroom_lib import Scenario, frozen, leaving, listener, simulate, talker, vanishing
from exercises import NotYet, check, everyone_hears_everything, no_errors


@check
def check_only_the_dead_are_put_out(room: type) -> None:
    battery = [talker("Ann", says=30, every=0.03), frozen("Bob", vanishes=1), listener("Cy"), listener("Di")]
    for seed in range(20):
        trace = simulate(room, Scenario(battery[seed % 4 :] + battery[: seed % 4], duration=60), seed)
        no_errors(trace)
        if trace.evicted():
            raise NotYet(f"with seed {seed} {' and '.join(trace.evicted())} are put out, and they are well")
        if not trace.of("removed", who="Bob"):
            raise NotYet(f"with seed {seed} Bob is dead and still in the list")
        everyone_hears_everything(trace, ("Ann", "Cy", "Di"), 30)


@check
def check_a_silent_room_forgets_who_left(room: type) -> None:
    people = [listener("Ann"), leaving("Bob", leaves=1), vanishing("Cy", vanishes=2), listener("Di")]
    for seed in range(20):
        trace = simulate(room, Scenario(people, duration=60), seed)
        no_errors(trace)
        if (size := trace.pool_size()[-1][1]) != 2:
            raise NotYet(f"of four people Bob has left and Cy has vanished, and the list still holds {size}")
    talking = Scenario([talker("Ann", says=5), listener("Bob")], duration=60)
    everyone_hears_everything(simulate(room, talking), ("Ann", "Bob"), 5)


@check
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
            raise NotYet(f"with seed {seed} Bob has died, and the list holds the wrong people after that")
