"""Watching a room from outside, without a line of measuring code inside it.

- Every task that a server's room starts is known, with the visitor on whose behalf it runs, so that an error
  nobody awaits is not lost (asyncio itself only mentions it, when the task is thrown away).
- `ObservedConnection` notes what the room reads from and sends to each client.
- `observe` makes a lock, a queue or a channel note who asked for it, who had it, and how long the line was.
- `Pool` looks at a room from time to time: who is in its pool, and is there a new queue to observe?
"""

import asyncio
import contextlib
import os
import sys
from collections import deque
from collections.abc import Iterator
from contextvars import ContextVar
from functools import cache, cached_property, lru_cache
from pathlib import Path
from urllib.parse import quote, unquote

import websockets
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from chatroom_lib import channels
from chatroom_lib.channels import Channel, RWLock
from chatroom_lib.message import MessageError, decode
from chatroom_lib.trace import Trace, Use, label

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


# ---------------------------------------------------------------- locks, queues and channels


def observe(primitive, name: str, trace: Trace) -> None:
    """Note in `trace` from now on what the room's tasks do with this lock, queue or channel.

    It stays the same object, so whoever holds it holds the observed one; only its class changes. One whose class
    allows no such change is left alone.
    """
    with contextlib.suppress(TypeError):
        if not isinstance(primitive, tuple(OBSERVED.values())):
            primitive.__class__ = observed_class(type(primitive))
        primitive.usage = Usage(name, trace)
        if isinstance(primitive, asyncio.Queue):
            trace.note_depth(name, primitive.qsize())


@cache
def observed_class(kind: type) -> type:
    mixin = next(mixin for base, mixin in OBSERVED.items() if issubclass(kind, base))
    return type(kind.__name__, (mixin, kind), {})


class Usage:
    """Who waits for one lock, queue or channel, and who has it."""

    def __init__(self, what: str, trace: Trace):
        self.what, self.trace = what, trace
        self.line: list[tuple[asyncio.Task, Use]] = []  # who waits, in the order of asking
        self.holders: list[tuple[asyncio.Task, Use]] = []  # of a lock
        self.takers: list[asyncio.Task] = []  # who takes things out of a queue or a channel

    def asking(self, how: str, free: bool) -> "Asking":
        """`with` this around the operation. `free`: it can be done at once, without standing in line."""
        return Asking(self, self.trace.ask(self.what, how, visitor.get(), rooms_function()), free)

    def hold(self, use: Use) -> None:
        self.holders.append((current_task(), use))

    def release(self) -> None:
        """The current task lets go of what it took last; or if it took nothing, somebody's last hold ends."""
        if self.holders:
            mine = [holder for holder in self.holders if holder[0] is current_task()]
            last = (mine or self.holders)[-1]
            last[1].released = self.trace.now()
            self.holders.remove(last)

    def takes(self) -> None:
        if (task := current_task()) and task not in self.takers:
            self.takers = [*(taker for taker in self.takers if not taker.done()), task]

    def awaited_by(self, task: asyncio.Task) -> list[asyncio.Task]:
        """The tasks any of which could end the wait of this one in the line."""
        how = next((use.how for waiting, use in self.line if waiting is task), None)
        if how == "put":
            return self.takers
        if how == "read":  # waits for who writes, or else for the next who wants to
            return [other for other, use in (*self.holders, *self.line) if use.how == "write"][:1]
        return [holder for holder, _ in self.holders]


def current_task() -> asyncio.Task | None:
    """None also where no loop runs, as after a run."""
    with contextlib.suppress(RuntimeError):
        return asyncio.current_task()


class Asking:
    def __init__(self, usage: Usage, use: Use, free: bool):
        self.usage, self.use, self.free = usage, use, free

    def __enter__(self) -> Use:
        if not self.free:
            self.entry = current_task(), self.use
            self.usage.line.append(self.entry)
        return self.use

    def __exit__(self, error, *_):
        if not self.free:
            self.usage.line.remove(self.entry)
        if error:
            self.use.given_up = self.usage.trace.now()
        else:
            self.use.got = self.use.asked if self.free else self.usage.trace.now()


class ObservedLock:
    async def acquire(self, *args, **options):
        with self.usage.asking("hold", free=not (self.locked() or self.usage.line)) as use:
            result = await super().acquire(*args, **options)
        self.usage.hold(use)
        return result

    def release(self):
        super().release()
        self.usage.release()


