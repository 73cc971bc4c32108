"""A scenario on real sockets, in real time: `trace = await live(room, scenario)`.

Server and clients run on the background thread. The buffers on the way to a client are small, so that a client that
does not read is felt after some 15 messages of 1 kB, and not after the 4 MB that Linux would hold for it.
"""

import asyncio
import socket
from collections.abc import Callable
from random import Random

from websockets.asyncio.client import ClientConnection, connect

from chatroom_lib.clients.connect import connect_options
from chatroom_lib.clients.line import Line
from chatroom_lib.clients.scenario import NEVER, SMALL_BUFFER, Client, Scenario, make_scenario
from chatroom_lib.instrumentation.pool import Pool
from chatroom_lib.rooms import Room, RoomSpec
from chatroom_lib.runs.harness import Run, shares_nats
from chatroom_lib.runs.room_files import RoomFiles
from chatroom_lib.runtime.background import submit
from chatroom_lib.runtime.measurement_lock import measured_window
from chatroom_lib.runtime.platform import require_sockets
from chatroom_lib.server.server import cancel_after, url_of
from chatroom_lib.trace import Trace

POOL_INTERVAL = 0.005  # seconds from one look at the pool to the next


async def live(room: RoomSpec | Room, scenario: Scenario, *, keepalive: float | None = None) -> Trace:
    """Run `scenario` in `room`: a version ("v1"), a class, a function that makes a room, or a handler.

    `keepalive`: as for `serve`. Takes `scenario.duration` seconds. Returns the Trace; its `seed` is None, since nobody
    decides this race.
    Raises RoomError if there is no such room, ServerError if it does not start, or needs a NATS server and none is
    installed, and TypeError or RuntimeError if its `members()` lists no connections.
    """
    require_sockets("live()")
    scenario = make_scenario(scenario, Random())
    if scenario.handshake:
        raise ValueError("live() cannot make handshakes take longer: try simulate()")
    with measured_window(), RoomFiles() as files:
        if scenario.kills or scenario.pauses or scenario.servers > 1 or shares_nats(room):
            from chatroom_lib.runs.live_processes import ProcessesRun  # which needs this module

            return await submit(ProcessesRun(room, scenario, keepalive, files).play())
        return await submit(play_live(Run(room, scenario, keepalive=keepalive, path=files.path)))


async def play_live(run: Run) -> Trace:
    (server,) = run.servers
    dialling = Dialling(run.trace, lambda _: (server.host, server.port))
    await server.start()
    sockets = server.listener.sockets
    tasks = []
    try:
        sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER)  # accepted ones inherit it
        run.begin(asyncio.get_running_loop(), dialling.dial)
        watching = asyncio.create_task(watch(*run.pools))
        tasks = [watching, run.playing]
        if (await asyncio.wait([watching], timeout=run.scenario.duration))[0]:
            watching.result()  # it ends only if the room's members() has raised
        return run.finish("time is up")
    finally:
        await cancel_after(tasks, 0)
        await server.stop()
        await dialling.close()


class Dialling:
    """Opens the clients' connections on real sockets, to wherever the server of a number is then."""

    def __init__(self, trace: Trace, where: Callable[[int], tuple[str, int]]):
        self.trace, self.where = trace, where
        self.lines: list[Line] = []

    async def dial(self, client: Client, server: int) -> ClientConnection:
        host, port = self.where(server)
        url = url_of(host, port, client.path)
        if client.latency or client.dark < NEVER:
            self.lines.append(line := Line(client, self.trace.clock))
            await line.open(host, port)
            host, port = "127.0.0.1", line.port
        elif client.prompt:
            return await connect(url, **connect_options(client))
        return await connect(url, **connect_options(client), sock=await small_socket(host, port))

    async def close(self) -> None:
        for line in self.lines:
            await line.close()


async def small_socket(host: str, port: int) -> socket.socket:
    sock = socket.socket()
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)  # counts only if set before connecting
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
    except BaseException:
        sock.close()
        raise
    return sock


async def watch(pool: Pool) -> None:
    while True:
        pool.update()
        await asyncio.sleep(POOL_INTERVAL)
