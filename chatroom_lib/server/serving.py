"""Serving from a cell: `server = await serve("v1")`, which a second run of the cell replaces."""

import asyncio
import socket

from chatroom_lib.runtime.background import submit
from chatroom_lib.runtime.platform import require_sockets
from chatroom_lib.server.server import Server

servers: list[Server] = []  # those that serve() started
changing = asyncio.Lock()  # held while that list changes; on the background loop only
last_ports: dict[tuple[str, str], int] = {}  # (name, host) -> the port that it had last


async def serve(
    room, host="127.0.0.1", port=0, *, name: str | None = None, keepalive: float | None = None, **options
) -> Server:
    """Start a server for `room` on the background thread: a version ("v1"), a room class, a handler, or a room.

    A server that an earlier call started under the same name (the room's, unless given), or on the same port,
    is stopped first; so a cell that serves can be run again. `port` 0 is any free one, or the one that a server of
    this name had before, if it is free: so pages and panels find the new server. `allow_null_origin=True` lets pages
    opened as files join, and with them sandboxed frames of any site.

    `keepalive`: ping each client every so many seconds, and close its connection if it has not answered within as many
    more. None: as the room's `server_options` say, and not at all if it has none; 0: not at all. Other `options` go to
    `websockets.serve`, before those of the room. Raises ServerError if it cannot start.
    """
    require_sockets("serve()")
    server = Server(room, host, port, keepalive=keepalive, **options)
    server.name = name or server.name
    await submit(start_in_place(server))
    return server


async def start_in_place(server: Server) -> None:
    """Start `server` in place of those that have its name or its port."""
    async with changing:
        for earlier in list(servers):
            if server.name == earlier.name or server.port == earlier.port:
                servers.remove(earlier)
                await earlier.stop()
        last_port = last_ports.get((server.name, server.host), 0)
        if not server.port and is_free(server.host, last_port):
            server.port = last_port
        await server.start()
        servers.append(server)
        last_ports[server.name, server.host] = server.port


def is_free(host: str, port: int) -> bool:
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            return True
    except OSError:
        return False


async def stop_all() -> None:
    """Stop every server that `serve` started."""
    require_sockets("stop_all()")
    await submit(stop_each())


async def stop_each() -> None:
    async with changing:
        while servers:
            await servers.pop().stop()
