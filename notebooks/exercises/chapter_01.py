"""Checks for chapter 01. All run in the simulation, so that they judge the room and not luck."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from websockets.exceptions import ConnectionClosed

from chatroom_lib import (
    Client,
    Scenario,
    Trace,
    encode,
    frozen,
    leaving,
    listener,
    rooms,
    simulate,
    talker,
    unplugged,
    vanishing,
)
from exercises import NotYet, everyone_hears_everything, exercise, kept, no_errors


class PolicyRoom(rooms.resolve("v1.1")):
    """Exercise 4: a room whose policy for slow and hanging clients you choose. `patience` is in seconds."""

    policy = "wait"  # "wait": one send after another; "keep" and "evict": a task for each send
    patience = 10.0  # "evict" removes and disconnects whoever a message waits for longer than that

    async def broadcast(self, message):
        sends = [self.send(connection, encode(message)) for connection in self.connections]
        if self.policy == "wait":
            for send in sends:
                await send
        else:
            await asyncio.gather(*sends)

    async def send(self, connection, frame):
        try:
            async with asyncio.timeout(self.patience if self.policy == "evict" else None):
                await connection.send(frame)
        except (ConnectionClosed, TimeoutError):
            connection.transport.abort()  # close() would wait behind what is not read
            if connection in self.connections:
                self.connections.remove(connection)


@exercise
def check_only_the_dead_are_removed(room: type) -> None:
    people = [talker("Ann", says=30, every=0.03), frozen("Bob", vanishes=1), listener("Cy"), listener("Di")]
    traces = in_every_order(room, people)
    kept(
        {
            "the room raises nothing": each(traces, no_errors),
            "nobody healthy is evicted": each(traces, nobody_healthy_is_evicted),
            "Bob is removed": each(traces, bob_is_removed),
            "Ann, Cy and Di hear all": each(traces, everyone_hears_everything, ("Ann", "Cy", "Di"), 30),
        }
    )


@exercise
def check_a_silent_room_forgets_who_left(room: type) -> None:
    people = [listener("Ann"), leaving("Bob", leaves=1), vanishing("Cy", vanishes=2), listener("Di")]
    traces = [simulate(room, Scenario(people, duration=60), seed) for seed in range(20)]
    talking = simulate(room, Scenario([talker("Ann", says=5), listener("Bob")], duration=60))
    kept(
        {
            "the room raises nothing": each([*traces, talking], no_errors),
            "Bob, who says goodbye, is removed": each(traces, is_out, "Bob"),
            "Cy, who vanishes, is removed": each(traces, is_out, "Cy"),
            "Ann and Di stay": each(traces, nobody_healthy_is_evicted),
            "what is said is heard": each([talking], everyone_hears_everything, ("Ann", "Bob"), 5),
        }
    )


@exercise
def check_nobody_waits_for_the_frozen(room: type) -> None:
    people = [talker("Ann", says=60, every=0.03), frozen("Bob", vanishes=10), listener("Cy")]
    traces = in_every_order(room, people, talker("Di", says=1, joins=15))
    kept(
        {
            "the room raises nothing": each(traces, no_errors),
            "Ann and Cy hear all": each(traces, everyone_hears_everything, ("Ann", "Cy"), 61),
            "nobody waits": each(traces, nobody_waits_longer, 0.1),
            "Bob is removed": each(traces, bob_is_removed),
            "nobody healthy is evicted": each(traces, nobody_healthy_is_evicted),
        }
    )


@exercise
def check_it_suits_the_team(room: type) -> None:
    """Pat is in a tunnel from second 10 to 40, Bob hangs from second 5 for good, Ann talks for four minutes."""
    ann, cy = talker("Ann", says=480, every=0.5, size=10_000), listener("Cy", joins=6)
    people = [ann, frozen("Bob", joins=5), unplugged("Pat", dark=10, light=40), cy]
    traces = [simulate(room, Scenario(people, duration=245), seed) for seed in range(3)]
    kept(
        {
            "Pat misses nothing": each(traces, misses_nothing, "Pat"),
            "Cy misses nothing": each(traces, misses_nothing, "Cy"),
            "Cy never waits longer than a second": each(traces, nobody_waits_longer, 1, "Cy"),
            "Bob is out within two minutes": each(traces, is_out, "Bob", 5 + 120),
            "never do more than 200 sends wait": each(traces, keeps_at_most, 200),
        }
    )


def in_every_order(room: type, people: list[Client], *late: Client) -> list[Trace]:
    """20 runs, in which everybody is once the first to join, once the second, and so on."""
    runs = []
    for seed in range(20):
        first = seed % len(people)
        scenario = Scenario([*people[first:], *people[:first], *late], duration=60)
        runs.append(simulate(room, scenario, seed))
    return runs


def each(traces: Sequence[Trace], verify: Callable[..., None], *arguments) -> Callable[[], None]:
    """A requirement: `verify` holds of every trace."""

    def verify_each() -> None:
        for trace in traces:
            verify(trace, *arguments)

    return verify_each


def nobody_healthy_is_evicted(trace: Trace) -> None:
    if healthy := [name for name in trace.evicted() if name != "Bob"]:
        raise NotYet(f"with seed {trace.seed} it evicts {' and '.join(healthy)}")


def is_out(trace: Trace, who: str, by: float = float("inf")) -> None:
    removed = [event.time for event in trace.of("removed", who=who)]
    if not removed:
        raise NotYet(f"with seed {trace.seed} {who} is in the list to the end")
    if removed[0] > by:
        raise NotYet(f"with seed {trace.seed} {who} is in the list until second {removed[0]:.0f}")


bob_is_removed = partial(is_out, who="Bob")


def nobody_waits_longer(trace: Trace, seconds: float, who: str | None = None) -> None:
    delays = [(delay, event.who) for event, delay in trace.latencies() if who in (None, event.who)]
    if not delays:
        raise NotYet(f"with seed {trace.seed} {who or 'everybody'} hears nothing at all")
    slowest, name = max(delays)
    if slowest > seconds:
        raise NotYet(f"with seed {trace.seed} {name} waits {slowest:.1f} s for a message")


def misses_nothing(trace: Trace, who: str) -> None:
    if missed := trace.missed()[who]:
        raise NotYet(f"with seed {trace.seed} {who} misses {len(missed)} messages")


def keeps_at_most(trace: Trace, messages: int) -> None:
    most = max(count for _, count in trace.sends_in_flight())
    if most > messages:
        raise NotYet(f"with seed {trace.seed} {most} wait at once")
