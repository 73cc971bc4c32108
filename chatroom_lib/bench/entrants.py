"""Who takes part in the benchmark, and how each is started."""

import functools
import os
import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from chatroom_lib import rooms

SERVERS = Path(__file__).parent / "servers"
YARDSTICK = "broadcast()"  # all others are told as multiples of it


@dataclass(frozen=True)
class Entrant:
    name: str
    command: tuple[str, ...]  # for host.py
    package: str = "websockets"  # what it stands on
    dialect: str = "plain"
    path: str = ""  # of the URL, if it is not the one that the server prints

    @property
    def version(self) -> str:
        """Of its package, as "websockets 17.4". Raises LookupError, with what to do, if it is not there."""
        try:
            found = version_for_node(self.package) if self.command[0].endswith(".js") else version(self.package)
        except PackageNotFoundError:
            raise LookupError(f"{self.package} is not installed: pip install 'chatroom-lib[bench]'") from None
        return f"{self.package} {found}"


def room(name: str) -> Entrant:
    """A version, or a room of one's own: path/to/file.py:Class."""
    rooms.get(name)  # raises RoomError
    return Entrant(name, ("serve", name, "--unlimited", "--port", "0"))


def server(name: str, file: str, *more, **options) -> Entrant:
    return Entrant(name, (str(SERVERS / file),), *more, **options)


ENTRANTS = {
    entrant.name: entrant
    for entrant in (
        server(YARDSTICK, "library_broadcast.py"),
        server("send loop", "send_loop.py"),
        room("v1"),
        Entrant("v2, no delay", room(f"{SERVERS}/v2_without_delay.py:Room").command),
        room("v3.1"),
        room("v4"),
        server("FastAPI", "fastapi_manager.py", "fastapi"),
        server("aiohttp", "aiohttp_loop.py", "aiohttp"),
        server("Tornado", "tornado_loop.py", "tornado"),
        server("Socket.IO", "socketio_emit.py", "python-socketio", "socketio", "socket.io/?EIO=4&transport=websocket"),
        server("ws (Node)", "ws_loop.js", "ws"),
    )
}


def find(name: str) -> Entrant:
    """The entrant called `name`, or else the room of that name. Raises RoomError if there is neither."""
    return ENTRANTS[name] if name in ENTRANTS else room(name)


def node_environment() -> dict[str, str]:
    """Node looks for packages beside a script, and here also where one starts from."""
    places = [str(Path.cwd() / "node_modules"), os.environ.get("NODE_PATH", "")]
    return {**os.environ, "NODE_PATH": os.pathsep.join(filter(None, places))}


@functools.cache
def version_for_node(package: str) -> str:
    if not shutil.which("node"):
        raise LookupError("node is not installed")
    ask = ["node", "-p", f"require({package + '/package.json'!r}).version"]
    answer = subprocess.run(ask, capture_output=True, text=True, env=node_environment(), timeout=30)
    if answer.returncode:
        raise LookupError(f"node finds no package {package}: npm install {package}")
    return answer.stdout.strip()