class ObservedRWLock:
    async def acquire_read(self):
        with self.usage.asking("read", free=not (self.writing or self.waiting_writers)) as use:
            await super().acquire_read()
        self.usage.hold(use)

    async def acquire_write(self):
        with self.usage.asking("write", free=not (self.writing or self.readers)) as use:
            await super().acquire_write()
        self.usage.hold(use)

    def release_read(self):
        super().release_read()
        self.usage.release()

    def release_write(self):
        super().release_write()
        self.usage.release()


class ObservedQueue:
    async def put(self, *args, **options):
        with self.usage.asking("put", free=not self.full()):
            return await super().put(*args, **options)

    async def get(self, *args, **options):
        with self.usage.asking("get", free=not self.empty()):
            return await super().get(*args, **options)

    def _put(self, item):  # asyncio calls this for every item that goes in, and _get for every one that comes out
        super()._put(item)
        self.usage.trace.note_depth(self.usage.what, self.qsize())

    def _get(self):
        item = super()._get()
        self.usage.takes()
        self.usage.trace.note_depth(self.usage.what, self.qsize())
        return item


class ObservedChannel:
    async def put(self, *args, **options):
        with self.usage.asking("put", free=False):
            return await super().put(*args, **options)

    def ready(self):  # `select` asks this of each channel before it takes a value from one
        self.usage.takes()
        return super().ready()


OBSERVED = {
    asyncio.Lock: ObservedLock,
    RWLock: ObservedRWLock,
    asyncio.Queue: ObservedQueue,
    Channel: ObservedChannel,
}

NOT_ROOMS = (
    *(str(Path(module.__file__).parent) + os.sep for module in (asyncio, websockets)),
    *(module.__file__ for module in (contextlib, channels)),
    *(str(Path(__file__).with_name(name)) for name in ("server.py", "observe.py")),
)

STEP = asyncio.Handle._run.__code__  # from where the event loop runs each step of a task


@cache
def is_rooms_own(path: str) -> bool:
    """Is the code in this file the room's, and not that of asyncio, `websockets`, or what stands around the room?"""
    return not path.startswith(NOT_ROOMS)


def rooms_function() -> str:
    """The room's function that has called, directly or not, the one that asks: "Room.broadcast"; "" if none has."""
    frame = sys._getframe(1)
    while frame.f_code is not STEP and not is_rooms_own(frame.f_code.co_filename):
        frame = frame.f_back
    return "" if frame.f_code is STEP else frame.f_code.co_qualname


# ---------------------------------------------------------------- the room


class Pool:
    """Notes in a Trace who enters a room's pool and who is removed from it, by looking at `members()`.

    Observes the room's locks, queues and channels too, as it comes to see them.
    """

    def __init__(self, room, trace: Trace):
        self.room, self.trace = room, trace
        self.seen = []
        observe_all(room, trace)

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
        observe_all(self.room, self.trace)


def observe_all(room, trace: Trace) -> None:
    """Observe the locks, queues and channels that a room has as attributes, or that the clients in them have."""
    for name, primitive in primitives(room):
        if getattr(primitive, "usage", None) is None or primitive.usage.trace is not trace:
            observe(primitive, name, trace)


def primitives(room) -> Iterator[tuple[str, object]]:
    """("lock", the lock), ("Bob's outbox", the queue), and so on."""
    for name, value in attributes(room):
        if isinstance(value, tuple(OBSERVED)):
            yield name, value
        elif isinstance(value, dict):
            for key, item in value.items():
                yield from of_client(key, (name, item), *attributes(item))
        elif isinstance(value, (list, tuple, set, deque)):
            for item in value:
                yield from of_client(None, (name, item), *attributes(item))


def of_client(key, *parts: tuple[str, object]) -> Iterator[tuple[str, object]]:
    connections = [part for part in (key, *(part for _, part in parts)) if isinstance(part, ServerConnection)]
    owner = name_of_client(connections[0]) if connections else key if isinstance(key, str) else "somebody"
    for name, part in parts:
        if isinstance(part, tuple(OBSERVED)):
            yield f"{owner}'s {name}", part


def attributes(thing) -> list[tuple[str, object]]:
    """A connection's own are none of our business."""
    if isinstance(thing, ServerConnection):
        return []
    slots = [(name, getattr(thing, name, None)) for name in getattr(thing, "__slots__", ())]
    return [*slots, *getattr(thing, "__dict__", {}).items()]
