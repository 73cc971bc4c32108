"""Serving from a cell: `server = await serve("v1")`, which a second run of the cell replaces."""

import socket

from chatroom_lib.runtime.background import submit
from chatroom_lib.server.server import Server

servers: list[Server] = []  # those that serve() started
last_ports: dict[tuple[str, str], int] = {}  # (name, host) -> the port that it had last


async def serve(room, host="127.0.0.1", port=0, *, name: str | None = None, **options) -> Server:
    """Start a server for `room` on the background thread: a version ("v1"), a room class, or a room.

    A server that an earlier call started under the same name (the room's, unless given), or on the same port,
    is stopped first; so a cell that serves can be run again. `port` 0 is any free one, or the one that a server of
    this name had before, if it is free: so pages and panels find the new server. `allow_null_origin=True` lets pages
    opened as files join, and with them sandboxed frames of any site. Other `options` go to `websockets.serve`.
    """
    server = Server(room, host, port, **options)
    server.name = name or server.name
    for earlier in list(servers):
        if earlier.name == server.name or earlier.port == port:
            servers.remove(earlier)
            await earlier.stop()
    last_port = last_ports.get((server.name, host), 0)
    if not port and is_free(host, last_port):
        server.port = last_port
    servers.append(server)
    await submit(server.start())
    last_ports[server.name, host] = server.port
    return server


def is_free(host: str, port: int) -> bool:
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            return True
    except OSError:
        return False


async def stop_all() -> None:
    """Stop every server that `serve` started."""
    while servers:
        await servers.pop().stop()
