"""How a client plays its part, on real sockets as in the simulation."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import lru_cache

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.frames import CloseCode

from chatroom_lib.clients.connect import reset
from chatroom_lib.clients.scenario import NEVER, Client, Scenario
from chatroom_lib.message import Message, MessageError, decode_reply, encode
from chatroom_lib.runtime.console import describe, excerpt, one_line
from chatroom_lib.trace import Trace, label

Dial = Callable[[Client], Awaitable[ClientConnection]]  # opens a client's connection
Understand = Callable[[str | bytes], tuple[str, str]]  # the kind of event that a frame is, and what a Trace says of it


async def play(scenario: Scenario, dial: Dial, trace: Trace) -> None:
    """Let all clients play their parts; ends when all have gone."""
    understand = understanding(scenario.clients)
    async with asyncio.TaskGroup() as visits:
        before = asyncio.Event()
        before.set()
        for client in scenario.clients:
            done = asyncio.Event()
            visits.create_task(visit(client, dial, trace, understand, before, done))
            if client.joins is None:
                before = done


async def visit(
    client: Client, dial: Dial, trace: Trace, understand: Understand, before: asyncio.Event, done: asyncio.Event
) -> None:
    """One client's visit, from joining to its end. One without a time of its own joins once `before` is set, the `done`
    of the one before it."""
    await (before.wait() if client.joins is None else asyncio.sleep(client.joins))
    try:
        async with asyncio.timeout(None if client.vanishes == NEVER else client.vanishes - trace.clock()):
            connection = await dial(client)
    except (OSError, InvalidHandshake, TimeoutError) as error:
        if trace.now() < client.vanishes:
            trace.record("shut out", client.name, why_shut_out(error))
        else:
            trace.record("vanished", client.name)
        return
    finally:
        done.set()
    trace.record("joined", client.name)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(speak(client, connection, trace))
            if client.pause < NEVER:
                tasks.create_task(read(client, connection, trace, understand))
            else:
                connection.transport.pause_reading()  # nor does it answer a ping
            going = tasks.create_task(go(client, connection, trace))
            await connection.wait_closed()
            going.cancel()
            if trace.clock and not trace.of("left", "vanished", who=client.name):
                trace.record("lost", client.name, why_closed(connection))
    finally:
        reset(connection)


def why_shut_out(error: Exception) -> str:
    """What a handshake failed of, with what the server says about it, in one line."""
    body = error.response.body if isinstance(error, InvalidStatus) else None
    said = f": {bytes(body).decode(errors='replace')}" if body else ""
    return one_line(f"{describe(error)}{said}", 150)


def why_closed(connection: ClientConnection) -> str:
    """The code and the reason with which the server closed; "" if it closed with none."""
    if connection.close_code in (None, CloseCode.ABNORMAL_CLOSURE):
        return ""
    return one_line(f"{connection.close_code} {connection.close_reason}".rstrip(), 100)


async def speak(client: Client, connection: ClientConnection, trace: Trace) -> None:
    clock = asyncio.get_running_loop().time
    joined = clock()
    try:
        for number, moment in enumerate(client.send_times, 1):
            await asyncio.sleep(joined + moment - clock())
            message = Message(client.name, client.text(number))
            trace.record("said", client.name, label(message))
            await connection.send(encode(message))
    except ConnectionClosed:
        pass


async def read(client: Client, connection: ClientConnection, trace: Trace, understand: Understand) -> None:
    try:
        async for frame in connection:
            kind, what = understand(frame)
            trace.record(kind, client.name, label(Message(client.name, what)) if kind == "refused" else what)
            if client.pause:
                await asyncio.sleep(client.pause)
    except ConnectionClosed:
        pass


def understanding(clients: Iterable[Client]) -> Understand:
    """How clients understand a frame, once for all who hear the same: the kind of event, and the message, the content
    that is refused, or what the frame looks like."""
    speakers = {client.name: client for client in clients}

    @lru_cache(maxsize=256)
    def understand(frame):
        try:
            message = decode_reply(frame)
        except MessageError:
            return "garbled", excerpt(frame)
        if altered(message, speakers):
            return "altered", excerpt(frame)
        return ("heard", label(message)) if message.refused is None else ("refused", message.refused)

    return understand


def altered(message: Message, speakers: dict[str, Client]) -> bool:
    """True if the message names a known sender but differs from what that client sent."""
    speaker = speakers.get(message.token)
    if speaker is None or message.refused is not None:
        return False
    number = message.content.partition(" ")[0]
    return not number.isdecimal() or len(number) > 9 or message.content != speaker.text(int(number))


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
