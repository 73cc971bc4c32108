"""Checks for chapter 03. The first runs in the simulation; the others talk to a room on real sockets, since no simulated
person sends nonsense or opens two connections."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial

from websockets.asyncio import client
from websockets.exceptions import ConnectionClosed

from chatroom_lib import Message, Scenario, Server, encode, leaving, listener, run, simulate, slow_reader, talker
from exercises import NotYet, check, no_errors


@check
def check_there_are_no_ghosts(room: type) -> None:
    hasty = [leaving(name, joins=1 + n / 10, leaves=1.05 + n / 10) for n, name in enumerate(("Di", "Eve", "Fay"))]
    people = [talker("Ann", says=60, every=0.02), slow_reader("Bob", 0.05), listener("Cy"), *hasty]
    for seed in range(20):
        trace = simulate(partial(room, outbox_size=8), Scenario(people, duration=60), seed)
        no_errors(trace)
        left = {name for name, _, until in trace.memberships() if until == trace.duration}
        if ghosts := left - {"Ann", "Bob", "Cy"}:
            raise NotYet(f"with seed {seed} {' and '.join(sorted(ghosts))} have left and are in the pool for ever")
        if left != {"Ann", "Bob", "Cy"} or trace.missed()["Cy"]:
            raise NotYet(f"with seed {seed} {', '.join(sorted(left))} are in the pool, and Cy misses messages")


@check
def check_a_slip_is_forgiven(room: type) -> None:
    async def visit(url: str) -> None:
        async with joining(url) as ann, joining(url) as bob:
            for slip in ("hello?", "[1, 2]", '{"token": "Ann"}'):
                await ann.send(slip)
                answer = await heard(ann, f"after the frame {slip} Ann")
                if answer.get("token") == "Ann":
                    raise NotYet(f"the frame {slip} is passed on as if it were a message")
            await ann.send(encode(Message("Ann", "sorry")))
            if (await heard(bob, "after Ann's slips Bob"))["content"] != "sorry":
                raise NotYet("Bob hears of Ann's slips, which are none of his business")

    run(in_a_room(room, visit))


@check
def check_one_person_has_one_limit(room: type) -> None:
    async def visit(url: str) -> None:
        async with joining(url) as one, joining(url) as other, joining(url) as bob:
            for number in range(20):
                await one.send(encode(Message("Ann", f"{number} from one window")))
                await other.send(encode(Message("Ann", f"{number} from the other")))
            passed = await outcome(one, "from one window") + await outcome(other, "from the other")
            if passed > 7:
                raise NotYet(f"Ann has two windows and gets {passed} messages through at once")
            if not passed:
                raise NotYet("nothing of what Ann says gets through")
            await bob.send(encode(Message("Bob", "may I?")))
            while (message := await heard(bob, "Bob"))["token"] == "Ann":
                pass
            if message["content"] != "may I?":
                raise NotYet("Bob, who has said one thing only, is refused")

    async def outcome(window, words: str) -> int:
        """How many of the 20 messages of this window were passed on; the room must answer each of them."""
        passed = refused = 0
        while passed + refused < 20:
            message = await heard(window, "Ann, of what became of something she said,")
            passed += message["content"].endswith(words)
            refused += "refused" in message
        return passed

    run(in_a_room(room, visit))


async def in_a_room(room: type, visit: Callable[[str], Awaitable[None]]) -> None:
    """Let `visit(url)` happen in a room on real sockets."""
    server = Server(room)
    await server.start()
    try:
        await visit(server.url)
        if server.errors:
            raise NotYet(f"the room raises {type(server.errors[0]).__name__}: {server.errors[0]}")
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
        raise NotYet(f"{who} is put out") from None
