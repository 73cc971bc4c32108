"""A real `websockets` server around a room, and the page to chat from.

    server = await serve("v1")      # in a cell; it runs on the background thread
    server.url, server.page         # for clients, and for your browser
    await server.stop()
"""

import asyncio
import errno
import logging
import socket
import weakref
from functools import partial
from http import HTTPStatus
from importlib.resources import files
from urllib.parse import urlsplit

import websockets
from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from chatroom_lib import rooms
from chatroom_lib.background import hand_over
from chatroom_lib.message import WIRE
from chatroom_lib.observe import ObservedConnection, name_of_client
from chatroom_lib.primitives import observe_all
from chatroom_lib.tasks import Tasks, task_factory, visitor, watcher
from chatroom_lib.trace import Trace

# What goes wrong in a room is in `errors`. Older versions of `websockets` also log a traceback for every handshake
# that breaks off, and asyncio a warning if several tasks send to a connection that was lost a moment ago.
QUIET = logging.getLogger("chatroom_lib.server")
QUIET.setLevel(logging.CRITICAL)
logging.getLogger("asyncio").addFilter(lambda record: record.msg != "socket.send() raised exception.")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
ERRORS_KEPT = 100
PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self' ws: wss:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class ServerError(RuntimeError):
    """The server cannot start. The text says why, and what to do."""


class Server:
    """One room behind one port.

    `errors` are the exceptions in the room that nobody handled: the first 100, while `error_count` counts on.
    `start` runs it on the event loop it is called from; `stop` may be called from any.
    """

    def __init__(self, room, host="127.0.0.1", port=0, *, connect=ServerConnection, on_error=None, **options):
        self.room = rooms.new(room)
        self.name = rooms.name_of(self.room)
        self.host, self.port = host, port
        self.connect = connect  # makes a connection object
        self.on_error = on_error  # called with each error
        self.options = {**WIRE, "logger": QUIET, **options}  # for websockets.serve
        self.errors: list[BaseException] = []
        self.error_count = 0
        self.tasks = Tasks(self.record_error)
        self.connections = weakref.WeakSet()  # those still in their handshake included
        self.attributes: set[str] = set()  # what a connection has of its own
        self.running = False
        self.closing: asyncio.Task | None = None

    @property
    def url(self) -> str:
        return f"ws://{self.authority}/chatroom"

    @property
    def page(self) -> str:
        return f"http://{self.authority}/"

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    # ------------------------------------------------------------ start and stop

    async def start(self) -> "Server":
        """Start the room and listen. Raises ServerError if the room does not start or the port cannot be had."""
        self.loop = asyncio.get_running_loop()
        if self.loop.get_task_factory() is None:
            self.loop.set_task_factory(task_factory)
        await asyncio.create_task(self.open())  # in a task, so that `watcher` is set for what it starts, only
        return self

    async def open(self) -> None:
        watcher.set(self.tasks)
        await self.start_room()
        try:
            await self.listen()
        except BaseException:
            await self.stop_room()
            raise
        if self.listener.sockets:
            self.port = self.listener.sockets[0].getsockname()[1]
        self.running = True

    async def start_room(self) -> None:
        try:
            await self.room.__aenter__()
        except Exception as error:
            raise ServerError(f"the room does not start: {type(error).__name__}: {error}") from error
        self.hub_tasks = list(self.tasks.visitors)

    async def listen(self) -> None:
        try:
            self.listener = await websockets.serve(
                self.visit,
                self.host,
                self.port,
                process_request=self.answer,
                create_connection=self.make_connection,
                **self.options,
            )
        except (OSError, OverflowError, UnicodeError) as error:  # the latter two: no such port, no such host name
            reason = (getattr(error, "strerror", None) or str(error)).rpartition(": ")[2]
            if getattr(error, "errno", None) in (errno.EADDRINUSE, errno.EACCES):
                reason += "; take another port, or 0 for any free one"
            raise ServerError(f"cannot listen on {self.host} port {self.port}: {reason}") from None

    async def stop(self) -> None:
        """Say goodbye to everybody. Ends within 2 s, whatever the clients and the room do."""
        if self.running:
            await hand_over(self.close(), self.loop)

    async def close(self) -> None:
        if not self.closing:
            self.closing = asyncio.create_task(self.say_goodbye())
        await asyncio.shield(self.closing)  # interrupting the cell that waits for it leaves nothing half stopped

    async def say_goodbye(self) -> None:
        self.listener.close()  # politely; but a client that does not read never answers,
        await patiently(self.listener.wait_closed(), 0.5)
        for connection in list(self.connections):  # and only this frees whoever waits to send to it
            if hasattr(connection, "transport"):
                connection.transport.abort()
        await end([task for task in self.tasks.visitors if task not in self.hub_tasks], 0.3)
        await self.stop_room()
        self.running = False

    async def stop_room(self) -> None:
        await patiently(self.room.__aexit__(None, None, None), 0.3, self.record_error)
        await end(list(self.tasks.visitors), 0.1)

    # ------------------------------------------------------------ visits

    def make_connection(self, *args, **options) -> ServerConnection:
        connection = self.connect(*args, **options)
        self.connections.add(connection)
        return connection

    async def visit(self, connection: ServerConnection) -> None:
        name = name_of_client(connection)
        self.attributes.update(vars(connection))
        visitor.set(name)
        self.tasks.visitors[asyncio.current_task()] = name
        try:
            try:
                await self.room.handle(connection)
            except* ConnectionClosed:  # alone or, out of a TaskGroup, in a group
                pass  # the visit is over
        except Exception as error:
            self.record_error(error)

    def record_error(self, error: BaseException) -> None:
        self.error_count += 1
        if len(self.errors) < ERRORS_KEPT:
            self.errors.append(error)
        if self.on_error:
            self.on_error(error)

    # ------------------------------------------------------------ HTTP

    def answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """None lets the WebSocket handshake go on."""
        path = request.path.partition("?")[0]
        if any(len(request.headers.get_all(name)) > 1 for name in ("Host", "Origin", "User-Agent")):
            return connection.respond(HTTPStatus.BAD_REQUEST, "Host, Origin and User-Agent may come once each.\n")
        if path == "/chatroom":
            if friendly(request.headers):
                return None
            return connection.respond(HTTPStatus.FORBIDDEN, "Pages of other sites may not join this room.\n")
        if path != "/":
            return connection.respond(HTTPStatus.NOT_FOUND, "The chat page is at /, the room at /chatroom.\n")
        body = files("chatroom_lib").joinpath("web/chat.html").read_bytes()
        headers = {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Length": str(len(body)),
            "Content-Security-Policy": PAGE_POLICY,
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
            "Connection": "close",
        }
        return Response(HTTPStatus.OK, "OK", Headers(headers), body)

    def __repr__(self):
        if not self.running:
            state = "stopped"
        else:
            state = f"at {self.url}, {len(self.room.members())} in the pool"
        lines = [f"<Server {self.name} {state}, {self.error_count or 'no'} error{'s' * (self.error_count != 1)}>"]
        lines += [f"  {type(error).__name__}: {error}" for error in self.errors[:5]]
        return "\n".join(lines)


