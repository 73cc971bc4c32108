"""How much memory a room retains: queued messages, pending tasks, buffered bytes.

It does not matter how a room keeps them, in a queue, a list, a global of its module or a thousand suspended tasks. We
follow every reference from the room, its code (see room_globals.py), its tasks and its timers, as the garbage collector
does.
"""

import asyncio
import contextvars
import gc
import sys
from collections import ChainMap
from collections.abc import Callable, Iterable
from itertools import chain
from types import BuiltinFunctionType, CodeType, CoroutineType, FunctionType, MethodType, ModuleType

from websockets.asyncio.connection import Connection
from websockets.asyncio.server import ServerConnection

from chatroom_lib.instrumentation.asyncio_internals import timers
from chatroom_lib.instrumentation.primitives import Usage, is_a
from chatroom_lib.instrumentation.room_code import is_room_code
from chatroom_lib.instrumentation.room_globals import RoomGlobals
from chatroom_lib.instrumentation.waits import suspended, where
from chatroom_lib.trace import LeakReport, MemorySample, Trace

LONG = 500  # characters; a text of that length or more counts as a message
SAMPLE_INTERVAL = 64  # messages that the room reads from one sample to the next
CHECK_INTERVAL = 100  # events from one check for that to the next
ATOMS = {type(None), bool, int, float}
NOT_RETAINED = (  # what a room refers to and does not retain; a connection's buffer is counted by its transport
    *(type, ModuleType, CodeType, BuiltinFunctionType, Connection, Usage, Trace),
    *(asyncio.AbstractEventLoop, asyncio.BaseTransport, contextvars.Context),
)


class MemorySampler:
    """Samples the memory of the rooms of a run's servers as the run goes on, into its Trace."""

    def __init__(self, run, trace: Trace):
        self.run, self.trace = run, trace
        self.next_check, self.next_sample = CHECK_INTERVAL, SAMPLE_INTERVAL

    def update(self) -> None:
        if len(self.trace.events) >= self.next_check:
            self.next_check += CHECK_INTERVAL
            if len(self.trace.of("accepted")) >= self.next_sample:
                self.next_sample += SAMPLE_INTERVAL
                self.sample()

    def sample(self) -> None:
        sizes = [self.sizes(server) for server in self.run.servers]
        counts = len(self.trace.of("accepted")), *map(sum, zip(*sizes))
        self.trace.memory.append(MemorySample(self.trace.clock(), *counts))

    @staticmethod
    def sizes(server) -> tuple[int, int, int, int]:
        """The last four fields of a MemorySample."""
        room, tasks = server.room, list(server.tasks.visitors)
        roots = [room, *(task.get_coro() for task in tasks), *timers_of(room, server.loop)]
        joined = [connection for connection in server.connections if hasattr(connection, "transport")]
        roots += [kept for connection in joined for kept in attributes_set_by_the_room(connection, server)]
        reached = reachable_with_globals(room, roots)
        size = sum(map(sys.getsizeof, reached))
        buffered = sum(connection.transport.get_write_buffer_size() for connection in joined)
        return count_texts(reached), len(tasks), size, buffered


def timers_of(room, loop) -> list:
    """(callback, arguments) of the room's own timers."""
    return [(callback, arguments) for callback, arguments in timers(loop) if is_of(callback, room)]


def is_of(callback, room) -> bool:
    if isinstance(callback, MethodType):
        return callback.__self__ is room
    return is_a(callback, FunctionType) and is_room_code(callback.__code__.co_filename)


def attributes_set_by_the_room(connection, server) -> list:
    """What the room has stored on a connection."""
    return [value for name, value in vars(connection).items() if name not in server.attributes]


def reachable_with_globals(room, roots: Iterable, ends: tuple[type, ...] = NOT_RETAINED) -> list:
    """What can be reached from `roots`, and from what the code of the room, and of all objects found, keeps."""
    roots, owners = [*roots], {type(room)}
    code = RoomGlobals()
    while owners:
        roots += code.kept_by(owners)
        reached = reachable(roots, ends)
        owners = code.new_among(reached)
    return reached


def retained_connections(room) -> list[ServerConnection]:
    """Those that a room itself refers to, or its code; what its tasks refer to is not kept."""
    ends = *NOT_RETAINED, asyncio.Task, CoroutineType
    return [thing for thing in reachable_with_globals(room, [room], ends) if is_a(thing, ServerConnection)]


def reachable(roots: Iterable, ends: tuple[type, ...] = NOT_RETAINED) -> list:
    """Everything that can be reached from `roots`, once each. Objects of the types in `ends` are not followed."""
    reached, ahead = {}, list(roots)
    followers = dict.fromkeys(ATOMS)  # type -> what lists its referents; None: it is not worth a visit
    while ahead:
        thing = ahead.pop()
        if id(thing) in reached:
            continue
        kind = type(thing)
        if kind not in followers:
            followers[kind] = referents_of(kind, ends)
        if follow := followers[kind]:
            reached[id(thing)] = thing
            ahead += follow(thing)
    return list(reached.values())


def referents_of(kind: type, ends: tuple[type, ...]) -> Callable[[object], Iterable]:
    if issubclass(kind, FunctionType):  # not to all the globals that it might use
        return lambda function: [*(function.__closure__ or ()), *(function.__defaults__ or ())]
    if issubclass(kind, dict):  # the garbage collector does not list keys that are texts
        return lambda mapping: [*dict.keys(mapping), *dict.values(mapping)]
    return (lambda end: ()) if issubclass(kind, ends) else gc.get_referents


def count_texts(things: list) -> int:
    """How many of them are long texts."""
    return sum(len(thing) >= LONG for thing in things if issubclass(type(thing), (str, bytes, bytearray)))


def leak_report(servers: list, trace: Trace) -> LeakReport:
    """What the rooms of these servers still retain of departed clients."""
    gone = trace.departed()
    reports = [leak_of(server, gone) for server in servers]
    connections, visits, orphaned, tasks = zip(*reports)
    return LeakReport([*chain(*connections)], dict(ChainMap(*visits)), [*chain(*orphaned)], [*chain(*tasks)])


def leak_of(server, gone: dict[str, float]) -> LeakReport:
    room = server.room
    held = {connection.name for connection in retained_connections(room)}
    orphaned_tasks = tasks_of(gone, server)
    visits = {name: line_of(task) for task, name in orphaned_tasks if name in connections_in(task, room)}
    tasks = [line_of(task) for task in server.tasks.visitors if task not in server.hub_tasks]
    return LeakReport(
        [name for name in gone if name in held], visits, [line_of(task) for task, _ in orphaned_tasks], tasks
    )


def tasks_of(gone: Iterable[str], server) -> list[tuple[asyncio.Task, str]]:
    """The pending tasks that were made in visits of these clients, and whose visit."""
    return [(task, name) for task, name in server.tasks.visitors.items() if name in gone]


def connections_in(task: asyncio.Task, room) -> set[str]:
    """The names of the clients whose connections a task has in its variables."""
    reached = reachable([task.get_coro()], (*NOT_RETAINED, asyncio.Task, type(room)))
    return {thing.name for thing in reached if is_a(thing, ServerConnection)}


def line_of(task: asyncio.Task) -> str:
    """The room's own line at which a task is suspended, or else the function it runs."""
    frames, end = suspended(task)
    wait = where(frames, end, None)
    name = getattr(task.get_coro(), "__qualname__", "a task")
    return wait.line if wait and not wait.line.endswith(": ") else wait.doing if wait else name
