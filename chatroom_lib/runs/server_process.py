"""The process in which a room of a live run lives that is killed, or has others beside it: what live_processes.py
starts.

It gets the room on standard input, a line of JSON, then "begin" and at last "finish". On standard output it tells, a
line of JSON each, its port, every event as it happens, so that a kill loses none, and in the end all that is in its
Trace. It goes on until it is killed, or standard input ends.
"""

import asyncio
import base64
import json
import os
import socket
import sys
import threading
from dataclasses import dataclass, field
from typing import TextIO

import cloudpickle

from chatroom_lib.clients.scenario import SMALL_BUFFER, Scenario
from chatroom_lib.instrumentation.pool import Pool
from chatroom_lib.instrumentation.waits import waits
from chatroom_lib.rooms import create
from chatroom_lib.runs.harness import spoken
from chatroom_lib.runs.live import watch
from chatroom_lib.runtime.background import run_here
from chatroom_lib.runtime.console import describe
from chatroom_lib.server.server import observed_server
from chatroom_lib.trace import Trace
from chatroom_lib.trace.plain import to_plain


@dataclass
class ToldTrace(Trace):
    """A Trace that tells each event at once."""

    told: TextIO = field(default=sys.stdout, compare=False)

    def record(self, *event, **options) -> None:
        super().record(*event, **options)
        if self.clock:
            tell(self.told, event=self.events[-1])


telling = threading.Lock()  # a thread that writes to the room's history tells of it


def tell(out: TextIO, **what) -> None:
    with telling:
        out.write(json.dumps(what) + "\n")
        out.flush()


async def serve(job: dict, orders: "asyncio.Queue[dict]", out: TextIO) -> None:
    room, clients = cloudpickle.loads(base64.b64decode(job["packed"]))
    trace = ToldTrace(job["name"], clients, servers=job["servers"], told=out)
    room = create(room, path=job["path"], keep=job["keep"], nats=job["nats"])
    trace.wire = spoken(room, Scenario(clients))[1]
    number, port = job["number"], job["port"]
    server = observed_server(room, trace, number, port=port, keepalive=job["keepalive"], write_limit=SMALL_BUFFER)
    await server.start()
    server.listener.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER)
    tell(out, port=server.port, keepalive=server.options["ping_interval"])
    start = (await orders.get())["begin"]
    clock = asyncio.get_running_loop().time
    trace.clock = lambda: clock() - start  # one clock for all processes of a machine
    watching = asyncio.create_task(watch(Pool(server.room, trace, number)))
    told = asyncio.create_task(orders.get())
    await asyncio.wait([watching, told], return_when=asyncio.FIRST_COMPLETED)
    if watching.done():
        watching.result()  # it ends only if the room's members() has raised
    watching.cancel()
    if "stop" in told.result():
        trace.clock = None  # whatever happens from now on is teardown
        await server.stop()
        tell(out, stopped=True)
        return await asyncio.get_running_loop().create_future()
    trace.finish("time is up", waits(server.tasks.visitors), server.errors, server.tasks.awaited_since())
    tell(out, trace=to_plain(trace))
    await asyncio.get_running_loop().create_future()


def main() -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the room prints is not for our parent
    loop_ready, orders = threading.Event(), None

    def listen() -> None:
        loop_ready.wait()
        for line in sys.stdin:
            orders[0].call_soon_threadsafe(orders[1].put_nowait, json.loads(line))
        os._exit(0)

    async def run() -> None:
        nonlocal orders
        orders = asyncio.get_running_loop(), asyncio.Queue()
        loop_ready.set()
        try:
            await serve(await orders[1].get(), orders[1], out)
        except Exception as error:
            tell(out, error=describe(error))

    threading.Thread(target=listen, daemon=True).start()
    run_here(run())
    os._exit(0)
