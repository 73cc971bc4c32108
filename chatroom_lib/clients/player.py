"""How a client plays its part, on real sockets as in the simulation."""

import asyncio
from collections.abc import Awaitable, Callable

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from chatroom_lib.clients.connect import reset
from chatroom_lib.clients.hearing import RoomWire, Wire, read, why_closed, why_shut_out
from chatroom_lib.clients.scenario import NEVER, Client, Scenario
from chatroom_lib.clients.session import Session
from chatroom_lib.message import Message
from chatroom_lib.trace import Trace, label

Dial = Callable[[Client, int], Awaitable[ClientConnection]]  # opens a client's connection to the server of that number


async def play(scenario: Scenario, dial: Dial, trace: Trace, wire: Wire | None = None) -> None:
    """Let all clients play their parts; ends when all have gone. `wire`: that of this library's rooms, unless given."""
    wire = wire or RoomWire(scenario.clients)
    async with asyncio.TaskGroup() as visits:
        before = asyncio.Event()
        before.set()
        for number, client in enumerate(scenario.clients):
            done = asyncio.Event()
            server = number % scenario.servers
            visits.create_task(visit(client, server, dial, trace, wire, before, done))
            if client.joins is None:
                before = done


async def visit(
    client: Client,
    server: int,
    dial: Dial,
    trace: Trace,
    wire: Wire,
    before: asyncio.Event,
    done: asyncio.Event,
) -> None:
    """One client's visit, from joining to its end. One without a time of its own joins once `before` is set, the `done`
    of the one before it."""
    await (before.wait() if client.joins is None else asyncio.sleep(client.joins))
    if client.returns:
        return await Session(client, server, dial, trace, wire).run(done)
    try:
        async with asyncio.timeout(None if client.vanishes == NEVER else client.vanishes - trace.clock()) as life:
            connection = await dial(client, server)
    except (OSError, InvalidHandshake, TimeoutError) as error:
        if life.expired():
            trace.record("vanished", client.name)
        else:
            trace.record("shut out", client.name, why_shut_out(error))
        return
    finally:
        done.set()
    trace.record("joined", client.name, trace.which(server))
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(speak(client, connection, trace, wire))
            if client.pause < NEVER:
                tasks.create_task(read(client, connection, trace, wire))
            else:
                connection.transport.pause_reading()  # nor does it answer a ping
            going = tasks.create_task(go(client, connection, trace))
            await connection.wait_closed()
            going.cancel()
            if trace.clock and not trace.of("left", "vanished", who=client.name):
                trace.record("lost", client.name, why_closed(connection))
    finally:
        reset(connection)


async def speak(client: Client, connection: ClientConnection, trace: Trace, wire: Wire) -> None:
    clock = asyncio.get_running_loop().time
    joined = clock()
    try:
        if client.first is not None:
            await connection.send(client.first)
        for number, moment in enumerate(client.send_times, 1):
            await asyncio.sleep(joined + moment - clock())
            text = client.text(number)
            trace.record("said", client.name, label(Message(client.name, text)))
            await connection.send(wire.say(client.name, text))
    except ConnectionClosed:
        pass


async def go(client: Client, connection: ClientConnection, trace: Trace) -> None:
    if (moment := min(client.leaves, client.vanishes)) == NEVER:
        return
    await asyncio.sleep(moment - trace.clock())
    if client.leaves < client.vanishes:
        trace.record("left", client.name)
        await connection.close()
    else:
        trace.record("vanished", client.name)
        reset(connection)
