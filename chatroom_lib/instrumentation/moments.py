"""What a room looks like after each of its steps, read from outside. All is kept as texts and numbers: nothing of the
room's is kept alive, and the run is the same as without."""

import asyncio
import contextlib
import inspect
import sys
from collections import defaultdict
from collections.abc import Iterator
from operator import attrgetter
from types import CodeType, FrameType, FunctionType

from websockets.protocol import State

from chatroom_lib.channels import Channel, RWLock
from chatroom_lib.instrumentation.asyncio_internals import is_about_to_run, items_in, task_of
from chatroom_lib.instrumentation.connections import ObservedConnection
from chatroom_lib.instrumentation.names import name_of_client
from chatroom_lib.instrumentation.pool import listed
from chatroom_lib.instrumentation.primitives import KINDS, Usage, attributes, current_task, is_a, primitives
from chatroom_lib.instrumentation.room_code import is_written_for_the_room
from chatroom_lib.instrumentation.room_globals import names_in
from chatroom_lib.instrumentation.texts import Texts, name_of_primitive
from chatroom_lib.instrumentation.waits import blockers, operation_in, suspended, where
from chatroom_lib.rooms.handler import HandlerRoom, without_partial
from chatroom_lib.trace import Event, Trace, Wait
from chatroom_lib.trace.moments import BufferState, Call, Holder, LockState, Moment, QueueState, Steps, TaskState
from chatroom_lib.trace.trace import ENDS

MOST_MOMENTS = 3000
MOST_ITEMS = 20  # of a queue
MOST_LINES = 100  # of one step
MOST_STATES = 50_000  # of tasks, in all moments together
# event -> is its message on its way, or its client in the pool, from then on?
ON_ITS_WAY = {"sending": True, "overlap": True, "heard": False, "failed": False}
IN_THE_POOL = {"entered": True, "removed": False}


