"""The servers that the benchmark measures, and how each is started."""

import json
from dataclasses import dataclass
from pathlib import Path

from chatroom_lib.bench.packages import version_for_go, version_for_node, version_for_python

SERVERS = Path(__file__).parent / "servers"
BASELINE = "broadcast()"  # all results are relative to it


@dataclass(frozen=True)
class Target:
    """A server to be measured."""

    name: str
    command: tuple[str, ...]  # for server_process.py
    room: str = ""  # the version that it serves; "": a server of another project
    package: str = "websockets"  # what it is built on
    protocol: str = "plain"  # that its clients speak: see load_generator.py
    path: str = ""  # to append to the URL that the server prints

    library: str = ""  # of the system, that the package needs besides

    @property
    def version(self) -> str:
        """Of its package, as "websockets 17.4". Raises LookupError, which says what to do, if it is not installed."""
        if self.command[0].endswith(".js"):
            found = version_for_node(self.package)
        elif self.command[0].endswith(".go"):
            found = version_for_go()
        else:
            found = version_for_python(self.package, self.library)
        return f"{self.package} {found}"


def room(spec: str, name: str | None = None, **options) -> Target:
    """A version, or a room of your own: "path/to/file.py:NAME". `options` go to its class."""
    return Target(name or spec, ("room", spec, json.dumps(options)), spec)


def server(name: str, file: str, package: str = "websockets", **options) -> Target:
    return Target(name, (str(SERVERS / file),), package=package, **options)


TARGETS = {
    target.name: target
    for target in (
        server(BASELINE, "websockets_broadcast.py"),
        server("send loop", "send_loop.py"),
        room("v1"),
        room("v2", "v2, no delay", delay=0),
        room("v3.1"),
        room("v4"),
        server("FastAPI", "fastapi_manager.py", "fastapi"),
        server("aiohttp", "aiohttp_loop.py", "aiohttp"),
        server("Tornado", "tornado_loop.py", "tornado"),
        server("Socket.IO", "socketio_emit.py", "python-socketio", protocol="socketio",
               path="socket.io/?EIO=4&transport=websocket"),
        server("picows", "picows_loop.py", "picows"),
        server("ws (Node)", "ws_loop.js", "ws"),
        server("gorilla (Go)", "gorilla_hub.go", "gorilla/websocket"),
        server("uWebSockets", "uwebsockets_publish.py", "socketify", library="libuv"),
    )
}  # fmt: skip


def find(name: str) -> Target:
    """The target called `name`, or else the room of that name. Raises RoomError if there is neither."""
    if name in TARGETS:
        return TARGETS[name]
    from chatroom_lib.rooms import resolve  # not above: looking a colour up loads no room

    resolve(name)
    return room(name)
