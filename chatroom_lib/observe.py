"""Watching a room from outside, without a line of measuring code inside it.

- Every task that a server's room starts is known, with the visitor on whose behalf it runs, so that an error
  nobody awaits is not lost (asyncio itself only mentions it, when the task is thrown away).
- `ObservedConnection` notes what the room reads from and sends to each client.
- `waits` reads from a suspended task where it stands and what it waits for.
"""

import asyncio
import contextlib
import linecache
from contextlib import _AsyncGeneratorContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from types import FrameType
from urllib.parse import quote, unquote

import websockets
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from chatroom_lib import channels
from chatroom_lib.message import MessageError, decode
from chatroom_lib.trace import Trace, label

# ---------------------------------------------------------------- tasks and their errors

watcher: ContextVar["Tasks | None"] = ContextVar("watcher", default=None)
visitor: ContextVar[str | None] = ContextVar("visitor", default=None)


class Tasks:
    """The live tasks of one server, in the order they were made, and the errors that nobody awaited."""

    def __init__(self, report):
        self.report = report  # called with each such exception
        self.visitors = {}  # task -> the name of the visitor it runs for, or None

    def add(self, task: asyncio.Task) -> None:
        self.visitors[task] = visitor.get()
        task.add_done_callback(self.finished)

    def finished(self, task: asyncio.Task) -> None:
        del self.visitors[task]
        if not task.cancelled() and task._log_traceback:  # asyncio's own note that it failed, unseen so far
            # Whoever awaits this task is about to see the error. If nobody has done so a moment later, report it.
            task.get_loop().call_later(0.05, self.check, task)

    def check(self, task: asyncio.Task) -> None:
        if task._log_traceback:
            self.report(task.exception())


def task_factory(loop, coroutine, *, task_class=asyncio.Task, **options) -> asyncio.Task:
    """For `loop.set_task_factory`: tasks made on behalf of a server are added to its `Tasks`."""
    task = task_class(coroutine, loop=loop, **options)
    if tasks := watcher.get():
        tasks.add(task)
    return task


# ---------------------------------------------------------------- connections


AGENT = "chatroom-client "


def user_agent(name: str) -> str:
    """The User-Agent header in which a client tells `name_of_client` its name."""
    return AGENT + quote(name)


def name_of_client(connection) -> str:
    """What a client calls itself, in the User-Agent header of its handshake; or its address."""
    agent = connection.request.headers.get("User-Agent", "") if connection.request else ""
    if agent.startswith(AGENT):
        return unquote(agent.removeprefix(AGENT))
    return "{}:{}".format(*(connection.remote_address or ("?", "?"))[:2])


class ObservedConnection(ServerConnection):
    """A server's connection that notes in a Trace what the room reads and sends.

    Two sends at once are noted as `overlap`: the check that makes gorilla's Go library panic with "concurrent
    write to websocket connection". (`websockets` writes each frame whole and then waits, so nothing breaks here.)
    """

    def __init__(self, *args, trace: Trace, **options):
        super().__init__(*args, **options)
        self.trace = trace
        self.sending = 0  # tasks inside send()

    @cached_property
    def name(self) -> str:
        return name_of_client(self)

    async def recv(self, decode=None):
        frame = await super().recv(decode)
        self.trace.record("accepted", self.name, label_of(frame))
        return frame

    async def send(self, message, *, text=None):
        said = label_of(message)
        self.trace.record("overlap" if self.sending else "sending", self.name, said)
        self.sending += 1
        try:
            await super().send(message, text=text)
        except ConnectionClosed:
            self.trace.record("failed", self.name, said)
            raise
        except asyncio.CancelledError:
            self.trace.record("given up", self.name, said)
            raise
        finally:
            self.sending -= 1
        self.trace.record("sent", self.name, said)


@lru_cache(maxsize=256)
def label_of(frame) -> str:
    try:
        return label(decode(frame))
    except MessageError:
        return "?"


class Pool:
    """Notes in a Trace who enters a room's pool and who is removed from it, by looking at `members()`."""

    def __init__(self, room, trace: Trace):
        self.room, self.trace = room, trace
        self.seen = []

    def look(self) -> None:
        members = self.room.members()
        if members == self.seen:
            return
        for connection in self.seen:
            if connection not in members:
                self.trace.record("removed", connection.name)
        for connection in members:
            if connection not in self.seen:
                self.trace.record("entered", connection.name)
        self.seen = members


