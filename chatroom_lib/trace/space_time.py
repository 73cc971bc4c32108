"""Message paths for the space-time diagram: from the sender to the room, and from the room to each receiver.

The x axis is ordinal: each instant at which something happens is one column.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator
from itertools import pairwise, zip_longest
from typing import NamedTuple

from chatroom_lib.trace import Event, Trace

KINDS = (
    *("joined", "said", "said again", "accepted", "heard", "sending", "overlap", "removed"),
    *("left", "vanished", "lost", "away", "killed", "started"),
)


class MessagePath(NamedTuple):
    """Of one message between one client and the room."""

    who: str  # the client
    message: str
    start: int  # the column in which it is sent
    stop: int | None = None  # the column in which it arrives; None: it never does


class SpaceTimeDiagram:
    """The paths to the room and from it, and which messages the room has `refused`.

    A message that somebody hears twice has two paths. `overtaken` are those paths from the room on which a later
    message arrived first. `withheld` are messages that the room read while a client was in its pool, and never began to
    send to that client. `running`: while the server ran.
    """

    def __init__(self, trace: Trace):
        self.instants = sorted({event.time for event in trace.of(*KINDS)})
        said, self.refused = trace.of("said"), {event.message for event in trace.of("refused")}
        accepted = {event.message: self.column(event.time) for event in reversed(trace.of("accepted"))}
        sent, heard = self.columns(trace.of("sending", "overlap")), self.columns(trace.of("heard"))
        ours = [event.message for event in said if event.message in accepted]
        pairs = [(who, message) for who, message in dict.fromkeys([*sent, *heard]) if message in ours]

        self.to_room = list(self.paths_to_room(trace))
        starts = [0, *(self.column(event.time) for event in trace.of("started"))]
        kills = [self.column(event.time) for event in trace.of("killed")]
        self.running = list(zip_longest(starts[: len(kills) + 1], kills))  # from which column to which; None: the end
        readings = {message: [] for message in ours}  # the columns in which the room read it
        for event in trace.of("accepted"):
            if event.message in readings:
                readings[event.message].append(self.column(event.time))
        self.from_room = []
        for pair in pairs:
            if pair in sent:
                paths = zip_longest(sent[pair], heard.get(pair, []), fillvalue=None)
                starts = [(accepted[pair[1]] if start is None else start, stop) for start, stop in paths]
            else:
                starts = [(self.last_before(stop, readings[pair[1]]), stop) for stop in heard[pair]]
                starts += [(column, None) for column in self.cut_off(trace, *pair, readings[pair[1]])]
            self.from_room += [MessagePath(*pair, *path) for path in starts]
        self.from_room.sort(key=lambda path: path.start)
        self.withheld = [
            MessagePath(who, message, self.column(stop) if stop < trace.duration else accepted[message])
            for who, start, stop in trace.memberships()
            for message in ours
            if self.column(start) <= accepted[message] < self.column(stop)
            and message not in self.refused
            and (who, message) not in pairs
        ]
        self.pause = self.longest_pause()
        self.overtaken = []
        latest = {}  # client -> the column in which the room read the latest message that it has heard
        again = set()  # (client, message) that has been heard by now
        for path in sorted((path for path in self.from_room if path.stop is not None), key=lambda path: path.stop):
            if accepted[path.message] < latest.get(path.who, 0) and path[:2] not in again:
                self.overtaken.append(path)
            again.add(path[:2])
            latest[path.who] = max(accepted[path.message], latest.get(path.who, 0))

    @staticmethod
    def last_before(column: int, readings: list[int]) -> int:
        return max((reading for reading in readings if reading <= column), default=readings[0])

    def cut_off(self, trace: Trace, who: str, message: str, readings: list[int]) -> Iterator[int]:
        """When the room read a message that was lost on the way to this client, since its connection ended."""
        heard = [self.column(event.time) for event in trace.of("heard", who=who) if event.message == message]
        for name, since, until in trace.memberships():
            start, end = self.column(since), self.column(until)
            for reading in readings if name == who and until < trace.duration else []:
                if start <= reading < end and not any(reading <= column <= end for column in heard):
                    yield reading

    def paths_to_room(self, trace: Trace) -> Iterator[MessagePath]:
        """Of each time that a message was said: until the room read it, or it was said again."""
        accepted = self.columns(trace.of("accepted"))
        for pair, said in self.columns(trace.of("said", "said again")).items():
            for start, following in zip_longest(said, said[1:], fillvalue=math.inf):
                arrivals = [column for column in accepted.get(pair, []) if start <= column < following]
                yield MessagePath(*pair, start, arrivals[0] if arrivals else None)

    def longest_pause(self) -> tuple[int, float] | None:
        pauses = [(after - before, column) for column, (before, after) in enumerate(pairwise(self.instants), 1)]
        seconds, column = max(pauses, default=(0, 0))
        return (column, seconds) if pauses and seconds > (self.instants[-1] - self.instants[0]) / 2 else None

    def columns(self, events: list[Event]) -> dict[tuple[str, str], list[int]]:
        """(client, message) -> the columns of such events."""
        found = {}
        for event in events:
            found.setdefault((event.who, event.message), []).append(self.column(event.time))
        return found

    def column(self, time: float) -> int:
        """The column of an instant. For a time at which nothing happens, that of the next instant."""
        return bisect_left(self.instants, time)
