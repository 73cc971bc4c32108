"""A real `websockets` server around a room, and the page to chat from.

server = await serve("v1")      # in a cell; it runs on the background thread
server.url, server.page         # for clients, and for your browser
await server.stop()
"""

import asyncio
import errno
import logging
import weakref
from functools import partial

import websockets
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import Close, CloseCode, Frame, Opcode

from chatroom_lib import rooms
from chatroom_lib.instrumentation.asyncio_internals import SteppedLoop
from chatroom_lib.instrumentation.connections import ObservedConnection
from chatroom_lib.instrumentation.histories import observe_history
from chatroom_lib.instrumentation.names import name_of_client
from chatroom_lib.instrumentation.pool import connections_listed
from chatroom_lib.instrumentation.primitives import observe_all
from chatroom_lib.instrumentation.tasks import Tasks, task_factory, visitor, watcher
from chatroom_lib.runtime.addresses import is_loopback
from chatroom_lib.runtime.background import submit
from chatroom_lib.runtime.connection import BoundedConnection
from chatroom_lib.runtime.console import describe, one_line
from chatroom_lib.runtime.descriptors import SayItOnce, allow_many_connections
from chatroom_lib.runtime.platform import require_sockets
from chatroom_lib.server.http import answer, complete
from chatroom_lib.server.options import options_for
from chatroom_lib.trace import Trace

# A room's errors are in `Server.errors`. Older versions of `websockets` also log a traceback for every handshake
# that breaks off, and asyncio a warning if several tasks send to a connection that was lost a moment ago.
LOGGER = logging.getLogger("chatroom_lib.server")


LOGGER.setLevel(logging.CRITICAL)
logging.getLogger("asyncio").addFilter(lambda record: record.msg != "socket.send() raised exception.")
logging.getLogger("asyncio").addFilter(SayItOnce())


ERRORS_KEPT = 100


class ServerError(RuntimeError):
    """The server cannot start. The text says why, and what to do."""


