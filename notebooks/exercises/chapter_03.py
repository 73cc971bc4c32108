"""Checks for chapter 03. The first runs in the simulation. The others talk to a room on real sockets, since no
simulated client sends nonsense or opens two connections."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial

from websockets.asyncio import client
from websockets.exceptions import ConnectionClosed

from chatroom_lib import Message, Scenario, Server, encode, leaving, listener, run, simulate, slow_reader, talker
from exercises import NotYet, exercise, no_errors


@exercise
def check_there_are_no_ghosts(room: type) -> None:
    hasty = [leaving(name, joins=1 + n / 10, leaves=1.05 + n / 10) for n, name in enumerate(("Di", "Eve", "Fay"))]
    people = [talker("Ann", says=60, every=0.02), slow_reader("Bob", 0.05), listener("Cy"), *hasty]
    for seed in range(20):
        trace = simulate(partial(room, outbox_size=16), Scenario(people, duration=60), seed)
        no_errors(trace)
        left = {name for name, _, until in trace.memberships() if until == trace.duration}
        if ghosts := left - {"Ann", "Bob", "Cy"}:
            raise NotYet(f"with seed {seed} the pool still contains {' and '.join(sorted(ghosts))}, who left long ago")
        if left != {"Ann", "Bob", "Cy"} or trace.missed()["Cy"]:
            raise NotYet(f"with seed {seed} the pool is {', '.join(sorted(left))} at the end, or Cy misses messages")


@exercise
def check_a_slip_is_forgiven(room: type) -> None:
    async def visit(url: str) -> None:
        async with joining(url) as ann, joining(url) as bob:
            for slip in ("hello?", "[1, 2]", '{"token": "Ann"}'):
                await ann.send(slip)
                answer = await heard(ann, f"after the frame {slip} Ann")
                if not answer.get("content"):
                    raise NotYet(f"after the frame {slip} Ann gets an empty answer")
                if answer.get("token") == "Ann":
                    raise NotYet(f"the frame {slip} is passed on as if it were a message")
            await ann.send(encode(Message("Ann", "sorry")))
            if (await heard(bob, "after Ann's slips Bob"))["content"] != "sorry":
                raise NotYet("Bob hears about Ann's slips; only she should")

    run(in_a_room(room, visit))


@exercise
def check_one_person_has_one_limit(room: type) -> None:
    one, four = (run(in_a_room(room, partial(talk_from, windows))) for windows in (1, 4))
    if not one or not four:
        raise NotYet("nothing that Ann says gets through")
    if four > one + 1:  # a second may pass in between
        raise NotYet(f"of 20 messages at once Ann gets {one} through from one window, and {four} from four windows")


async def talk_from(windows: int, url: str) -> int:
    """How many of 20 messages get through that Ann sends at once, from each window in turn; each must be answered."""
    async with AsyncExitStack() as stack:
        bob, *anns = [await stack.enter_async_context(joining(url)) for _ in range(windows + 1)]
        for number in range(20):
            await anns[number % windows].send(encode(Message("Ann", f"{number}")))
        passed = 0
        for index, ann in enumerate(anns):
            missing = {str(number) for number in range(20) if number % windows == index}
            while missing:
                message = await heard(ann, "Ann, about something she said,")
                passed += message["content"] in missing
                missing.discard(message.get("refused", message["content"]))
        await says("Bob", bob, "Bob, who has said only one thing, is refused")
        await asyncio.sleep(1.2)
        await says("Ann", anns[0], "Ann is refused after a silence of more than a second")
        return passed


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
