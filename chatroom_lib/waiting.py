"""Who waits for whom: read from tasks that stand still, without a line of help from the room.

A suspended task knows its whole chain of calls. At the inner end stands what it waits for: a lock, a queue, a channel,
a connection. An observed lock also knows who holds it, and an observed queue or channel who takes things out of it.
Together they make the *wait-for graph*. If it has a cycle, all in the cycle wait for ever.
"""

import asyncio
import linecache
from collections import Counter
from collections.abc import Sequence
from contextlib import _AsyncGeneratorContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from websockets.asyncio.connection import Connection
from websockets.asyncio.server import ServerConnection

from chatroom_lib import channels
from chatroom_lib.observe import ObservedConnection, name_of_client
from chatroom_lib.room_code import is_room_code


@dataclass(frozen=True)
class Wait:
    """Where one task of a room stands."""

    task: str  # the room's function that the task was made to run: "Room.run_hub"
    doing: str  # the one, called by that, which stands still: "Room.broadcast"
    visitor: str | None  # on whose behalf: "Bob"; None for a task that the room runs for itself
    waits: str  # what for: "to send to"
    on: str | None  # whose connection that is: "Bob"; None if it is not a connection
    what: str | None  # which lock, queue or channel, if it is an observed one: "Bob's outbox"
    line: str  # the room's own line: "v3.py:75: await client.connection.send(encode(message))"
    needs: tuple[int, ...] = ()  # the places, in the list of waits, of the tasks that could end this wait

    @property
    def blocked(self) -> bool:
        """Does it wait for somebody to make room, and not just for something to happen?"""
        return self.waits in BLOCKING.values()

    @property
    def name(self) -> str:
        """What a figure calls it: "Bob: write", "run_hub"."""
        return name_of(self.visitor, self.doing if self.visitor else self.task)

    @property
    def any_will_do(self) -> bool:
        """Can any one of those it needs end this wait? Else it takes all of them, as with all who read under a lock."""
        return not self.waits.startswith("for a lock")

    def __str__(self):
        visitor = f" (for {self.visitor})" if self.visitor else ""
        which = f" {self.on}" if self.on else f" ({self.what})" if self.what else ""
        return f"{self.doing}{visitor} waits {self.waits}{which}\n    {self.line}"


def name_of(visitor: str | None, function: str) -> str:
    return f"{visitor}: " * bool(visitor) + function.rpartition(".")[2]


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
    found = {}  # task -> where it stands, and the tasks that its wait hangs on
    for task, name in tasks.items():
        frames, end = suspended(task)
        if not task.done() and (wait := where(frames, end, name)):
            found[task] = wait, awaited(task, frames)
    places = {task: place for place, task in enumerate(found)}
    return [
        replace(wait, needs=tuple(places[other] for other in others if other in places))
        for wait, others in found.values()
    ]


def where(frames: list[FrameType], end, name: str | None) -> Wait | None:
    """Where a task stands that is suspended so. None for a task of the server's or of `websockets`' own."""
    known = operation_in(frames)
    if known:
        operation = OPERATIONS[known.f_code]
    else:  # `async for` over a connection ends in this
        operation = "for a message" if type(end).__name__ == "async_generator_asend" else "for other tasks"
    thing = known.f_locals.get("self") if known else None
    on = name_of_client(thing) if isinstance(thing, ServerConnection) else None
    what = thing.usage.what if hasattr(thing, "usage") else None
    rooms_own = [frame for frame in frames if is_room_code(frame.f_code.co_filename)]
    if rooms_own:
        path, number = rooms_own[-1].f_code.co_filename, rooms_own[-1].f_lineno
        line = f"{Path(path).name}:{number}: {linecache.getline(path, number).strip()}"
        outer, inner = (frame.f_code.co_qualname for frame in (rooms_own[0], rooms_own[-1]))
        return Wait(outer, inner, name, operation, on, what, line)
    if frames and frames[0].f_code in SENDS or what and operation in BLOCKING.values():
        # a task that runs nothing else, as in asyncio.gather(connection.send(frame), queue.put(frame))
        return Wait("a task", "a task", name, operation, on, what, f"{frames[0].f_code.co_name}(...)")
    return None


