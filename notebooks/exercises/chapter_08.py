"""Checks for chapter 08, in virtual time. Each counts what is kept, and says what is missing."""

import asyncio
from functools import partial

from chatroom_lib import Kill, Scenario, Trace, commuter, frozen, listener, simulate, slow_reader, talker, unplugged
from chatroom_lib.rooms import v7, v8
from exercises import NotYet, exercise, found, is_a_reason, kept, no_errors

LONG = {"says": 40, "every": 1.5, "size": 4000}  # what fills every buffer


def played(room, *people, seconds: float, **more) -> Trace:
    trace = simulate(room, Scenario(people, seconds, **more), seed=1)
    no_errors(trace)
    return trace


def out_after(trace: Trace, name: str) -> float:
    """Seconds of the run after which somebody was out of the room; infinite if they are in it at the end."""
    if name in trace.in_pool():
        return float("inf")
    return max((event.time for event in trace.of("removed", who=name)), default=0)


# ---------------------------------------------------------------- slow is not dead


class Pinging(v7.Room):
    """v7, with a task beside each visit that looks after the client. `heard_at` knows when anything came from it last,
    if only half a frame."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.heard_at = {}

    async def handle(self, connection):
        clock, receive_data = asyncio.get_running_loop().time, connection.protocol.receive_data
        self.heard_at[connection] = clock()

        def receive(data):
            self.heard_at[connection] = clock()
            receive_data(data)

        connection.protocol.receive_data = receive
        looking = asyncio.create_task(self.look_after(connection))
        try:
            await super().handle(connection)
        finally:
            looking.cancel()
            del self.heard_at[connection], connection.protocol.receive_data

    async def look_after(self, connection):
        raise NotImplementedError


@exercise
def check_nobody_is_taken_for_dead(room: type) -> None:
    room = partial(room, limit=None)
    idle = played(room, listener("Ann"), unplugged("Bob", 25), listener("Di"), seconds=150)
    full = played(room, talker("Ann", **LONG), unplugged("Bob", 5), listener("Di"), frozen("Gus"), seconds=150)
    slow = played(room, talker("Ann", says=14, every=0.7, size=4000), slow_reader("Bob", pause=5), seconds=150)
    gone, stuck, hung = out_after(idle, "Bob") - 25, out_after(full, "Bob") - 5, out_after(full, "Gus")
    others = idle.in_pool() == full.in_pool() == ["Ann", "Di"] and len(full.heard("Di")) == LONG["says"]
    left, rate = out_after(slow, "Bob"), idle.pings["Ann"] / 2.5
    kept(
        {
            "in a quiet room whose line is dark is out within a minute": found(gone <= 60, told(gone)),
            "and so they are if their buffers are full": found(stuck <= 60, told(stuck)),
            "and a program that hangs": found(hung <= 60, told(hung)),
            "the others stay, and hear everything": found(others, f"{', '.join(full.in_pool())} are left"),
            "nobody is pinged more than 6 times a minute": found(rate <= 6.5, f"{rate:.0f} times"),
            "whoever reads slowly stays": found("Bob" in slow.in_pool(), f"Bob, who reads, is out at {left:.0f} s"),
        }
    )


def told(seconds: float) -> str:
    return f"out after {seconds:.0f} s" if seconds < float("inf") else "still in the room at the end"


# ---------------------------------------------------------------- one number for all


class WithoutDoor(v8.Room):
    """v8, but nobody is refused at the door: all depends on the number that people are told."""

    def process_request(self, connection, request):
        return None


@exercise
def check_the_number(room: type) -> None:
    room = partial(room, returns=15)  # it can let in 25 a second; some are left for those who come anyway
    alone, few, some, many = (come_back(room, number) for number in (1, 20, 100, 200))
    tries = len(many.of("knocked", "joined")) / 200 - 1  # without the first connection
    kept(
        {
            "somebody who was alone is back within 3 s": found(*all_back(alone, 3)),
            "20 are back within 5 s": found(*all_back(few, 5)),
            "100 are back within a quarter of a minute": found(*all_back(some, 15)),
            "200 are back within half a minute": found(*all_back(many, 30)),
            "with three attempts each, at most": found(tries <= 3, f"{tries:.1f} each"),
        }
    )


def come_back(room, number: int) -> Trace:
    """So many lose their server, and want to come back: 40 ms of work for each."""
    people = [commuter(f"P{one}", resumes=True, patience=1.5) for one in range(number)]
    return played(room, *people, seconds=51, kills=[Kill(14, back_after=1)], handshake=0.08)


def all_back(trace: Trace, seconds: float) -> tuple[bool, str]:
    (start,) = trace.of("started")
    back = {event.who: event.time - start.time for event in trace.of("joined") if event.time > start.time}
    late = [name for name in trace.names if back.get(name, seconds + 1) > seconds]
    return not late, f"not back: {len(late)} of {len(trace.names)}"


# ---------------------------------------------------------------- three programs

TUNNEL, HICCUP = 45, 2  # seconds


@exercise
def check_the_deadlines(choice: type) -> None:
    for name in ("game", "office", "phones"):
        if not 0 < getattr(choice, name) <= 86400:
            raise NotYet(f"{name} must be a number of seconds, more than 0 and at most a day")
    game, office, phones = watched(choice.game, HICCUP), watched(choice.office), watched(choice.phones)
    kept(
        {
            "in the game somebody who is gone is out within 10 s": found(*within(game, 10)),
            f"and a hiccup of {HICCUP} s costs nobody their place": found(*stays(game)),
            "in the office within a minute": found(*within(office, 60)),
            "and nobody there is pinged more than 200 times an hour": found(*pings(office, 200)),
            f"on phones a tunnel of {TUNNEL} s costs nobody their connection": found(*stays(phones)),
            "there, too, whoever is gone is out within five minutes": found(*within(phones, 300)),
            "and nobody is pinged more than 60 times an hour: each wakes the radio": found(*pings(phones, 60)),
            "a reason, in why": found(is_a_reason(choice.why), "five words or more"),
        }
    )


def watched(deadline: float, dark: float = TUNNEL) -> Trace:
    """An hour of v8 with such a deadline: Cy's line is dark for a while, and Bob's for good."""
    people = listener("Ann"), unplugged("Bob", 600), unplugged("Cy", 60, light=60 + dark)
    return played(partial(v8.Room, deadline=deadline), *people, seconds=3600)


def within(trace: Trace, seconds: float) -> tuple[bool, str]:
    late = out_after(trace, "Bob") - 600
    return late <= seconds, told(late)


def pings(trace: Trace, most: int) -> tuple[bool, str]:
    return trace.pings["Ann"] <= most, f"{trace.pings['Ann']} times"


def stays(trace: Trace) -> tuple[bool, str]:
    return "Cy" in trace.in_pool(), f"Cy is cut off after {out_after(trace, 'Cy') - 60:.0f} s"
