"""How a client opens its connection, and how it is killed."""

import asyncio
import socket
import struct

from websockets.asyncio.client import ClientConnection

from chatroom_lib.clients.scenario import Client
from chatroom_lib.instrumentation.names import user_agent
from chatroom_lib.message import MAX_SIZE, WIRE

REPLY_SIZE = MAX_SIZE + 1024  # bytes; a refusal repeats the message and says why


def reset(connection: ClientConnection) -> None:
    """End the TCP connection with a reset (RST), not with the polite FIN."""
    reset_socket(connection.transport)


def reset_socket(transport: asyncio.Transport) -> None:
    sock = transport.get_extra_info("socket")  # there is none in the simulation, where abort() resets
    if sock and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def dial_options(name: str) -> dict:
    """For `websockets.connect`: the client's name, no compression, no pings, no proxy, and a quick goodbye."""
    options = {"max_size": REPLY_SIZE, "user_agent_header": user_agent(name), "proxy": None, "close_timeout": 1}
    return {**WIRE, **options}


def connect_options(client: Client) -> dict:
    """The same for a simulated client: a slow reader prefetches at most one message."""
    options = {**dial_options(client.name), "additional_headers": client.headers}
    if not client.prompt:
        options["max_queue"] = 1
    return options