def awaited(task: asyncio.Task, frames: list[FrameType]) -> list[asyncio.Task]:
    """The tasks that the wait of this one hangs on, as far as an observed lock, queue or channel knows."""
    known = operation_in(frames)
    usage = getattr(known.f_locals.get("self"), "usage", None) if known else None
    return usage.awaited_by(task) if usage else []


def operation_in(frames: list[FrameType]) -> FrameType | None:
    return next((frame for frame in frames if frame.f_code in OPERATIONS), None)


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


# ---------------------------------------------------------------- the graph


def cycle(waits: Sequence[Wait]) -> list[Wait]:
    """The shortest circle of tasks each of which waits for the next, and the last for the first, and which nobody else
    can end; [] if there is none."""
    stuck = deadlocked(waits)
    circles = [circle for place in sorted(stuck) if (circle := way_back(waits, place, stuck))]
    return [waits[place] for place in min(circles, key=len, default=[])]


def deadlocked(waits: Sequence[Wait]) -> set[int]:
    """The places of those who wait, directly or not, for nobody but each other."""
    stuck = {place for place, wait in enumerate(waits) if wait.blocked and wait.needs}
    while True:
        free = {place for place in stuck if can_end(waits[place], stuck)}
        if not free:
            return stuck
        stuck -= free


def can_end(wait: Wait, stuck: set[int]) -> bool:
    moving = [place not in stuck for place in wait.needs]
    return any(moving) if wait.any_will_do else all(moving)


def way_back(waits: Sequence[Wait], start: int, among: set[int]) -> list[int]:
    """The shortest way from a task to itself along `needs`, without the return; [] if there is none."""
    ways, reached = [[start]], {start}
    for way in ways:  # grows while we walk through it: breadth first
        for place in among.intersection(waits[way[-1]].needs):
            if place == start:
                return way
            if place not in reached:
                reached.add(place)
                ways.append([*way, place])
    return []


class Graph:
    """Who waits for whom, for a figure. Tasks that do the same, and wait for the same, are one node.

    `edges` maps (node, node) to what lies between: "saying", "Bob's outbox". `circle` has the nodes of the cycle.
    """

    def __init__(self, waits: Sequence[Wait]):
        self.count = Counter(map(node_of, waits))
        self.circle = list(dict.fromkeys(map(node_of, cycle(waits))))
        self.edges = {}
        for wait in waits:
            if wait.blocked:
                others = [node_of(waits[place]) for place in wait.needs] or [(wait.on or "somebody",)]
                self.edges |= {(node_of(wait), other): between(wait) for other in others}

    def label(self, node: tuple) -> str:
        return node[0] + (f" \N{MULTIPLICATION SIGN} {self.count[node]}" if self.count[node] > 1 else "")

    def is_person(self, node: tuple) -> bool:
        return node not in self.count

    def columns(self) -> list[list[tuple]]:
        """The nodes, each to the right of all who wait for it, as far as cycles allow."""
        column = {node: 0 for edge in self.edges for node in edge}
        ahead = self.ahead(list(column))
        for _ in column:
            for start, end in ahead:
                column[end] = max(column[end], column[start] + 1)
        return [[node for node in column if column[node] == place] for place in sorted(set(column.values()))]

    def ahead(self, nodes: list[tuple]) -> list[tuple]:
        """The edges without those that close a cycle: a walk from those for whom nobody waits, depth first."""
        ahead, seen = [], set()

        def walk(node, path):
            seen.add(node)
            for edge in self.edges:
                if edge[0] == node and edge[1] not in path:
                    ahead.append(edge)
                    if edge[1] not in seen:
                        walk(edge[1], [*path, edge[1]])

        ends = {end for _, end in self.edges}
        for node in sorted(nodes, key=lambda node: node in ends):
            if node not in seen:
                walk(node, [node])
        return ahead


def node_of(wait: Wait) -> tuple:
    return wait.name, wait.waits, wait.on or wait.what


def between(wait: Wait) -> str:
    """What an arrow says: "saying", "lock, to write", "send"."""
    _, comma, purpose = wait.waits.partition(",")
    return f"{wait.what}{comma}{purpose}" if wait.what else wait.waits.removeprefix("to ").removesuffix(" to")
