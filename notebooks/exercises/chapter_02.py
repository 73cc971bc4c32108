"""Checks for chapter 02. All run in the simulation, so that they judge the room and not luck."""

from functools import partial

from chatroom_lib import Scenario, frozen, late_joiner, listener, simulate, slow_reader, talker
from exercises import NotYet, everyone_hears_everything, exercise, no_errors


@exercise
def check_newcomers_are_in_at_once(room: type) -> None:
    people = [talker("Ann", says=60, every=0.02), slow_reader("Bob", 0.3), late_joiner("Eve", joins=1)]
    for seed in range(20):
        for delay in (2, 0):  # the artificial delay, and a reader who really is slow
            trace = simulate(partial(room, delay=delay), Scenario(people, duration=200), seed)
            no_errors(trace)
            if (wait := trace.join_waits()["Eve"]) > 0.1:
                raise NotYet(f"with seed {seed} and a delay of {delay} s Eve waits {wait:.1f} s at the door")
            everyone_hears_everything(trace, ("Ann", "Bob"), 60)
            if missed := len(trace.missed()["Eve"]):
                raise NotYet(f"with seed {seed} Eve is in, and misses {missed} messages")
    crowd = [talker("Ann", says=20, every=0.03), frozen("Bob", vanishes=1), listener("Cy"), listener("Di")]
    for seed in range(20):
        trace = simulate(room, Scenario([*crowd[seed % 4 :], *crowd[: seed % 4]], duration=200), seed)
        no_errors(trace)
        if not trace.of("removed", who="Bob"):
            raise NotYet(f"with seed {seed} Bob is dead and still in the list")
        if trace.evicted() or trace.disagreements():
            raise NotYet(f"with seed {seed} somebody healthy is evicted, or people hear messages in different orders")
        everyone_hears_everything(trace, ("Ann", "Cy", "Di"), 20)


@exercise
def check_the_room_survives_a_death(room: type) -> None:
    people = [talker("Ann", says=30, every=0.03), frozen("Bob", vanishes=1), listener("Cy"), listener("Di")]
    for seed in range(20):
        order = [*people[seed % 4 :], *people[: seed % 4], late_joiner("Eve", joins=20)]
        trace = simulate(room, Scenario(order, duration=100), seed)
        no_errors(trace)
        if trace.stuck:
            raise NotYet(f"with seed {seed} the room is stuck for good after Bob's death")
        if trace.evicted() or not trace.of("removed", who="Bob"):
            raise NotYet(f"with seed {seed} the list has the wrong people in it after Bob's death")
        everyone_hears_everything(trace, ("Ann", "Cy", "Di"), 30)
        if not trace.of("entered", who="Eve"):
            raise NotYet(f"with seed {seed} Eve, who joins later, does not get in")
    slow = Scenario([talker("Ann", says=60, every=0.02), slow_reader("Bob", 0.05)], duration=60)
    if not simulate(room, slow).of("overlap"):
        raise NotYet("the room survives, but its broadcasts exclude each other, as in v2")


@exercise
def check_nobody_waits_for_long(room: type) -> None:
    people = [talker("Ann", says=60, every=0.05), frozen("Bob"), slow_reader("Cy", 0.1), listener("Di")]
    for seed in range(20):
        order = [*people[seed % 4 :], *people[: seed % 4], late_joiner("Eve", joins=30)]
        trace = simulate(partial(room, delay=0), Scenario(order, duration=60), seed)
        no_errors(trace)
        if not trace.of("removed", who="Bob"):
            raise NotYet(f"with seed {seed} the room still waits for Bob after {trace.duration:.0f} s")
        if others := [event.who for event in trace.of("removed") if event.who != "Bob"]:
            raise NotYet(f"with seed {seed} the room removes {' and '.join(others)}, who do read")
        everyone_hears_everything(trace, ("Ann", "Cy", "Di"), 60)
        latest = max(delay for event, delay in trace.latencies() if event.who == "Di")
        if latest > 5:
            raise NotYet(f"with seed {seed} Di, who is healthy, hears a message after {latest:.1f} s")
        if any(wait.visitor == "Bob" for wait in trace.waits):
            raise NotYet(f"with seed {seed} Bob is out of the list, but his visit goes on: is his connection open?")
        if not trace.of("entered", who="Eve"):
            raise NotYet(f"with seed {seed} Eve, who joins later, does not get in")