class MomentRecorder:
    """Notes the moments of one run, whose loop calls `look` after each step of a room's, and at the end of each of its
    iterations."""

    def __init__(self, most: int):
        self.most, self.left_out = most, 0
        self.moments: list[Moment] = []
        self.seen = 0  # events
        self.states = 0  # of tasks
        self.lines_run: list[int] = []  # since the last look
        self.on_the_way: dict[str, list[str]] = defaultdict(list)  # client -> messages sent to it and not heard
        self.gone: set[str] = set()  # clients whose connection has ended
        self.numbers: dict[int, int] = {}  # hash of a task -> its number
        self.kept: dict[tuple, tuple] = {}  # what is equal is kept once
        self.texts = Texts(self.numbers)

    def look(self, run, step: asyncio.Handle | None = None) -> None:
        """`step`: the one of the room's that is over just now."""
        events = run.trace.events[self.seen :]
        if not (events or step) or run.trace.clock is None:
            return
        self.seen += len(events)
        if len(self.moments) >= self.most or self.states >= MOST_STATES:
            self.left_out += 1
            return
        self.follow(events)
        before = self.moments[-1] if self.moments else None
        time = max(run.trace.clock(), before.time if before else 0.0)
        others = [event for event in events if event.kind not in IN_THE_POOL]
        state = self.state(run)
        ran = self.numbers.get(hash(task_of(step))) if step else None
        moment = Moment(time, others, ran, tuple(self.lines_run), *state)
        if others or not before or not moment.looks_like(before):
            self.moments.append(moment)
        for event in events:
            if event.kind in IN_THE_POOL:
                self.moment_of(event).events.append(event)
        self.lines_run.clear()

    @contextlib.contextmanager
    def noting_lines(self) -> Iterator[None]:
        """Note, from Python 3.12 on, which lines of the room's run meanwhile."""
        if not (monitoring := getattr(sys, "monitoring", None)):
            yield
            return

        def note(code: CodeType, line: int):
            if code.co_filename == "<string>" or not is_written_for_the_room(code.co_filename):  # that is a dataclass's
                return monitoring.DISABLE
            if len(self.lines_run) < MOST_LINES and current_task():  # without one it is we, who ask for its members
                self.lines_run.append(line)

        tool = next(number for number in range(6) if monitoring.get_tool(number) is None)
        monitoring.use_tool_id(tool, "chatroom_lib")
        try:
            monitoring.register_callback(tool, monitoring.events.LINE, note)
            monitoring.set_events(tool, monitoring.events.LINE)
            yield
        finally:
            monitoring.set_events(tool, monitoring.events.NO_EVENTS)
            monitoring.register_callback(tool, monitoring.events.LINE, None)
            monitoring.free_tool_id(tool)

    def follow(self, events: list[Event]) -> None:
        for event in events:
            messages = self.on_the_way[event.who]
            if event.kind in (*ENDS, "knocked"):
                self.gone.add(event.who)
            elif event.kind == "joined" and event.who in self.gone:  # what its last connection had is lost
                self.gone.remove(event.who)
                messages.clear()
            elif ON_ITS_WAY.get(event.kind):
                messages.append(event.message)
            elif event.kind in ON_ITS_WAY and event.message in messages:
                messages.remove(event.message)

    def moment_of(self, event: Event) -> Moment:
        """The latest in which the pool changed as this event says, which is noted some steps later."""
        present = IN_THE_POOL[event.kind]
        for place in range(len(self.moments) - 1, 0, -1):
            before, after = self.moments[place - 1 : place + 1]
            if (event.who in before.pool, event.who in after.pool) == (not present, present):
                return after
        return self.moments[-1]

    def steps(self, trace: Trace) -> Steps:
        """When the run is over. What is not in its Trace any more is in no moment."""
        kept = set(map(id, trace.events))
        for moment in self.moments:
            moment.events[:] = sorted((event for event in moment.events if id(event) in kept), key=attrgetter("time"))
        return Steps(trace, self.moments, self.left_out)

    # ------------------------------------------------------------ the room, as it is now

    def state(self, run) -> tuple:
        """The fields of a Moment from `pool` on. First the tasks are looked at: from then on each has a number."""
        servers = run.running
        rooms = [server.room for server in servers]
        found = {name: thing for room in rooms for name, thing in primitives(room)}
        tasks = self.keep(self.tasks(servers))
        self.states += len(tasks)
        return (
            self.keep(name for room in rooms for name in self.pool(room)),
            self.keep(text for room in rooms for text in self.texts.of_all(things_of(room))),
            tasks,
            self.keep(self.buffers(servers, run.trace.names)),
            self.keep(self.queue(name, thing) for name, thing in found.items() if is_a(thing, QUEUES)),
            self.keep(self.lock(name, thing.usage) for name, thing in found.items() if is_observed_lock(thing)),
        )

    def keep(self, things) -> tuple:
        things = tuple(self.kept.setdefault(thing, thing) for thing in things)
        return self.kept.setdefault(things, things)

    @staticmethod
    def pool(room) -> list[str]:
        with contextlib.suppress(RuntimeError, TypeError):  # whoever watches the room's pool tells of it
            return [name_of_client(member) for member in listed(room) if is_a(member, ObservedConnection)]
        return []

    def tasks(self, servers) -> Iterator[TaskState]:
        found = []
        for server in servers:
            for task, visitor in server.tasks.visitors.items():
                frames, end = suspended(task)
                if not task.done() and (wait := where(frames, end, visitor)):
                    found.append((self.number_of(task), task, visitor, wait, frames))
        numbers = {number for number, *_ in found}
        for number, task, visitor, wait, frames in found:
            calls = tuple(self.call(frame) for frame in frames if is_written_for_the_room(frame.f_code.co_filename))
            needs = [self.number_of(other) for other in blockers(task, frames)]
            needs = tuple(number for number in needs if number in numbers)
            yield TaskState(number, visitor, calls, what_for(task, wait, frames), is_about_to_run(task), needs)

    def number_of(self, task: asyncio.Task) -> int:
        return self.numbers.setdefault(hash(task), len(self.numbers) + 1)

    def call(self, frame: FrameType) -> Call:
        named = [(name, thing) for name, thing in locals_of(frame).items() if name != "self" and name.isidentifier()]
        return Call(frame.f_code.co_qualname, frame.f_lineno, tuple(self.texts.of_all(named)))

    def buffers(self, servers, names: list[str]) -> Iterator[BufferState]:
        transports = {
            name_of_client(connection): connection.transport
            for server in servers
            for connection in server.connections
            if connection.state is not State.CONNECTING and not connection.transport.closed
        }
        for who in filter(transports.get, names):
            here = transports[who]
            waiting, (_, limit) = here.get_write_buffer_size(), here.get_write_buffer_limits()
            messages = tuple(self.on_the_way[who][:MOST_ITEMS])
            yield BufferState(who, waiting, limit, here.peer.unread, here.peer.window, messages)

    def queue(self, name: str, queue: "asyncio.Queue | Channel") -> QueueState:
        is_channel = is_a(queue, Channel)
        items = [value for value, taken in queue.putters if not taken.done()] if is_channel else items_in(queue)
        texts = tuple(self.texts.of(item) or "…" for item in items[:MOST_ITEMS])
        return QueueState(name, len(items), None if is_channel else queue.maxsize or None, texts)

    def lock(self, name: str, usage: Usage) -> LockState:
        sides = usage.holders, usage.waiters
        return LockState(name, *(tuple(Holder(self.number_of(task), use.how) for task, use in side) for side in sides))


