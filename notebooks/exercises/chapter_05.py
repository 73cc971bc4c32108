"""Checks for chapter 05, in virtual time. Each counts what is kept, and says what is missing."""

import asyncio
from functools import partial

from chatroom_lib import Scenario, Trace, check, encode, flooder, frozen, listener, rooms, simulate, talker
from chatroom_lib.checker.guarantees import GUARANTEES
from chatroom_lib.checker.scenarios import SCENARIOS
from chatroom_lib.clients.scenario import unplugged
from exercises import exercise, found, kept, no_errors

SEEDS = 3
DELIVERY, BOUND = "delivery", "bounded-memory"


@exercise
def check_the_writer_batches(room: type) -> None:
    crowd = [*(flooder(f"Flo{number}", says=50, every=0) for number in range(8)), listener("Cy")]
    traces = [simulate(room, Scenario(crowd, duration=20), seed) for seed in range(SEEDS)]
    for trace in traces:
        no_errors(trace)
    most = max(trace.writes["Cy"] for trace in traces)
    card = check(
        room,
        SEEDS,
        scenarios={"frozen reader": SCENARIOS["frozen reader"]},
        guarantees={name: GUARANTEES[name] for name in (DELIVERY, BOUND)},
        progress=False,
    )
    kept(
        {
            "all hear all 400 messages in one order": found(all(map(all_hear_the_same_400, traces)), "they do not"),
            "at most 300 writes for the 400 messages to Cy": found(most <= 300, f"now {most}"),
            "delivery, while Bob hangs": found(DELIVERY in card.kept, card.scores[DELIVERY].evidence),
            "bounded-memory, while Bob hangs": found(BOUND in card.kept, card.scores[BOUND].evidence),
        }
    )


def all_hear_the_same_400(trace: Trace) -> bool:
    heard = trace.heard("Cy")
    return len(heard) == 400 and all(trace.heard(name) == heard for name in trace.names)


@exercise
def check_long_messages_are_refused(room: type) -> None:
    people = [talker("Ann", says=3, size=2000), talker("Bob", says=3, size=1000), listener("Cy")]
    trace = simulate(room, Scenario(people, duration=10))
    no_errors(trace)
    long = [message for message in trace.heard("Cy") if message.startswith("Ann")]
    lost = sorted({*trace.evicted(), *trace.gone()})
    told, short = len(trace.of("refused", who="Ann")), len(trace.heard("Cy")) - len(long)
    kept(
        {
            "Cy hears no message of 2,000 characters": found(not long, f"now {len(long)}"),
            "Cy hears all 3 of 1,000 characters": found(short == 3, f"now {short}"),
            "Ann is told of 3 refusals": found(told == 3, f"now {told}"),
            "nobody loses the connection": found(not lost, f"now {' and '.join(lost)}"),
        }
    )


# ---------------------------------------------------------------- the lobby


@exercise
def check_the_lobby(choice: type) -> None:
    room = partial(Lobby, choice.gathers, 1024 * choice.buffer_kb)
    alone, together, tunnel, hung = (simulate(room, scenario, seed=1) for scenario in lobby())
    for trace in (alone, together, tunnel, hung):
        no_errors(trace)
    slowest = 1000 * max((delay for _, delay in alone.latencies()), default=float("inf"))
    writes, missed = together.writes["Cy"], 300 - len(tunnel.heard("Cy"))
    piled = max(sample.buffered for sample in hung.memory) / 1024
    kept(
        {
            "a lone message is everywhere within 10 ms": found(slowest <= 10, f"now {slowest:.0f} ms"),
            "at most 200 writes for 400 messages at once": found(writes <= 200, f"now {writes}"),
            "in a tunnel for 10 s Cy misses nothing": found(not missed, f"now {missed} messages"),
            "at most 256 kB wait for a program that hangs": found(piled <= 256, f"now {piled:.0f} kB"),
            "a reason, in why": found(len(choice.why) >= 30, "at least 30 characters"),
        }
    )


def lobby() -> tuple[Scenario, ...]:
    """Somebody speaks alone, all speak at once, Cy passes a tunnel, a program hangs."""
    crowd = [flooder(f"Flo{number}", says=50, every=0) for number in range(8)]
    ann = talker("Ann", says=300, every=0.05)  # 20 messages of 1 kB each second
    return (
        Scenario([talker("Ann", says=10, every=1), listener("Bob"), listener("Cy")], duration=20),
        Scenario([*crowd, listener("Cy")], duration=20),
        Scenario([ann, unplugged("Cy", dark=2, light=12)], duration=30),
        Scenario([talker("Ann", says=900, every=0.05), frozen("Bob"), listener("Cy")], duration=60),
    )


class Lobby(rooms.resolve("v4")):
    """v4 that gathers messages "never", "when busy" (as it is), or "always", for 50 ms."""

    def __init__(self, gathers: str, buffer_size: int):
        super().__init__(buffer_size, limit=None)
        if gathers not in ("never", "when busy", "always"):
            raise ValueError(f'gathers must be "never", "when busy" or "always", not {gathers!r}')
        self.gathers = gathers

    def broadcast(self, message):
        if self.gathers == "when busy":
            return super().broadcast(message)
        self.batch.append(encode(message).encode())
        if self.gathers == "never":
            self.flush()
        elif len(self.batch) == 1:
            asyncio.get_running_loop().call_later(0.05, self.flush)
