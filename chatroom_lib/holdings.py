"""How much a room holds: the messages, the tasks and the bytes that wait in it for somebody.

It does not matter how a room keeps them, in a queue, a list or a thousand suspended tasks. We follow every reference
that leads from the room and from its tasks to a text, as the garbage collector does, and count the texts.
"""

import asyncio
import contextvars
import gc
from collections.abc import Iterable
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import NamedTuple

from websockets.asyncio.connection import Connection

from chatroom_lib.primitives import Usage
from chatroom_lib.trace import Trace

LONG = 500  # characters from which on a text is taken for a message
EVERY = 500  # events from one weighing to the next
ATOMS = {type(None), bool, int, float}
NOT_HELD = (  # what a room refers to and does not hold; a connection's own buffer is counted by its transport
    *(type, ModuleType, CodeType, BuiltinFunctionType, Connection, Usage, Trace),
    *(asyncio.AbstractEventLoop, asyncio.BaseTransport, contextvars.Context),
)


class Holding(NamedTuple):
    time: float  # seconds since the run began
    accepted: int  # messages that the room had read by then
    messages: int  # texts of at least LONG characters that the room and its tasks hold
    tasks: int  # tasks alive that serve the room
    buffered: int  # bytes written to connections and not yet sent


class Scale:
    """Weighs a server's room every now and then, and notes it in a Trace."""

    def __init__(self, server, trace: Trace):
        self.server, self.trace = server, trace
        self.next = EVERY

    def look(self) -> None:
        if len(self.trace.events) >= self.next:
            self.next = len(self.trace.events) + EVERY
            self.weigh()

    def weigh(self) -> None:
        tasks = list(self.server.tasks.visitors)
        messages = count_messages([self.server.room, *(task.get_coro() for task in tasks)])
        joined = [connection for connection in self.server.connections if hasattr(connection, "transport")]
        buffered = sum(connection.transport.get_write_buffer_size() for connection in joined)
        accepted = len(self.trace.of("accepted"))
        self.trace.holdings.append(Holding(self.trace.clock(), accepted, messages, len(tasks), buffered))


def count_messages(roots: Iterable) -> int:
    """How many different long texts can be reached from `roots`."""
    texts, seen, ahead = 0, set(), list(roots)
    while ahead:
        thing = ahead.pop()
        if type(thing) in ATOMS or id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, (str, bytes, bytearray)):
            texts += len(thing) >= LONG
        elif isinstance(thing, FunctionType):
            ahead += [*(thing.__closure__ or ()), *(thing.__defaults__ or ())]
        elif isinstance(thing, dict):  # its keys are no business of the garbage collector's, if they are texts
            ahead += [*thing.keys(), *thing.values()]
        elif not isinstance(thing, NOT_HELD):
            ahead += gc.get_referents(thing)
    return texts
