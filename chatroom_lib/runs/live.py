"""A scenario on real sockets, in real time: `trace = await live(room, scenario)`.

Server and clients run on the background thread. The buffers on the way to a client are small, so that one who does
not read is felt after some 15 messages of 1 kB, and not after the 4 MB that Linux would hold for it.
"""

import asyncio
import socket
from functools import partial

from websockets.asyncio.client import ClientConnection, connect

from chatroom_lib import rooms
from chatroom_lib.clients.connect import connect_options
from chatroom_lib.clients.player import play
from chatroom_lib.clients.scenario import SMALL_BUFFER, Client, Scenario
from chatroom_lib.instrumentation.pool import Pool
from chatroom_lib.instrumentation.waits import waits
from chatroom_lib.runtime.background import submit
from chatroom_lib.runtime.measurement_lock import measured_window
from chatroom_lib.server.server import Server, end, observed
from chatroom_lib.trace import Trace

GLANCE = 0.005  # seconds from one look at the pool to the next


async def live(room, scenario: Scenario) -> Trace:
    """Run `scenario` in `room`: a version ("v1"), a class, or a function that makes a room.

    Takes `scenario.duration` seconds. Returns the Trace; its `seed` is None, since nobody decides this race.
    """
    with measured_window():
        return await submit(run(rooms.create(room), scenario))


async def run(room, scenario: Scenario) -> Trace:
    trace = Trace(rooms.display_name(room), scenario.clients)
    server = observed(room, trace, write_limit=SMALL_BUFFER)
    await server.start()
    server.listener.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER)  # accepted ones inherit it
    trace.start_clock(asyncio.get_running_loop())
    playing = asyncio.create_task(play(scenario, partial(connect_to, server), trace))
    watching = asyncio.create_task(watch(Pool(server.room, trace)))
    try:
        await asyncio.sleep(scenario.duration)
        trace.finish("time is up", waits(server.tasks.visitors), server.errors, server.tasks.awaited_since())
        if playing.done():
            playing.result()  # raises if a client did what no client should
    finally:
        await end([watching, playing], 0)
        await server.stop()
    return trace


async def connect_to(server: Server, client: Client) -> ClientConnection:
    options = connect_options(client)
    if not client.prompt:
        options["sock"] = await small_socket(server.host, server.port)
    return await connect(server.url, **options)


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
        pool.look()
        await asyncio.sleep(GLANCE)
