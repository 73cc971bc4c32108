"""Which task waits for which: read from suspended tasks, without a line of help from the room.

A suspended task knows its whole chain of calls. The innermost says what it waits for: a lock, a queue, a channel,
a connection. An observed lock also knows its holders, and an observed queue or channel its consumers. Together they
make the *wait-for graph*. If it has a cycle, all in the cycle wait for ever.
"""

import asyncio
import linecache
import os
from dataclasses import replace
from types import CodeType, FrameType

from websockets.asyncio.connection import Connection
from websockets.asyncio.server import ServerConnection

from chatroom_lib import channels
from chatroom_lib.instrumentation.asyncio_internals import MANAGER_STEPS
from chatroom_lib.instrumentation.connections import ObservedConnection
from chatroom_lib.instrumentation.names import name_of_client
from chatroom_lib.instrumentation.room_code import AROUND_OTHERS, is_room_code, is_written_for_the_room
from chatroom_lib.trace import Wait
from chatroom_lib.trace.records import BLOCKED, WaitKind

OPERATIONS: dict[CodeType, WaitKind] = {
    Connection.send.__code__: "send",
    Connection.drain.__code__: "send",  # of an ASGI application, which waits before it sends
    Connection.close.__code__: "close",
    asyncio.Queue.put.__code__: "put",
    asyncio.Lock.acquire.__code__: "lock",
    asyncio.Semaphore.acquire.__code__: "semaphore",
    channels.Channel.put.__code__: "hand over",
    channels.RWLock.acquire_read.__code__: "read",
    channels.RWLock.acquire_write.__code__: "write",
    asyncio.Queue.get.__code__: "get",
    channels.select.__code__: "take",
    Connection.recv.__code__: "receive",
    asyncio.sleep.__code__: "sleep",
}


def waits(tasks: dict[asyncio.Task, str | None]) -> list[Wait]:
    """Where each task is suspended; `tasks` maps it to its visitor, as `Tasks.visitors` does."""
    found = {}  # task -> where it is suspended, and the tasks that can unblock it
    for task, name in tasks.items():
        frames, end = suspended(task)
        if not task.done() and (wait := where(frames, end, name)):
            found[task] = wait, blockers(task, frames)
    indices = {task: index for index, task in enumerate(found)}
    return [
        replace(wait, needs=tuple(indices[other] for other in others if other in indices)) if others else wait
        for wait, others in found.values()
    ]


def where(frames: list[FrameType], end, name: str | None) -> Wait | None:
    """Where a task with these frames is suspended. None for a task of the server's or of `websockets`' own."""
    known = operation_in(frames)
    if known:
        kind = OPERATIONS[known.f_code]
    else:  # `async for` over a connection ends in this
        kind = "receive" if type(end).__name__ == "async_generator_asend" else "tasks"
    thing = known.f_locals.get("self") if known else None
    on = name_of_client(thing) if isinstance(thing, ServerConnection) else None
    what = thing.usage.what if hasattr(thing, "usage") else None
    rooms_own = [frame for frame in frames if is_room_code(frame.f_code.co_filename)]
    written = [frame for frame in rooms_own if is_written_for_the_room(frame.f_code.co_filename)]
    if not written and frames and frames[0].f_code.co_filename.startswith(AROUND_OTHERS):
        return None  # a framework between two events
    if rooms_own := written or rooms_own:
        path, number = rooms_own[-1].f_code.co_filename, rooms_own[-1].f_lineno
        line = f"{os.path.basename(path)}:{number}: {linecache.getline(path, number).strip()}"
        outer, inner = (frame.f_code.co_qualname for frame in (rooms_own[0], rooms_own[-1]))
        return Wait(outer, inner, name, kind, on, what, line)
    if frames and frames[0].f_code in SENDS or what and kind in BLOCKED:
        # a task that runs nothing else, as in asyncio.gather(connection.send(frame), queue.put(frame))
        return Wait("a task", "a task", name, kind, on, what, f"{frames[0].f_code.co_name}(...)")
    return None


def blockers(task: asyncio.Task, frames: list[FrameType]) -> list[asyncio.Task]:
    """The tasks that can unblock this one, as far as an observed lock, queue or channel knows."""
    known = operation_in(frames)
    usage = getattr(known.f_locals.get("self"), "usage", None) if known else None
    return usage.blockers_of(task) if usage else []


def operation_in(frames: list[FrameType]) -> FrameType | None:
    return next((frame for frame in frames if frame.f_code in OPERATIONS), None)


def suspended(task: asyncio.Task) -> tuple[list[FrameType], object]:
    """The frames of what `task` awaits, outermost first, as far as they can be seen, and what is awaited last."""
    frames, awaitable = [], task.get_coro()
    while link := next((link for link in LINKS if getattr(awaitable, link[0], None)), None):
        frame = getattr(awaitable, link[0])
        frames.append(frame)
        if frame.f_code in MANAGER_STEPS:  # `async with` a generator: what that awaits is hidden one level down
            awaitable = frame.f_locals["self"].gen
        else:
            awaitable = getattr(awaitable, link[1])
    return frames, awaitable


# of a coroutine, a generator and an async generator: its frame, and what it awaits
LINKS = (("cr_frame", "cr_await"), ("gi_frame", "gi_yieldfrom"), ("ag_frame", "ag_await"))
SENDS = (ObservedConnection.send.__code__, Connection.send.__code__)
