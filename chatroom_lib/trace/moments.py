"""What a room looks like between two of its steps: plain records, from which a page can show a run step by step.

Whatever a record says of the room's own objects is a short text: a connection is called as its client, a message as the
Trace calls it.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple, Self

from chatroom_lib.trace.records import Event
from chatroom_lib.trace.trace import Trace

Texts = tuple[tuple[str, str], ...]  # (name, short text), in the order of the code


class Call(NamedTuple):
    """A function of the room's that a task is in."""

    function: str  # "Room.broadcast"
    line: int  # of the room's file: where it stands
    locals: Texts


class TaskState(NamedTuple):
    """Where one task of the room's is suspended."""

    number: int  # the same all through the run, counted from 1
    visitor: str | None  # on whose behalf it runs: "Bob"; None: the room's own
    calls: tuple[Call, ...]  # outermost first; none if it only runs a `send` or a `put`
    waits_for: str  # "send to Bob", "lock", "the next message from Ann"
    ready: bool  # that has come, so it goes on as soon as the processor is free
    needs: tuple[int, ...]  # the numbers of the tasks that can unblock it


class BufferState(NamedTuple):
    """What has been sent to one client and is on its way."""

    who: str
    waiting: int  # bytes in the server's write buffer
    limit: int  # bytes in it above which a `send` waits
    in_flight: int  # bytes in the network, or arrived and not read
    window: int  # bytes that may be in flight
    messages: tuple[str, ...]  # sent, and not heard; without those of the library's `broadcast`


class QueueState(NamedTuple):
    """A queue's items, or the values that wait to be taken from a channel."""

    name: str  # "Bob's outbox"
    length: int
    limit: int | None  # items; None: there is none
    items: tuple[str, ...]  # the first of them


class Holder(NamedTuple):
    """A task that has a lock, or waits for it."""

    task: int  # its number
    how: str  # "hold", "read" or "write"


class LockState(NamedTuple):
    name: str
    holders: tuple[Holder, ...]
    waiters: tuple[Holder, ...]  # in the order of asking


class Moment(NamedTuple):
    """The room between two steps, and what has happened in the one before."""

    time: float  # seconds since the run began
    events: list[Event]  # since the moment before
    ran: int | None  # the number of the task that took the step; None: something else has happened
    lines: tuple[int, ...]  # of the room's code, as they ran in that step; from Python 3.12 on
    pool: tuple[str, ...]  # in the order of `members()`
    room: Texts  # the room's attributes, or the globals that a handler uses
    tasks: tuple[TaskState, ...]  # in the order of their making
    buffers: tuple[BufferState, ...]
    queues: tuple[QueueState, ...]
    locks: tuple[LockState, ...]

    def looks_like(self, other: Self) -> bool:
        """Is all the same but when it was, and why, and what is in the network?"""
        return self.without_flight() == other.without_flight()

    def without_flight(self) -> tuple:
        buffers = [buffer._replace(in_flight=0) for buffer in self.buffers]
        return self.pool, self.room, self.tasks, buffers, self.queues, self.locks


class Steps(NamedTuple):
    """A run that can be stepped through."""

    trace: Trace
    moments: list[Moment]
    left_out: int  # steps, and events between them, after the last of these moments


SENTENCES = {  # kind of event -> what a page says of it
    "joined": "{who} is connected",
    "shut out": "{who} cannot connect: {message}",
    "said": "{who} says {message}",
    "said again": "{who} says {message} once more",
    "heard": "{who} hears {message}",
    "refused": "{who} is told that {message} is refused",
    "left": "{who} leaves",
    "vanished": "{who} is killed: its connection is reset",
    "lost": "{who} is disconnected: {message}",
    "accepted": "the room reads {message}",
    "sending": "the room sends {message} to {who}",
    "overlap": "the room sends {message} to {who}, while an earlier send to {who} waits",
    "sent": "sending {message} to {who} returns",
    "failed": "sending {message} to {who} fails: the connection is closed",
    "given up": "sending {message} to {who} is cancelled",
    "entered": "{who} is in the pool",
    "removed": "{who} is not in the pool any more",
    "error": "an error in the room: {message}",
    "blocked": "the room blocks the event loop for {message}",
    "collected": "a task that nothing refers to is thrown away: {message}",
}
SECTIONS = ("pool", "room", "tasks", "buffers", "queues", "locks")  # of a moment, where they have changed


def to_plain(moments: Iterable[Moment]) -> dict[str, list]:
    """For JSON: {"states": what each task looked like, once each, "moments": [...]}. A moment's `tasks` are places in
    `states`, and it has only those SECTIONS that differ from the moment before; the first has all."""
    places: dict[TaskState, int] = {}
    before: dict[str, Any] = {}
    found = []
    for moment in moments:
        now = {name: getattr(moment, name) for name in SECTIONS}
        events = list(map(event_to_plain, moment.events))
        plain: dict[str, Any] = {
            "time": round(moment.time, 6),
            "events": events,
            "ran": moment.ran,
            "lines": moment.lines,
        }
        plain |= {name: now[name] for name in SECTIONS if now[name] != before.get(name)}
        for name in plain.keys() & PLAIN.keys():
            plain[name] = PLAIN[name](plain[name])
        if "tasks" in plain:
            plain["tasks"] = [places.setdefault(task, len(places)) for task in moment.tasks]
        found.append(plain)
        before = now
    return {"states": list(map(task_to_plain, places)), "moments": found}


def task_to_plain(task: TaskState) -> dict:
    calls = [call._asdict() | {"locals": dict(call.locals)} for call in task.calls]
    return task._asdict() | {"calls": calls}


def event_to_plain(event: Event) -> dict:
    words = SENTENCES.get(event.kind, "{who}: {kind} {message}")
    text = words.format(kind=event.kind, who=event.who, message=event.message).strip()
    return {"time": round(event.time, 6), "kind": event.kind, "who": event.who, "message": event.message, "text": text}


def lock_to_plain(lock: LockState) -> dict:
    return {name: [holder._asdict() for holder in getattr(lock, name)] for name in ("holders", "waiters")}


PLAIN = {  # section -> how it is written
    "pool": list,
    "room": dict,
    "buffers": lambda buffers: {each.who: without_first(each) for each in buffers},
    "queues": lambda queues: {each.name: without_first(each) for each in queues},
    "locks": lambda locks: {each.name: lock_to_plain(each) for each in locks},
}


def without_first(record: NamedTuple) -> dict:
    return dict(list(record._asdict().items())[1:])
