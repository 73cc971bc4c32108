"""Checks for chapter 03. Two talk to a room on real sockets, since no simulated client sends nonsense or opens two
connections; the third runs a policy in the simulation."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial

from websockets.asyncio import client
from websockets.exceptions import ConnectionClosed

from chatroom_lib import Message, Scenario, Server, Trace, encode, flooder, rooms, run, simulate, slow_reader, talker
from exercises import NotYet, exercise, is_a_reason, kept, no_errors

SLIPS = ("hello?", "[1, 2]", '{"token": "Ann"}')  # frames that are no messages
POLICIES = ("drop newest", "drop oldest", "evict")
SEEDS = range(5)


@exercise
def check_a_slip_is_forgiven(room: type) -> None:
    requirements = {f"Ann is told that {slip} is no message": partial(is_told, slip) for slip in SLIPS}
    requirements["Bob hears what Ann says next, and nothing else"] = hears_the_rest
    kept({sentence: lambda visit=visit: run(in_a_room(room, visit)) for sentence, visit in requirements.items()})


async def is_told(slip: str, url: str) -> None:
    async with joining(url) as ann:
        await ann.send(slip)
        answer = await heard(ann, "Ann")
        if not answer.get("content"):
            raise NotYet("she gets an empty answer")
        if answer.get("token") == "Ann":
            raise NotYet("it is passed on as if it were a message")


async def hears_the_rest(url: str) -> None:
    async with joining(url) as ann, joining(url) as bob:
        for frame in (*SLIPS, encode(Message("Ann", "sorry"))):
            await ann.send(frame)
        if (first := (await heard(bob, "Bob"))["content"]) != "sorry":
            raise NotYet(f"he hears {first}")


@exercise
def check_one_person_has_one_limit(room: type) -> None:
    def windows_share_it() -> None:
        one, four = (run(in_a_room(room, partial(talk_from, windows))) for windows in (1, 4))
        if four > one + 1:  # a second may pass in between
            raise NotYet(f"of 20 messages at once {one} pass from one window, and {four} from four")

    def a_burst_passes() -> None:
        if run(in_a_room(room, partial(talk_from, 1))) < 2:
            raise NotYet("of 20 at once 2 should pass")

    kept(
        {
            "Ann may say two things at once": a_burst_passes,
            "Ann's windows share one limit": windows_share_it,
            "Bob is not refused because of Ann": lambda: run(in_a_room(room, bob_speaks)),
            "Ann may speak again after a second": lambda: run(in_a_room(room, ann_speaks_again)),
        }
    )


async def talk_from(windows: int, url: str) -> int:
    """How many of 20 messages get through that Ann sends at once, from each window in turn; each must be answered."""
    async with AsyncExitStack() as stack:
        anns = [await stack.enter_async_context(joining(url)) for _ in range(windows)]
        for number in range(20):
            await anns[number % windows].send(encode(Message("Ann", f"{number}")))
        passed = 0
        for index, ann in enumerate(anns):
            missing = {str(number) for number in range(20) if number % windows == index}
            while missing:
                message = await heard(ann, "Ann, about something she said,")
                passed += message["content"] in missing
                missing.discard(message.get("refused", message["content"]))
        return passed


async def bob_speaks(url: str) -> None:
    await talk_from(1, url)
    async with joining(url) as bob:
        await says("Bob", bob, "Bob, who has said only one thing, is refused")


async def ann_speaks_again(url: str) -> None:
    await talk_from(2, url)
    await asyncio.sleep(1.2)
    async with joining(url) as ann:
        await says("Ann", ann, "she is refused after a silence of more than a second")


@exercise
def check_the_policies(choices: type) -> None:
    def try_out(product: str, scenario: Scenario, promise: Callable[[Trace], None]) -> None:
        policy = getattr(choices, product, None)
        if policy not in POLICIES:
            raise NotYet(f"{policy!r} is none of {', '.join(POLICIES)}")
        for seed in SEEDS:
            trace = simulate(partial(with_policy(policy), outbox_size=16), scenario, seed)
            no_errors(trace)
            try:
                promise(trace)
            except NotYet as reason:
                raise NotYet(f"{policy}: {reason}") from None

    def reasons_are_given() -> None:
        if short := [product for product in ("prices", "office", "alarms") if not is_a_reason(choices.why[product])]:
            raise NotYet(f"no sentence for {', '.join(short)}")

    kept(
        {
            "prices: Bob ends with the last price": partial(try_out, "prices", A_STREAM, ends_up_to_date),
            "office: Bob's program knows of every hole": partial(try_out, "office", A_STREAM, knows_of_every_hole),
            "alarms: Bob sees the first ten": partial(try_out, "alarms", A_BURST, sees_the_first_ten),
            "each choice has a reason": reasons_are_given,
        }
    )


BOB = slow_reader("Bob", pause=0.05)
A_STREAM = Scenario([talker("Ann", says=300, every=0.02), BOB], duration=60)
A_BURST = Scenario([flooder("Pump", says=300, size=1000, starts=0.2), BOB], duration=60)


def ends_up_to_date(trace: Trace) -> None:
    if (last := trace.heard("Bob")[-1]) != "Ann 300":
        raise NotYet(f"with seed {trace.seed} the last that he hears of 300 prices is number {last.split()[1]}")


def knows_of_every_hole(trace: Trace) -> None:
    heard = [int(message.split()[1]) for message in trace.heard("Bob")]
    holes = sum(later > earlier + 1 for earlier, later in zip(heard, heard[1:]))
    if holes:
        raise NotYet(f"with seed {trace.seed} what he hears has {holes} holes, and he is still connected")
    if len(heard) < 300 and not trace.of("lost", who="Bob"):
        raise NotYet(f"with seed {trace.seed} he hears no more after {len(heard)}, and is still connected")


def sees_the_first_ten(trace: Trace) -> None:
    if missing := [f"{n}" for n in range(1, 11) if f"Pump {n}" not in trace.heard("Bob")]:
        raise NotYet(f"with seed {trace.seed} he never sees number {', '.join(missing)}")


def with_policy(policy: str) -> type:
    """v3.1 with one of POLICIES, for a client whose outbox is full."""

    class Chosen(rooms.resolve("v3.1")):
        def broadcast(self, message):
            for member in list(self.clients):
                if member.outbox.full() and policy == "evict":
                    self.clients.remove(member)
                    member.connection.transport.abort()
                elif member.outbox.full() and policy == "drop oldest":
                    member.outbox.get_nowait()
                if not member.outbox.full():
                    member.outbox.put_nowait(message)

    return Chosen


async def says(name: str, connection, otherwise: str) -> None:
    await connection.send(encode(Message(name, "may I?")))
    while (message := await heard(connection, name)) != {"token": name, "content": "may I?"}:
        if message.get("refused") == "may I?":
            raise NotYet(otherwise)


async def in_a_room(room: type, visit: Callable[[str], Awaitable]):
    """What `visit(url)` returns in a room on real sockets."""
    server = Server(room)
    await server.start()
    try:
        result = await visit(server.url)
        if server.errors:
            raise NotYet(f"the room raises {type(server.errors[0]).__name__}: {server.errors[0]}")
        return result
    finally:
        await server.stop()


def joining(url: str):
    """A client that keeps whatever arrives until somebody reads it."""
    return client.connect(url, max_queue=None, proxy=None, close_timeout=1)


async def heard(connection, who: str) -> dict:
    try:
        async with asyncio.timeout(2):
            return json.loads(await connection.recv())
    except TimeoutError:
        raise NotYet(f"{who} hears nothing") from None
    except ConnectionClosed:
        raise NotYet(f"{who} loses the connection") from None
