"""How a client opens its connection, what it asks for, and how it is killed."""

import asyncio
import socket
import struct
from urllib.parse import parse_qs, quote, urlsplit

from websockets.asyncio.client import ClientConnection

from chatroom_lib.clients.scenario import Client
from chatroom_lib.instrumentation.names import user_agent
from chatroom_lib.message import MAX_SIZE, WIRE, Position

FOR_GOOD = (1000, 1003, 1007, 1008, 1009)  # codes with which a room does not want us, or not what we said
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


def asking_for_the_rest(url: str, heard: Position | None, last: int | None = None) -> str:
    """`url`, with what we have heard in it, and the wish for the last `last` messages (None: for all) if that is
    nothing of the history there; unless it has such wishes already. Rooms ignore those that they do not know."""
    parts = urlsplit(url)
    since = quote(f"{heard.epoch}:{heard.seq}" if heard and heard.epoch else ":", safe=":", errors="replace")
    own = parse_qs(parts.query, keep_blank_values=True)
    wishes = [("since", since), *([] if last is None else [("last", last)])]
    wishes = [f"{name}={value}" for name, value in wishes if name not in own]
    return parts._replace(query="&".join(filter(None, [parts.query, *wishes]))).geturl()


def connect_options(client: Client) -> dict:
    """The same for a simulated client: a slow reader prefetches at most one message."""
    options = {**dial_options(client.name), "additional_headers": client.headers, "open_timeout": client.patience}
    if not client.prompt:
        options["max_queue"] = 1
    return options