QUEUES = (asyncio.Queue, Channel)
LOCKS = (asyncio.Lock, RWLock)


def is_observed_lock(thing: object) -> bool:
    return is_a(thing, LOCKS) and hasattr(thing, "usage")


def things_of(room) -> Iterator[tuple[str, object]]:
    """A room's attributes; of a handler the globals that it uses. Without locks, queues and channels."""
    named = kept_by_handler(without_partial(room.handler)) if isinstance(room, HandlerRoom) else attributes(room)
    return ((name, thing) for name, thing in named if not is_a(thing, KINDS))


def kept_by_handler(handler) -> list[tuple[str, object]]:
    """The globals that a function uses, itself or by the functions that it calls; the attributes of an object."""
    if not isinstance(handler, FunctionType):
        return attributes(getattr(handler, "__self__", handler))
    names, ahead, kept = set(), [handler], handler.__globals__
    while ahead:
        new = names_in(ahead.pop().__code__) & kept.keys() - names
        names |= new
        functions = [kept[name] for name in new if is_a(kept[name], FunctionType)]
        ahead += [function for function in functions if function.__globals__ is kept]
    return [(name, kept[name]) for name in kept if name in names]


def locals_of(frame: FrameType) -> dict[str, object]:
    found = frame.f_locals
    copied = dict(found)
    if type(found) is dict:  # before Python 3.13 the frame keeps this dictionary, and what is in it alive
        found.clear()
    return copied


def what_for(task: asyncio.Task, wait: Wait, frames: list[FrameType]) -> str:
    """What a task waits for, in words."""
    coroutine = task.get_coro()
    if inspect.iscoroutine(coroutine) and inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
        return "its first step"
    thing = f"{wait.on}'s connection" if wait.on else wait.what or NAMELESS.get(wait.kind, "")
    if wait.kind == "take":
        channels = operation_in(frames).f_locals["channels"]
        *others, last = [name_of_primitive(channel) or "a channel" for channel in channels]
        thing = f"{', '.join(others)} or {last}" if others else last
    if wait.kind == "sleep":
        delay = operation_in(frames).f_locals["delay"]
        return f"{delay:g} s to pass" if type(delay) in (int, float) and delay > 0 else "its turn"
    return PHRASES[wait.kind].format(thing=thing, who=wait.on or wait.visitor or "a client")


NAMELESS = {
    **dict.fromkeys(("put", "get"), "a queue"),
    **dict.fromkeys(("lock", "read", "write"), "a lock"),
    "hand over": "a channel",
}
PHRASES = {  # kind of wait -> what for
    "send": "send to {who}",
    "close": "close {thing}",
    "put": "put into {thing}",
    "lock": "{thing}",
    "read": "{thing}, to read",
    "write": "{thing}, to write",
    "semaphore": "a semaphore",
    "hand over": "hand over through {thing}",
    "get": "get from {thing}",
    "take": "take from {thing}",
    "receive": "the next message from {who}",
    "tasks": "other tasks",
}
