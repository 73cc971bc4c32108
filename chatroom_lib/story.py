"""The way of every message through one run, for the space-time diagram: from who says it to the room, and on to who hears
it. Moments are counted, not timed: each moment at which something happens is one place to the right of the last.
"""

from bisect import bisect_left
from typing import NamedTuple

from chatroom_lib.trace import Trace

KINDS = ("joined", "said", "accepted", "heard", "sending", "overlap", "removed", "left", "vanished", "lost")


class Way(NamedTuple):
    """Of one message between one client and the room."""

    who: str  # the client
    message: str
    start: int  # the place where it is sent off
    stop: int | None = None  # where it arrives; None: it never does


class Story:
    """The ways to the room (`spoken`), from it (`passed_on`), those of the latter that a later message has `overtaken`,
    and what the room has read while a client was in its pool and never begun to send to it (`withheld`)."""

    def __init__(self, trace: Trace):
        self.moments = sorted({event.time for event in trace.of(*KINDS)})
        said = [event.message for event in trace.of("said")]
        accepted = {event.message: self.place(event.time) for event in reversed(trace.of("accepted"))}
        sent = {(event.who, event.message): self.place(event.time) for event in reversed(trace.of("sending", "overlap"))}
        heard = {(event.who, event.message): self.place(event.time) for event in reversed(trace.of("heard"))}
        refused = {event.message for event in trace.of("refused")}

        self.spoken = [
            Way(event.who, event.message, self.place(event.time), accepted.get(event.message))
            for event in trace.of("said")
        ]
        ways = [key for key in dict.fromkeys([*sent, *heard]) if key[1] in accepted and key[1] in said]
        self.passed_on = [Way(*key, sent.get(key, accepted[key[1]]), heard.get(key)) for key in ways]
        self.withheld = [
            Way(who, message, accepted[message])
            for who, start, stop in trace.memberships()
            for message in dict.fromkeys(said)
            if message in accepted and message not in refused and (who, message) not in ways
            and self.place(start) <= accepted[message] < self.place(stop)
        ]  # fmt: skip
        self.overtaken = []
        latest = {}  # client -> the latest that it has heard, by when the room read it
        for way in sorted((way for way in self.passed_on if way.stop is not None), key=lambda way: way.stop):
            if accepted[way.message] < latest.get(way.who, 0):
                self.overtaken.append(way)
            latest[way.who] = max(accepted[way.message], latest.get(way.who, 0))

    def place(self, time: float) -> int:
        """The place of a moment; of one at which nothing happens, that of the next."""
        return bisect_left(self.moments, time)
