"""Where a server of somebody else's is, and what it wants of whoever comes."""

import secrets
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from urllib.parse import quote, urlsplit

from chatroom_lib.clients.scenario import Client
from chatroom_lib.clients.wires import JsonWire, SocketIoWire, TextWire

WIRES = ("json", "text", "socketio")
PORTS = {"ws": 80, "wss": 443}


@dataclass(frozen=True)
class Speech:
    """How people speak to a server. In `hello`, `{name}` is who connects."""

    wire: str = "json"  # one of WIRES
    fields: Mapping[str, str] | None = None  # for JsonWire: {"name": "user", "text": "msg"}
    event: str = "message"  # of Socket.IO
    hello: str | None = None  # a frame that everybody sends first

    def __post_init__(self):
        if self.wire not in WIRES:
            raise ValueError(f"no wire {self.wire!r}: there are {', '.join(WIRES)}")
        if self.fields is not None and self.wire == "text":
            raise ValueError("fields are for a JSON object, and the wire is plain text")

    def person(self, client: Client) -> Client:
        """With what this server wants of whoever comes. One that has a first frame of its own sends no hello."""
        if client.first is None and self.hello is not None:
            return replace(client, first=self.hello.replace("{name}", client.name))
        return client

    def wire_for(self, clients: Iterable[Client], tag: str) -> TextWire:
        """`tag`: the first part of each mark."""
        if self.wire == "text":
            return TextWire(clients, tag)
        if self.wire == "json":
            return JsonWire(clients, tag, **(self.fields or {}))
        return SocketIoWire(clients, tag, self.event, self.fields)


@dataclass(frozen=True, kw_only=True)
class Address(Speech):
    """Where a server is, and how people speak to it. In `query` and `headers`, too, `{name}` is who connects."""

    url: str  # ws://127.0.0.1:8081/chatroom
    query: str = ""  # user={name}
    headers: tuple[tuple[str, str], ...] = ()

    def __post_init__(self):
        super().__post_init__()
        parts = urlsplit(self.url)
        if parts.scheme not in PORTS or not parts.hostname:
            raise ValueError(f"{self.url!r} is not the address of a WebSocket server, such as ws://127.0.0.1:8081/chat")

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname

    @property
    def port(self) -> int:
        parts = urlsplit(self.url)
        return parts.port or PORTS[parts.scheme]

    def url_for(self, name: str) -> str:
        parts = urlsplit(self.url)
        path, own = parts.path, self.query.replace("{name}", quote(name))
        if self.wire == "socketio" and "EIO=" not in parts.query:
            own = "&".join(filter(None, ["EIO=4&transport=websocket", own]))
            path = path if path.strip("/") else "/socket.io/"
        return parts._replace(path=path or "/", query="&".join(filter(None, [parts.query, own]))).geturl()

    def person(self, client: Client) -> Client:
        """With what is in its handshake, besides."""
        headers = tuple((name, value.replace("{name}", client.name)) for name, value in self.headers)
        return replace(super().person(client), headers=headers)

    def new_wire(self, clients: Iterable[Client]) -> TextWire:
        """With marks that nobody else has: a server may still know what others have said."""
        return self.wire_for(clients, "k" + secrets.token_hex(3))

    def look_up(self) -> str:
        """The IP address of the host. Raises ValueError if it has none."""
        try:
            return socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0][4][0]
        except OSError as error:
            raise ValueError(f"there is no host {self.host!r}: {error.strerror or error}") from None


def is_private(address: str) -> bool:
    """Is it an IP address of this machine, or of a private network?"""
    return ip_address(address.partition("%")[0]).is_private