def observed(room, trace: Trace, connect=ObservedConnection, **options) -> Server:
    """A server whose connections, of the class `connect`, and whose room and errors are noted in `trace`."""
    server = Server(
        room,
        connect=partial(connect, trace=trace),
        on_error=lambda error: trace.record("error", "room", type(error).__name__),
        **options,
    )
    server.tasks.reported = []
    observe_all(server.room, trace)  # before it starts: what it takes then, it may hold later
    return server


def friendly(headers: Headers) -> bool:
    """May the page that this handshake comes from join? Browsers let any site's page call 127.0.0.1.

    Yes, if the page is ours, or from this machine, or a file (the article's client is one), or if it is no page.
    """
    origin = headers.get("Origin")
    if origin in (None, "null", "file://"):
        return True
    try:
        parts = urlsplit(origin)
    except ValueError:  # no browser sends such a thing
        return False
    return parts.netloc == headers.get("Host") or parts.hostname in LOOPBACK


async def patiently(coroutine, seconds: float, on_error=lambda error: None) -> None:
    """Let `coroutine` run for `seconds`, then cancel it. Its exception goes to `on_error`."""
    task = asyncio.create_task(coroutine)
    await end([task], seconds)
    if task.done() and not task.cancelled() and task.exception():
        on_error(task.exception())


async def end(tasks: list[asyncio.Task], seconds: float) -> None:
    """Give `tasks` that time to end, then cancel them and give it again."""
    for cancel in (False, True):
        tasks = [task for task in tasks if not task.done()]
        for task in tasks:
            if cancel:
                task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)


# ---------------------------------------------------------------- serving from a cell

serving: list[Server] = []  # those that serve() started
last_ports: dict[tuple[str, str], int] = {}  # (name, host) -> the port that it had last


async def serve(room, host="127.0.0.1", port=0, *, name: str | None = None, **options) -> Server:
    """Start a server for `room` on the background thread: a version ("v1"), a room class, or a room.

    A server that an earlier call started under the same name (the room's, unless given), or on the same port,
    is stopped first; so a cell that serves can be run again. `port` 0 is any free one, or the one that a server of
    this name had before, if it is free: so pages and panels find the new server. `options` go to `websockets.serve`.
    """
    server = Server(room, host, port, **options)
    server.name = name or server.name
    for earlier in list(serving):
        if earlier.name == server.name or earlier.port == port:
            serving.remove(earlier)
            await earlier.stop()
    last_port = last_ports.get((server.name, host), 0)
    if not port and is_free(host, last_port):
        server.port = last_port
    serving.append(server)
    await hand_over(server.start())
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
    while serving:
        await serving.pop().stop()
