"""The way of every message through one run, for the space-time diagram: from who says it to the room, and from there to
who hears it. Moments are counted, not timed: each at which something happens is one place to the right of the last.
"""

from bisect import bisect_left
from typing import NamedTuple

from chatroom_lib.trace import Event, Trace

KINDS = ("joined", "said", "accepted", "heard", "sending", "overlap", "removed", "left", "vanished", "lost")


class MessagePath(NamedTuple):
    """Of one message between one client and the room."""

    who: str  # the client
    message: str
    start: int  # the place where it is sent off
    stop: int | None = None  # where it arrives; None: it never does


class SpaceTimeDiagram:
    """The ways to the room (`spoken`), from it (`passed_on`), those of the latter that a later message has `overtaken`,
    what the room has read while a client was in its pool and never begun to send to it (`withheld`), and which messages
    it has `refused`."""

    def __init__(self, trace: Trace):
        self.moments = sorted({event.time for event in trace.of(*KINDS)})
        said, self.refused = trace.of("said"), {event.message for event in trace.of("refused")}
        accepted = {event.message: self.place(event.time) for event in reversed(trace.of("accepted"))}
        sent, heard = self.firsts(trace.of("sending", "overlap")), self.firsts(trace.of("heard"))
        ours = [event.message for event in said if event.message in accepted]
        ways = [(who, message) for who, message in dict.fromkeys([*sent, *heard]) if message in ours]

        self.spoken = [MessagePath(e.who, e.message, self.place(e.time), accepted.get(e.message)) for e in said]
        self.passed_on = [MessagePath(*way, sent.get(way, accepted[way[1]]), heard.get(way)) for way in ways]
        self.passed_on.sort(key=lambda way: way.start)
        self.withheld = [
            MessagePath(who, message, accepted[message])
            for who, start, stop in trace.memberships()
            for message in ours
            if self.place(start) <= accepted[message] < self.place(stop)
            and message not in self.refused
            and (who, message) not in ways
        ]
        self.overtaken = []
        latest = {}  # client -> the latest that it has heard, by when the room read it
        for way in sorted((way for way in self.passed_on if way.stop is not None), key=lambda way: way.stop):
            if accepted[way.message] < latest.get(way.who, 0):
                self.overtaken.append(way)
            latest[way.who] = max(accepted[way.message], latest.get(way.who, 0))

    def firsts(self, events: list[Event]) -> dict[tuple[str, str], int]:
        """(who, message) -> the place where such a thing first happened."""
        return {(event.who, event.message): self.place(event.time) for event in reversed(events)}

    def place(self, time: float) -> int:
        """The place of a moment; of one at which nothing happens, that of the next."""
        return bisect_left(self.moments, time)
