"""Checks for chapter 05, in virtual time. Each counts what is kept, and says what is missing."""

import asyncio
from functools import partial

from chatroom_lib import Scenario, Trace, check, encode, flooder, frozen, listener, rooms, simulate, talker
from chatroom_lib.checker.guarantees import GUARANTEES
from chatroom_lib.checker.scenarios import SCENARIOS
from chatroom_lib.clients.scenario import unplugged
from exercises import NotYet, exercise, no_errors

SEEDS = 3
DELIVERY, BOUND = "delivery", "bounded-memory"


def require(kept: dict[str, bool]) -> None:
    """`kept`: what is asked for -> whether it is so."""
    if missing := [name for name, holds in kept.items() if not holds]:
        raise NotYet(f"{len(kept) - len(missing)} of {len(kept)} kept. Missing: {'; '.join(missing)}")


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
    require(
        {
            "all hear all 400 messages in one order": all(map(all_hear_the_same_400, traces)),
            f"at most 300 writes for the 400 messages to Cy (now {most})": most <= 300,
            f"{DELIVERY}, while Bob hangs": DELIVERY in card.kept,
            f"{BOUND}, while Bob hangs{because(card, BOUND)}": BOUND in card.kept,
        }
    )


def all_hear_the_same_400(trace: Trace) -> bool:
    heard = trace.heard("Cy")
    return len(heard) == 400 and all(trace.heard(name) == heard for name in trace.names)


def because(card, guarantee: str) -> str:
    return f" ({card.scores[guarantee].evidence})" if card.scores[guarantee].broken else ""


@exercise
def check_long_messages_are_refused(room: type) -> None:
    people = [talker("Ann", says=3, size=2000), talker("Bob", says=3, size=1000), listener("Cy")]
    trace = simulate(room, Scenario(people, duration=10))
    no_errors(trace)
    long = [message for message in trace.heard("Cy") if message.startswith("Ann")]
    told, short = len(trace.of("refused", who="Ann")), len(trace.heard("Cy")) - len(long)
    require(
        {
            f"Cy hears no message of 2,000 characters (now {len(long)})": not long,
            f"Cy hears all 3 of 1,000 characters (now {short})": short == 3,
            f"Ann is told of 3 refusals (now {told})": told == 3,
            "nobody loses the connection": not (trace.evicted() or trace.gone() or trace.stuck),
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
    require(
        {
            f"a lone message is everywhere within 10 ms (now {slowest:.0f} ms)": slowest <= 10,
            f"at most 200 writes for 400 messages to Cy at once (now {writes})": writes <= 200,
            f"in a tunnel for 10 s Cy misses nothing (now {missed} messages)": not missed,
            f"at most 256 kB wait for a program that hangs (now {piled:.0f} kB)": piled <= 256,
            "a reason, in `why`": len(choice.why) >= 30,
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
