"""Locks, queues and channels that note which task asked for them, which had them, and how long the line was.

A room makes them as always. `observe` changes the class of the finished object, so neither the room nor anything that
already refers to the object has to know.
"""

import asyncio
import contextlib
import sys
from collections import deque
from collections.abc import Iterator
from functools import cache

from websockets.asyncio.server import ServerConnection

from chatroom_lib.channels import Channel, RWLock
from chatroom_lib.instrumentation.asyncio_internals import STEP
from chatroom_lib.instrumentation.room_code import is_room_code
from chatroom_lib.instrumentation.tasks import visitor
from chatroom_lib.trace import Trace, Use


def observe(primitive, name: str, trace: Trace) -> None:
    """Note in `trace` from now on what the room's tasks do with this lock, queue or channel.

    It stays the same object; only its class changes. One whose class allows no such change is left alone.
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
    """Which tasks wait for one lock, queue or channel, and which have it."""

    def __init__(self, what: str, trace: Trace):
        self.what, self.trace = what, trace
        self.waiters: list[tuple[asyncio.Task, Use]] = []  # in the order of asking
        self.holders: list[tuple[asyncio.Task, Use]] = []  # of a lock
        self.consumers: list[asyncio.Task] = []  # tasks that take things out of a queue or a channel

    def acquisition(self, how: str, free: bool) -> "Acquisition":
        """`with` this around the operation. `free`: it can be done at once, without waiting."""
        return Acquisition(self, self.trace.ask(self.what, how, visitor.get(), rooms_function()), free)

    def hold(self, use: Use) -> None:
        self.holders.append((current_task(), use))

    def release(self) -> None:
        """End the current task's latest hold; if it has none (it releases another's), the latest of all."""
        if self.holders:
            mine = [holder for holder in self.holders if holder[0] is current_task()]
            last = (mine or self.holders)[-1]
            last[1].released = self.trace.now()
            self.holders.remove(last)

    def consumes(self) -> None:
        task = current_task()
        if self.consumers and self.consumers[-1] is task:
            return
        if task and task not in self.consumers:
            self.consumers = [*(consumer for consumer in self.consumers if not consumer.done()), task]

    def blockers_of(self, task: asyncio.Task) -> list[asyncio.Task]:
        """The tasks that can unblock this waiter: any consumer of a queue or channel, every holder of a lock."""
        how = next((use.how for waiting, use in self.waiters if waiting is task), None)
        if how == "put":
            return self.consumers
        if how == "read":  # waits for the writer, or else for the next that wants to write
            return [other for other, use in (*self.holders, *self.waiters) if use.how == "write"][:1]
        return [holder for holder, _ in self.holders]


def current_task() -> asyncio.Task | None:
    """None also where no loop runs, as after a run."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


class Acquisition:
    __slots__ = ("entry", "free", "usage", "use")

    def __init__(self, usage: Usage, use: Use, free: bool):
        self.usage, self.use, self.free = usage, use, free

    def __enter__(self) -> Use:
        if not self.free:
            self.entry = current_task(), self.use
            self.usage.waiters.append(self.entry)
        return self.use

    def __exit__(self, error, *_):
        if not self.free:
            self.usage.waiters.remove(self.entry)
        if error:
            self.use.given_up = self.usage.trace.now()
        else:
            self.use.got = self.use.asked if self.free else self.usage.trace.now()


class ObservedLock:
    async def acquire(self, *args, **options):
        with self.usage.acquisition("hold", free=not (self.locked() or self.usage.waiters)) as use:
            result = await super().acquire(*args, **options)
        self.usage.hold(use)
        return result

    def release(self):
        super().release()
        self.usage.release()


class ObservedRWLock:
    async def acquire_read(self):
        with self.usage.acquisition("read", free=not (self.writing or self.waiting_writers)) as use:
            await super().acquire_read()
        self.usage.hold(use)

    async def acquire_write(self):
        with self.usage.acquisition("write", free=not (self.writing or self.readers)) as use:
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
        with self.usage.acquisition("put", free=not self.full()):
            return await super().put(*args, **options)

    async def get(self, *args, **options):
        with self.usage.acquisition("get", free=not self.empty()):
            return await super().get(*args, **options)

    def _put(self, item):  # asyncio calls this for every item that goes in, and _get for every one that comes out
        super()._put(item)
        self.usage.trace.note_depth(self.usage.what, self.qsize())

    def _get(self):
        item = super()._get()
        self.usage.consumes()
        self.usage.trace.note_depth(self.usage.what, self.qsize())
        return item


class ObservedChannel:
    async def put(self, *args, **options):
        with self.usage.acquisition("put", free=False):
            return await super().put(*args, **options)

    def ready(self):  # `select` asks this of each channel before it takes a value from one
        self.usage.consumes()
        return super().ready()


OBSERVED = {
    asyncio.Lock: ObservedLock,
    RWLock: ObservedRWLock,
    asyncio.Queue: ObservedQueue,
    Channel: ObservedChannel,
}
KINDS = tuple(OBSERVED)


def rooms_function() -> str:
    """The room's innermost function on the stack: "Room.broadcast"; "" if there is none."""
    frame = sys._getframe(1)
    while frame.f_code is not STEP and not is_room_code(frame.f_code.co_filename):
        frame = frame.f_back
    return "" if frame.f_code is STEP else frame.f_code.co_qualname


# ---------------------------------------------------------------- finding them in a room


def observe_all(room, trace: Trace, server: str = "") -> None:
    """Observe the locks, queues and channels that a room has as attributes, or that the clients in them have. `server`:
    which one it is, if there are several."""
    for name, primitive in primitives(room):
        if getattr(primitive, "usage", None) is None or primitive.usage.trace is not trace:
            observe(primitive, f"{name} of {server}" if server else name, trace)


def primitives(room) -> Iterator[tuple[str, object]]:
    """("lock", the lock), ("Bob's outbox", the queue), and so on."""
    for name, value in attributes(room):
        if is_a(value, KINDS):
            yield name, value
        elif is_a(value, dict):
            for key, item in value.items():
                yield from of_client(key, (name, item), *attributes(item))
        elif is_a(value, (list, tuple, set, deque)):
            for item in value:
                yield from of_client(None, (name, item), *attributes(item))


def of_client(key, *parts: tuple[str, object]) -> Iterator[tuple[str, object]]:
    connections = [part for part in (key, *(part for _, part in parts)) if is_a(part, ServerConnection)]
    owner = connections[0].name if connections else key if is_a(key, str) else "somebody"
    for name, part in parts:
        if is_a(part, KINDS):
            yield f"{owner}'s {name}", part


def attributes(thing) -> list[tuple[str, object]]:
    """Those of a connection are skipped."""
    if is_a(thing, ServerConnection):
        return []
    with contextlib.suppress(Exception):  # what a room refers to may raise anything when it is asked
        slots = getattr(type(thing), "__slots__", ())
        found = [(name, getattr(thing, name)) for name in slots if hasattr(thing, name)]
        with contextlib.suppress(AttributeError):
            found += object.__getattribute__(thing, "__dict__").items()
        return found
    return []


def is_a(thing, kinds) -> bool:
    """isinstance, but by type alone. (A dead weak reference cannot even be asked for its class.)"""
    return issubclass(type(thing), kinds)
