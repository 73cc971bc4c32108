"""How much a room holds: the messages, the tasks and the bytes that wait in it for somebody.

It does not matter how a room keeps them, in a queue, a list or a thousand suspended tasks. We follow every reference
that leads from the room, its class, its tasks and its timers to a text, as the garbage collector does.
"""

import asyncio
import contextvars
import gc
import sys
from collections.abc import Callable, Iterable
from types import BuiltinFunctionType, CodeType, CoroutineType, FunctionType, MethodType, ModuleType

from websockets.asyncio.connection import Connection
from websockets.asyncio.server import ServerConnection

from chatroom_lib.instrumentation.asyncio_internals import timers
from chatroom_lib.instrumentation.primitives import Usage, is_a
from chatroom_lib.instrumentation.room_code import is_room_code
from chatroom_lib.instrumentation.waits import suspended, where
from chatroom_lib.trace import LeakReport, MemorySample, Trace

LONG = 500  # characters from which on a text is taken for a message
SAMPLE_INTERVAL = 64  # messages that the room reads from one sample to the next
CHECK_INTERVAL = 100  # events from one check for that to the next
ATOMS = {type(None), bool, int, float}
NOT_HELD = (  # what a room refers to and does not hold; a connection's own buffer is counted by its transport
    *(type, ModuleType, CodeType, BuiltinFunctionType, Connection, Usage, Trace),
    *(asyncio.AbstractEventLoop, asyncio.BaseTransport, contextvars.Context),
)


class MemorySampler:
    """Weighs a server's room every now and then, and notes it in a Trace."""

    def __init__(self, server, trace: Trace):
        self.server, self.trace = server, trace
        self.next_check, self.next_sample = CHECK_INTERVAL, SAMPLE_INTERVAL

    def update(self) -> None:
        if len(self.trace.events) >= self.next_check:
            self.next_check += CHECK_INTERVAL
            if len(self.trace.of("accepted")) >= self.next_sample:
                self.next_sample += SAMPLE_INTERVAL
                self.sample()

    def sample(self) -> None:
        room, tasks = self.server.room, list(self.server.tasks.visitors)
        roots = [*roots_of(room), *(task.get_coro() for task in tasks), *timers_of(room, self.server.loop)]
        joined = [connection for connection in self.server.connections if hasattr(connection, "transport")]
        roots += [kept for connection in joined for kept in attributes_of_rooms_own(connection, self.server)]
        reached = reachable(roots)
        size = sum(map(sys.getsizeof, reached))
        buffered = sum(connection.transport.get_write_buffer_size() for connection in joined)
        counts = len(self.trace.of("accepted")), count_texts(reached), len(tasks), size, buffered
        self.trace.memory.append(MemorySample(self.trace.clock(), *counts))


def roots_of(room) -> list:
    """The room, what its classes have of their own, and the globals that its methods use."""
    roots = [room]
    for kind in [kind for kind in type(room).__mro__ if kind is not object]:
        for value in vars(kind).values():
            roots.append(value)
            if isinstance(value, FunctionType):
                used = set(value.__code__.co_names) & set(value.__globals__)
                roots += [value.__globals__[name] for name in sorted(used) if holds(value.__globals__[name])]
    return roots


def holds(thing) -> bool:
    return not is_a(thing, (FunctionType, *NOT_HELD))


def timers_of(room, loop) -> list:
    """What the room's own timers will be called with."""
    return [(callback, arguments) for callback, arguments in timers(loop) if is_of(callback, room)]


def is_of(callback, room) -> bool:
    if isinstance(callback, MethodType):
        return callback.__self__ is room
    return is_a(callback, FunctionType) and is_room_code(callback.__code__.co_filename)


def attributes_of_rooms_own(connection, server) -> list:
    """What the room has hung onto a connection."""
    return [value for name, value in vars(connection).items() if name not in server.attributes]


def reachable(roots: Iterable, ends: tuple[type, ...] = NOT_HELD) -> list:
    """Everything that can be reached from `roots`, once each. From the `ends` we go no further."""
    reached, ahead = {}, list(roots)
    ways = dict.fromkeys(ATOMS)  # type -> how to go on from it; None: it is not worth a visit
    while ahead:
        thing = ahead.pop()
        if id(thing) in reached:
            continue
        kind = type(thing)
        if kind not in ways:
            ways[kind] = way_on(kind, ends)
        if go_on := ways[kind]:
            reached[id(thing)] = thing
            ahead += go_on(thing)
    return list(reached.values())


def way_on(kind: type, ends: tuple[type, ...]) -> Callable[[object], Iterable]:
    if issubclass(kind, FunctionType):  # not to all the globals that it might use
        return lambda function: [*(function.__closure__ or ()), *(function.__defaults__ or ())]
    if issubclass(kind, dict):  # keys are no business of the garbage collector's, if they are texts
        return lambda mapping: [*dict.keys(mapping), *dict.values(mapping)]
    return (lambda end: ()) if issubclass(kind, ends) else gc.get_referents


def count_texts(things: list) -> int:
    """How many of them are long texts."""
    return sum(len(thing) >= LONG for thing in things if issubclass(type(thing), (str, bytes, bytearray)))


def leak_report(server, trace: Trace) -> LeakReport:
    """What the server's room has not let go of by now."""
    gone, room = trace.gone(), server.room
    reached = reachable(roots_of(room), (*NOT_HELD, asyncio.Task, CoroutineType))  # what tasks have in hand is not kept
    held = {thing.name for thing in reached if is_a(thing, ServerConnection)}
    orphaned_tasks = [(task, name) for task, name in server.tasks.visitors.items() if name in gone]
    visits = {name: place_of(task) for task, name in orphaned_tasks if name in in_hand(task, room)}
    tasks = len(server.tasks.visitors) - len(server.hub_tasks)
    return LeakReport([name for name in gone if name in held], visits, len(orphaned_tasks), tasks)


def in_hand(task: asyncio.Task, room) -> set[str]:
    """Whose connections a task has in its own variables."""
    reached = reachable([task.get_coro()], (*NOT_HELD, asyncio.Task, type(room)))
    return {thing.name for thing in reached if is_a(thing, ServerConnection)}


def place_of(task: asyncio.Task) -> str:
    """The room's own line where a task stands, or else what it runs."""
    frames, end = suspended(task)
    wait = where(frames, end, None)
    name = getattr(task.get_coro(), "__qualname__", "a task")
    return wait.line if wait and not wait.line.endswith(": ") else wait.doing if wait else name
