"""What `chatroom serve ROOM --processes N` and `chatroom cluster ROOM` do: start several servers, say where they are,
and end them all when they are told to."""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Callable
from typing import NamedTuple

from chatroom_lib.runtime.console import one_line
from chatroom_lib.server.nats_server import NatsServer
from chatroom_lib.server.processes import PAUSE, Processes, free_addresses, one_address
from chatroom_lib.server.server import ServerError, url_of

TEMPORARY = ", a temporary {}: --data {} keeps it"


class Plan(NamedTuple):
    """What to serve, and how."""

    room: str
    number: int  # of servers
    host: str
    port: int  # of the first one; 0: any
    data: str | None  # where the history is: a file, or the folder of our own NATS server; None: a temporary one
    nats: str | None  # the address of a NATS server that there is already
    shares_nats: bool  # is the room one that needs one?
    command: Callable[..., list[str]]  # makes the command of one server, of the options that it is to have besides
    say: Callable[[str], None]
    complain: Callable[[str], None]


async def serve_one_port(plan: Plan, told: asyncio.Event) -> None:
    """Several processes behind one port, until `told`."""
    async with contextlib.AsyncExitStack() as kept:
        address = kept.enter_context(one_address(plan.host, plan.port))
        log, where = await log_of(plan, kept)
        command = plan.command("--shared-port", "--port", str(address[1]), *log)
        processes = Processes([command] * plan.number, plan.complain)

        def announce() -> None:
            numbers = ", ".join(str(process.pid) for process in processes.running.values())
            url = url_of(plan.host, address[1], "/chatroom")
            plan.say(f"serving {plan.room} at {url} ({where}; processes {numbers})")

        await processes.run(told, announce)


async def serve_cluster(plan: Plan, told: asyncio.Event) -> None:
    """Several servers, each at an address of its own, until `told`."""
    async with contextlib.AsyncExitStack() as kept:
        ports = free_addresses(plan.host, plan.port, plan.number)
        urls = [url_of(plan.host, port, "/chatroom") for port in ports]
        log, where = await log_of(plan, kept)
        commands = []
        for port, url in zip(ports, urls):
            others = [word for other in urls if other != url for word in ("--other", other)]
            commands.append(plan.command("--port", str(port), *log, *others))
        lines = [f"serving {plan.room} ({where}) at", *(f"  {url}" for url in urls)]
        await Processes(commands, plan.complain).run(told, lambda: plan.say("\n".join(lines)))


async def log_of(plan: Plan, kept: contextlib.AsyncExitStack) -> tuple[list[str], str]:
    """The options with which a server finds the history that all share, and in words where that is. A NATS server of
    our own runs until the end of `kept`."""
    if plan.shares_nats and plan.nats:
        return ["--nats", plan.nats], f"history in NATS at {one_line(plan.nats)}"
    folder = plan.data or kept.enter_context(tempfile.TemporaryDirectory(prefix="chatroom-"))
    if plan.shares_nats:
        nats = await kept.enter_async_context(NatsServer(folder))
        watching = asyncio.create_task(keep_running(nats, plan.complain))
        kept.callback(watching.cancel)
        hint = "" if plan.data else TEMPORARY.format("folder", "FOLDER")
        return [
            "--nats",
            nats.url,
        ], f"history in NATS at {nats.url}, process {nats.process.pid}, in {one_line(folder)}{hint}"
    file = plan.data or os.path.join(folder, "chat.db")
    return ["--data", file], f"history in {one_line(file)}{'' if plan.data else TEMPORARY.format('file', 'FILE')}"


async def keep_running(nats: NatsServer, complain: Callable[[str], None]) -> None:
    while True:
        await nats.process.wait()
        complain("nats-server has ended; it is started again")
        try:
            await nats.start()
        except ServerError as error:
            complain(f"{error}; it is tried again")
            await asyncio.sleep(PAUSE)