class Server:
    """One room behind one port.

    `errors` are the exceptions in the room that nobody handled: the first 100, while `error_count` counts on.
    `start` runs it on the event loop it is called from; `stop` may be called from any.

    On a loopback address it answers only those who call it localhost, a loopback address, or `host`. The pages of other
    sites may not join. `allow_null_origin`: pages opened as files may, and with them the sandboxed frames of any site.
    `others`: the addresses of other servers of the same history, where the page goes on if this one ends.
    `keepalive` and other `options`: as for `serve`.
    """

    def __init__(
        self,
        room,
        host="127.0.0.1",
        port=0,
        *,
        keepalive=None,
        allow_null_origin=False,
        others=(),
        connect=BoundedConnection,
        on_error=None,
        on_notice=None,
        **options,
    ):
        self.room = rooms.create(room)
        self.name = rooms.display_name(self.room)
        self.host, self.port = host, port
        self.connect = connect  # makes a connection object
        self.on_error = on_error  # called with each error
        self.on_notice = on_notice  # called with a line of text that whoever runs the server should read
        self.notices: set[str] = set()  # those given so far
        self.allow_null_origin = allow_null_origin
        self.others = list(others)
        self.on_loopback = True  # until it listens, and we know
        given = {"logger": LOGGER, "process_response": partial(complete, self), **options}
        self.options = options_for(self.room, keepalive, given)  # for websockets.serve
        self.errors: list[BaseException] = []
        self.error_count = 0
        self.tasks = Tasks(self.record_error)
        self.connections = weakref.WeakSet()  # those still in their handshake included
        self.attributes: set[str] = set()  # the names of a connection's own attributes
        self.running = False
        self.closing: asyncio.Task | None = None

    @property
    def url(self) -> str:
        return url_of(self.host, self.port, "/chatroom")

    @property
    def page(self) -> str:
        return url_of(self.host, self.port, "/", scheme="http")

    # ------------------------------------------------------------ start and stop

    async def start(self) -> "Server":
        """Start the room and listen. Raises ServerError if the room does not start or the port is unavailable."""
        self.loop = asyncio.get_running_loop()
        if not isinstance(self.loop, SteppedLoop):  # on which connections are in memory
            require_sockets("Server.start()")
            allow_many_connections()
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
        if addresses := [sock.getsockname() for sock in self.listener.sockets]:  # there are none in the simulation
            self.port = addresses[0][1]
        self.on_loopback = all(is_loopback(address[0]) for address in addresses)
        self.running = True

    async def start_room(self) -> None:
        try:
            await self.room.__aenter__()
        except BaseException as error:
            await cancel_after(list(self.tasks.visitors), 0)  # what it has started so far
            if isinstance(error, (Exception, SystemExit)):
                raise ServerError(f"the room does not start: {describe(error)}") from error
            raise
        self.hub_tasks = weakref.WeakSet(self.tasks.visitors)

    async def listen(self) -> None:
        if not self.host:  # asyncio would take that for every address
            raise ServerError("no host to listen on: use 127.0.0.1, or 0.0.0.0 for every address of this machine")
        try:
            self.listener = await websockets.serve(
                self.visit,
                self.host,
                self.port,
                process_request=partial(answer, self),
                create_connection=self.make_connection,
                **self.options,
            )
        except (OSError, OverflowError, UnicodeError) as error:  # the latter two: no such port, no such host name
            reason = (getattr(error, "strerror", None) or str(error)).rpartition(": ")[2]
            if getattr(error, "errno", None) in (errno.EADDRINUSE, errno.EACCES):
                reason += "; use another port, or 0 for any free one"
            raise ServerError(f"cannot listen on {self.host} port {self.port}: {reason}") from None

    async def stop(self) -> None:
        """Disconnect everybody. Ends within 2 s, whatever the clients and the room do."""
        if self.running:
            await submit(self.close(), self.loop)

    async def close(self) -> None:
        if not self.closing:
            self.closing = asyncio.create_task(self.shut_down())
        await asyncio.shield(self.closing)  # interrupting the cell that waits for it leaves nothing half stopped

    async def shut_down(self) -> None:
        await self.disconnect()
        await self.stop_room()
        self.running = False

    async def disconnect(self) -> None:
        """End all connections, and what the room does for them."""
        self.listener.close(True, *self.farewell())  # politely; but a client that does not read never answers,
        await with_grace(self.listener.wait_closed(), 0.5)
        for connection in list(self.connections):  # and only this frees the tasks that wait to send to it
            if hasattr(connection, "transport"):
                connection.transport.abort()
        await cancel_after([task for task in self.tasks.visitors if task not in self.hub_tasks], 0.3)

    def farewell(self) -> tuple[int, str]:
        """The code and the reason with which we close the connections."""
        try:
            code, reason = self.room.farewell() if hasattr(self.room, "farewell") else (CloseCode.GOING_AWAY, "")
            Frame(Opcode.CLOSE, Close(code, reason).serialize()).check()
            return code, reason
        except Exception as error:
            self.record_error(error)
            return CloseCode.GOING_AWAY, ""

    async def stop_room(self) -> None:
        await with_grace(self.room.__aexit__(None, None, None), 0.3, self.record_error)
        await cancel_after(list(self.tasks.visitors), 0.1)

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

    def notice(self, text: str) -> None:
        """Tell `text` to whoever runs this server, once."""
        if self.on_notice and text not in self.notices:
            self.on_notice(text)
        self.notices.add(text)

    def pool_state(self) -> str:
        """ "3 in the pool", or what is wrong with the room's `members()`."""
        try:
            return f"{len(connections_listed(self.room))} in the pool"
        except (RuntimeError, TypeError) as error:
            return one_line(str(error))

    def __repr__(self):
        if not self.running:
            state = "stopped"
        else:
            state = f"at {self.url}, {self.pool_state()}"
        lines = [f"<Server {self.name} {state}, {self.error_count or 'no'} error{'s' * (self.error_count != 1)}>"]
        lines += [f"  {describe(error)}" for error in self.errors[:5]]
        return "\n".join(lines)


def url_of(host: str, port: int, path: str, scheme: str = "ws") -> str:
    """The address of a path at a server; an IPv6 address goes into brackets."""
    return f"{scheme}://[{host}]:{port}{path}" if ":" in host else f"{scheme}://{host}:{port}{path}"


def observed_server(room, trace: Trace, number: int = 0, connection_class=ObservedConnection, **options) -> Server:
    """A server whose connections, of the class `connection_class`, and whose room and errors are noted in `trace`, as
    those of the server of that number."""
    server = Server(
        room,
        connect=partial(connection_class, trace=trace),
        on_error=lambda error: trace.record("error", trace.server_name(number), type(error).__name__),
        **options,
    )
    server.tasks.reported = []
    observe_all(server.room, trace, trace.which(number))  # before it starts: what it takes then, it may hold later
    observe_history(server.room, trace)
    return server


async def with_grace(coroutine, seconds: float, on_error=lambda error: None) -> None:
    """Let `coroutine` run for `seconds`, then cancel it. Its exception goes to `on_error`."""
    task = asyncio.create_task(coroutine)
    await cancel_after([task], seconds)
    if task.done() and not task.cancelled() and task.exception():
        on_error(task.exception())


async def cancel_after(tasks: list[asyncio.Task], seconds: float) -> None:
    """Give `tasks` that time to end, then cancel them and give it again."""
    for cancel in (False, True):
        tasks = [task for task in tasks if not task.done()]
        for task in tasks:
            if cancel:
                task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