# ---------------------------------------------------------------- what a task waits for


@dataclass(frozen=True)
class Wait:
    """Where one task of a room stands."""

    doing: str  # the room's function that stands still: "Room.write"
    visitor: str | None  # on whose behalf: "Bob"; None for a task that the room runs for itself
    waits: str  # what for: "to send to"
    on: str | None  # whose connection that is: "Bob"; None if it is not a connection
    line: str  # the room's own line: "v3.py:75: await client.connection.send(encode(message))"

    @property
    def blocked(self) -> bool:
        """Does it wait for somebody to make room, and not just for something to happen?"""
        return self.waits in BLOCKING.values()

    def __str__(self):
        visitor = f" (for {self.visitor})" if self.visitor else ""
        return f"{self.doing}{visitor} waits {self.waits}{' ' + self.on if self.on else ''}\n    {self.line}"


BLOCKING = {
    Connection.send.__code__: "to send to",
    Connection.close.__code__: "to close",
    asyncio.Queue.put.__code__: "for room in a queue",
    asyncio.Lock.acquire.__code__: "for a lock",
    asyncio.Semaphore.acquire.__code__: "for a semaphore",
    channels.Channel.put.__code__: "for a channel to be taken from",
    channels.RWLock.acquire_read.__code__: "for a lock, to read",
    channels.RWLock.acquire_write.__code__: "for a lock, to write",
}
IDLE = {
    asyncio.Queue.get.__code__: "for something in a queue",
    channels.select.__code__: "for something in a channel",
    Connection.recv.__code__: "for a message",
    asyncio.sleep.__code__: "for time to pass",
}


def waits(tasks: dict[asyncio.Task, str | None]) -> list[Wait]:
    """Where each suspended task stands; `tasks` maps it to its visitor, as `Tasks.visitors` does."""
    return [wait for task, name in tasks.items() if not task.done() and (wait := where(task, name))]


def where(task: asyncio.Task, name: str | None) -> Wait | None:
    """None for a task of the server's or of `websockets`' own."""
    frames, end = suspended(task)
    known = next((frame for frame in frames if frame.f_code in OPERATIONS), None)
    if known:
        operation = OPERATIONS[known.f_code]
    else:  # `async for` over a connection ends in this
        operation = "for a message" if type(end).__name__ == "async_generator_asend" else "for other tasks"
    connection = known.f_locals.get("self") if known else None
    on = name_of_client(connection) if isinstance(connection, ServerConnection) else None
    rooms_own = [frame for frame in frames if not frame.f_code.co_filename.startswith(NOT_ROOMS)]
    if rooms_own:
        path, number = rooms_own[-1].f_code.co_filename, rooms_own[-1].f_lineno
        line = f"{Path(path).name}:{number}: {linecache.getline(path, number).strip()}"
        return Wait(rooms_own[-1].f_code.co_qualname, name, operation, on, line)
    if frames and frames[0].f_code in SENDS:  # asyncio.gather(connection.send(frame), ...), for example
        return Wait("a task", name, operation, on, "connection.send(...)")
    return None


def suspended(task: asyncio.Task) -> tuple[list[FrameType], object]:
    """The frames of what `task` awaits, outermost first, as far as they can be seen, and what is awaited last."""
    frames, awaitable = [], task.get_coro()
    while kind := next((kind for kind in ("cr", "gi", "ag") if getattr(awaitable, f"{kind}_frame", None)), None):
        frame = getattr(awaitable, f"{kind}_frame")
        frames.append(frame)
        if frame.f_code in MANAGED:  # `async with` a generator: what that awaits is hidden one level down
            awaitable = frame.f_locals["self"].gen
        else:
            awaitable = getattr(awaitable, "gi_yieldfrom" if kind == "gi" else f"{kind}_await")
    return frames, awaitable


OPERATIONS = {**BLOCKING, **IDLE}
SENDS = (ObservedConnection.send.__code__, Connection.send.__code__)
MANAGED = (_AsyncGeneratorContextManager.__aenter__.__code__, _AsyncGeneratorContextManager.__aexit__.__code__)
NOT_ROOMS = (
    *(str(Path(module.__file__).parent) for module in (asyncio, websockets)),
    *(module.__file__ for module in (contextlib, channels)),
    *(str(Path(__file__).with_name(name)) for name in ("server.py", "observe.py")),
)
