"""The room around an ASGI application: it calls the application as uvicorn does, once for its lifespan, and once for
each client. What they say to each other is in visit.py; application.py makes such rooms."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from urllib.parse import quote, unquote

from websockets.asyncio.server import ServerConnection
from websockets.frames import CloseCode
from websockets.http11 import Request, Response

from chatroom_lib.rooms.asgi.visit import ClientDisconnected, Visit

App = Callable[[dict, Callable, Callable], Awaitable[None]]
VERSIONS = {"version": "3.0", "spec_version": "2.4"}  # of ASGI, and of its part about websockets
AS_UVICORN = {  # what it does unless it is told otherwise; it compresses, too, and that is not done here
    "ping_interval": 20,  # seconds
    "ping_timeout": 20,
    "max_size": 16 * 1024 * 1024,  # bytes
    "write_limit": 64 * 1024,  # bytes
    "max_queue": 0,  # it reads nothing more while the application has not received a message, not even a pong
}
AFTER_THE_END = (  # what Starlette says, in a RuntimeError, once it knows of the end
    *('Cannot call "send" once a close message', 'Cannot call "receive" once a disconnect message'),
    "WebSocket is not connected",
)


class AsgiRoom:
    """Its members are the connections that the application has accepted, until it has ended them or is told of their
    end.

    `path`: what the application sees in place of /chatroom, with a query perhaps, to which that of the client is added.
    """

    server_options = AS_UVICORN

    def __init__(self, app: App, path: str, name: str, speech: dict):
        self.app, self.path, self.name, self.speech = app, path, name, speech
        self.lifespan = Lifespan(app)
        self.visits: dict[ServerConnection, Visit] = {}  # in the order of their coming
        self.at_the_door: dict[ServerConnection, Visit] = {}
        self.tasks: set[asyncio.Task] = set()  # nobody else refers to them
        self.numbers = itertools.count(1)

    async def __aenter__(self):
        await self.lifespan.start()
        return self

    async def __aexit__(self, *exc):
        await self.lifespan.stop()

    def members(self) -> list[ServerConnection]:
        return [connection for connection, visit in self.visits.items() if not visit.is_over]

    def farewell(self) -> tuple[int, str]:
        return CloseCode.SERVICE_RESTART, ""

    # ------------------------------------------------------------ one client

    async def knock(self, connection: ServerConnection, request: Request, name: str | None) -> Response | None:
        """Call the application, and wait until it accepts (None) or refuses. `name`: of the client, if it says it."""
        visit = Visit(connection, self.scope(connection, request, name))
        self.at_the_door[connection] = visit
        connection.connection_lost_waiter.add_done_callback(lambda _: self.at_the_door.pop(connection, None))
        visit.task = asyncio.create_task(self.run(visit))
        self.tasks.add(visit.task)
        visit.task.add_done_callback(self.tasks.discard)
        return await asyncio.shield(visit.answer)

    async def run(self, visit: Visit) -> None:
        try:
            await self.app(visit.scope, visit.receive, visit.send)
            if not visit.answer.done():
                raise RuntimeError("ASGI callable returned without completing handshake.")
        except Exception as error:
            if not means_gone(error) or (isinstance(error, RuntimeError) and not visit.accepted):
                raise
        finally:
            visit.let_in_or_not(visit.connection.respond(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal Server Error"))

    def complete_handshake(self, connection: ServerConnection, response: Response) -> None:
        if visit := self.at_the_door.get(connection):
            visit.complete_handshake(response)

    async def handle(self, connection: ServerConnection) -> None:
        """Ends when the application has returned and the connection is closed. An error of the application's is noted
        as that of a task which nobody awaits."""
        visit = self.at_the_door.pop(connection)
        self.visits[connection] = visit
        visit.begin()
        await asyncio.wait([visit.task])
        self.visits.pop(connection, None)
        if not visit.close_sent:  # uvicorn then closes without a word: the client sees 1006
            connection.transport.close()
        await connection.wait_closed()

    def scope(self, connection: ServerConnection, request: Request, name: str | None) -> dict:
        path, query = self.where(request.path.partition("?")[2], name)
        headers = [
            (key.lower().encode("latin-1"), value.encode("latin-1")) for key, value in request.headers.raw_items()
        ]
        offered = ",".join(request.headers.get_all("Sec-WebSocket-Protocol"))
        return {
            "type": "websocket",
            "asgi": dict(VERSIONS),
            "http_version": "1.1",
            "scheme": "ws",
            "path": unquote(path),
            "raw_path": path.encode("ascii"),
            "query_string": query.encode("ascii"),
            "root_path": "",
            "headers": headers,
            "client": address(connection.remote_address),
            "server": address(connection.local_address),
            "subprotocols": [each.strip() for each in offered.split(",") if each.strip()],
            "state": self.lifespan.state.copy(),
            "extensions": {"websocket.http.response": {}},
        }

    def where(self, asked: str, name: str | None) -> tuple[str, str]:
        """The path and the query that the application sees. `asked`: the client's query."""
        number = str(next(self.numbers))
        path = self.path.replace("{n}", number).replace("{name}", quote(name or number, safe=""))
        path, _, own = path.partition("?")
        return quote(path, safe="/%:@!$&'()*+,;=~"), "&".join(filter(None, [own, asked]))


def address(pair) -> tuple[str, int] | None:
    return tuple(pair[:2]) if pair else None


def means_gone(error: BaseException) -> bool:
    """Is it what an application raises that has met a connection which is no more, its own or another one? Here that
    ends the visit, as ConnectionClosed does for any room; uvicorn logs it, and ends the visit, too."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(means_gone, error.exceptions))
    if isinstance(error, RuntimeError):
        return str(error).startswith(AFTER_THE_END)
    return isinstance(error, ClientDisconnected) or type(error).__name__ == "WebSocketDisconnect"


class Lifespan:
    """What an application does before its first client and after its last one."""

    def __init__(self, app: App):
        self.app = app
        self.state: dict = {}  # of which each client's scope has a copy
        self.failure: str | None = None
        self.task: asyncio.Task | None = None

    async def start(self) -> None:
        """Raises RuntimeError, with the application's message, if it says that it cannot start."""
        self.ahead = [{"type": "lifespan.startup"}]
        self.started, self.stopping, self.stopped = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(self.run())
        await self.started.wait()
        if self.failure is not None:
            raise RuntimeError(f"its lifespan.startup has failed: {self.failure}")

    async def stop(self) -> None:
        """Raises RuntimeError if it says that it has failed to stop."""
        if not self.task or self.task.done():  # it knows nothing of a lifespan, which is allowed
            return
        self.stopping.set()
        await self.stopped.wait()
        if self.failure is not None:
            raise RuntimeError(f"its lifespan.shutdown has failed: {self.failure}")

    async def run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self.app(scope, self.receive, self.send)
        except Exception:
            if self.started.is_set() and self.failure is None:
                raise
        finally:
            self.started.set()
            self.stopped.set()

    async def receive(self) -> dict:
        if self.ahead:
            return self.ahead.pop()
        await self.stopping.wait()
        return {"type": "lifespan.shutdown"}

    async def send(self, message: dict) -> None:
        _, phase, result = message["type"].split(".")
        if result == "failed":
            self.failure = last_line(message.get("message")) or "it does not say why"
        (self.started if phase == "startup" else self.stopped).set()


def last_line(text: str | None) -> str:
    """Of a message that may be a whole traceback."""
    return (text or "").strip().rpartition("\n")[2].strip()
