"""What happened in one run: events in the order of time, and the figures read from them."""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple, Self

from chatroom_lib.trace.deadlock import cycle
from chatroom_lib.trace.matching import Sayings
from chatroom_lib.trace.records import LOG, Event, LeakReport, MemorySample, Use, Wait


def percentile(sorted_values: list[float], percent: float) -> float:
    """The smallest value that at least `percent` % of the values do not exceed (the nearest-rank method)."""
    return sorted_values[max(0, math.ceil(len(sorted_values) * percent / 100) - 1)]


def running_count(changes: Iterable[tuple[float, int]]) -> list[tuple[float, int]]:
    """(time, count) at the start and after each (time, change), which come in the order of time."""
    counts = [(0.0, 0)]
    for time, change in changes:
        counts.append((time, counts[-1][1] + change))
    return counts


ENDS = ("left", "vanished", "away", "lost")  # the kinds of events with which a connection ends


ROOM = "room"  # what a Trace calls the server


class Visit(NamedTuple):
    """One connection of a client's."""

    joined: float  # seconds since the run began
    ended: float = math.inf
    how: str = ""  # one of ENDS; "" if it is open at the end of the run
    server: str = ROOM  # what `Trace.server_name` calls it


def entered_at(removed: Event) -> float | None:
    """When the connection had entered the pool that was removed; None if the client had no other."""
    return float(removed.message.rpartition(" ")[2]) if removed.message else None


def opened_for(visits: list[Visit], time: float) -> float:
    """When the connection was opened that a client had at that time."""
    return max((visit.joined for visit in visits if visit.joined <= time), default=-math.inf)


def is_certain(event: Event, said: Event, alike: set[str]) -> bool:
    """Is it that message which the event is about, and no other that looks the same?"""
    return said.message not in alike or event.id == said.id is not None


@dataclass
class Trace:
    """One run. `simulate` and `live` make it, plots and guarantees read it."""

    room: str  # its name: "v1.1"
    clients: tuple  # the scenario's clients, in its order
    seed: int | None = None  # None: a live run
    events: list[Event] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)  # of the room's locks, queues and channels, in the order of asking
    depths: dict[str, list] = field(default_factory=dict)  # queue -> (time, messages in it) after each change
    writes: Counter = field(default_factory=Counter)  # client -> how often the server wrote to its connection
    pings: Counter = field(default_factory=Counter)  # client -> how often the server has pinged it
    memory: list[MemorySample] = field(default_factory=list)  # what the room held every now and then; simulated
    leak: LeakReport | None = None  # what the room has not let go of at the end; simulated
    exit_error: BaseException | None = None  # what the room's `__aexit__` raised after the end; simulated
    left_tasks: list[str] = field(default_factory=list)  # the room's tasks that went on after that; simulated
    waits: list[Wait] = field(default_factory=list)  # where the room's tasks were suspended at the end
    errors: list[BaseException] = field(default_factory=list)  # exceptions in the room that nobody handled
    duration: float = 0.0  # seconds, virtual ones in a simulated run
    schedule: str = "fifo"  # "any": in what order ready tasks ran, the seed decided; asyncio would not do that
    keepalive: float | None = None  # seconds from one ping of the server's to the next; None: it sends none
    servers: int = 1  # rooms beside each other
    threads: int = 0  # how many the room has started: of those that race, no seed decides which comes first; simulated
    ending: str = ""  # "time is up", or for a simulated run "quiescent", "livelocked" or "blocks the event loop"
    wire: Any = field(default=None, compare=False, repr=False)  # what the frames look like, if not as this library's do
    clock: Callable[[], float] | None = None  # seconds since the run began; None before and after
    # The index that `of` makes: (kind, who or None) -> which events, and how many events are in it.
    places: defaultdict[tuple, list[int]] = field(default_factory=lambda: defaultdict(list), compare=False)
    indexed: int = field(default=0, compare=False)
    matched: dict[tuple, list] = field(default_factory=dict, compare=False)  # what `about` has found in these

    def start_clock(self, loop) -> None:
        time, start = loop.time, loop.time()
        self.clock = lambda: time() - start

    def finish(self, ending: str, waits: list, errors: list, settled: list = ()) -> None:
        """Freeze the trace: anything later is teardown and is not recorded. `settled`: errors that were handled after
        all, late."""
        self.duration, self.clock = self.clock(), None
        in_time = [event for event in self.events if event.time <= self.duration]
        self.events = sorted(in_time, key=attrgetter("time"))
        self.forget_index()
        self.ending, self.waits = ending, waits
        self.errors = [error for error in errors if not any(error is other for other in settled)]

    def record(
        self,
        kind: str,
        who: str,
        message: str = "",
        seq: int | None = None,
        id: str | None = None,
        *,
        not_before: float = 0.0,
    ) -> None:
        if self.clock:
            self.events.append(Event(max(self.clock(), not_before), kind, who, message, seq, id))

    def now(self) -> float | None:
        """Seconds since the run began; None before and after."""
        return self.clock() if self.clock else None

    def ask(self, what: str, how: str, who: str | None, doing: str) -> Use:
        """A new Use, from now on."""
        if not self.clock:
            return Use(what, how, who, doing, 0.0)
        self.uses.append(Use(what, how, who, doing, self.clock()))
        return self.uses[-1]

    def note_depth(self, queue: str, messages: int) -> None:
        if self.clock:
            self.depths.setdefault(queue, []).append((self.clock(), messages))

    def of(self, *kinds: str, who: str | None = None) -> list[Event]:
        """The events of these kinds, in order of time; only those of `who`, if given."""
        self.index()
        found = [self.places.get((kind, who), []) for kind in dict.fromkeys(kinds)]
        return [self.events[place] for place in (found[0] if len(found) == 1 else sorted(chain(*found)))]

    def index(self) -> None:
        """Add to the index the events that are new since the last time."""
        if self.indexed > len(self.events):
            self.forget_index()
        places, events = self.places, self.events
        for place in range(self.indexed, len(events)):
            _, kind, who, *_ = events[place]
            places[kind, who].append(place)
            places[kind, None].append(place)
        if self.indexed < len(events):
            self.matched.clear()
        self.indexed = len(events)

    def forget_index(self) -> None:
        self.indexed = 0
        self.places.clear()
        self.matched.clear()

    def changed(self, **fields) -> Self:
        """The same run with other clients or events."""
        return replace(self, places=defaultdict(list), indexed=0, matched={}, **fields)

    def about(self, kind: str, who: str) -> list[tuple[Event, int | None]]:
        """The events of this kind of `who`, each with the message that it is about: its place in `of("said")`. None: no
        client has said it. Two messages that look the same are two."""
        self.index()
        if (kind, who) not in self.matched:
            events = self.of(kind, who=who)
            sayings = self.matched.setdefault(("said", None), Sayings(self.of("said")))
            refused = self.messages("refused") if kind == "heard" else ()
            self.matched[kind, who] = list(zip(events, sayings.match(events, refused)))
        return self.matched[kind, who]

    def messages(self, kind: str) -> set[int]:
        """The messages, by their places in `of("said")`, about which there are events of this kind."""
        people = dict.fromkeys(event.who for event in self.of(kind))
        return {place for who in people for _, place in self.about(kind, who) if place is not None}

    def in_since(self, name: str, entered: float) -> str:
        """What is noted of a client's connection that is removed, to tell it from others of the same client: when it
        had entered the pool. "" if there was no other. `entered_at` reads it."""
        return f"in since {entered!r}" if len(self.of("entered", who=name)) > 1 else ""

    def server_name(self, number: int) -> str:
        """What the Trace calls the server of that number, counted from 0: "room", or if there are several, "room 1"."""
        return ROOM if self.servers == 1 else f"{ROOM} {number + 1}"

    def which(self, server: int) -> str:
        """The same, where that needs saying: "" if there is only one."""
        return "" if self.servers == 1 else self.server_name(server)

    @property
    def names(self) -> list[str]:
        return [client.name for client in self.clients]

    # ------------------------------------------------------------ figures

    def heard(self, name: str) -> list[str]:
        """The messages that `name` heard, in its order."""
        return [event.message for event in self.of("heard", who=name)]

    def latencies(self) -> list[tuple[Event, float]]:
        """For each message heard: the event, and the seconds since its speaker began to send it. What was said before
        the listener's connection was opened is history, and not late. Nor can it be told of one that looks like another
        and has no `id`."""
        said, visits, alike = self.of("said"), self.visits(), self.alike()
        found = [
            (event, said[place]) for event, place in self.in_order("heard") if is_certain(event, said[place], alike)
        ]
        live = [(event, first) for event, first in found if first.time >= opened_for(visits[event.who], event.time)]
        return [(event, event.time - first.time) for event, first in live]

    def alike(self) -> set[str]:
        """What the Trace calls more than one message."""
        return {message for message, times in Counter(event.message for event in self.of("said")).items() if times > 1}

    def in_order(self, kind: str) -> list[tuple[Event, int]]:
        """The events of this kind that are about a client's message, in order of time, each with that."""
        places = {}
        for who in dict.fromkeys(event.who for event in self.of(kind)):
            places[who] = iter(self.about(kind, who))
        found = [next(places[event.who]) for event in self.of(kind)]
        return [(event, place) for event, place in found if place is not None]

    def pool_size(self) -> list[tuple[float, int]]:
        """(time, connections in the pool) at the start and after each change."""
        events = self.of("entered", "removed")
        return running_count((event.time, 1 if event.kind == "entered" else -1) for event in events)

    def memberships(self) -> list[tuple[str, float, float]]:
        """(name, from, to) for each time that somebody was in the pool."""
        since, spans = {}, []  # name -> when those of its connections entered that are in the pool
        for event in self.of("entered", "removed"):
            if event.kind == "entered":
                since.setdefault(event.who, []).append(event.time)
            else:
                start = entered_at(event) or since[event.who][0]
                since[event.who].remove(start)
                spans.append((event.who, start, event.time))
        return spans + [(name, start, self.duration) for name, starts in since.items() for start in starts]

    def in_pool(self) -> list[str]:
        """The names of those in the pool at the end."""
        count = Counter(event.who for event in self.of("entered"))
        count.subtract(event.who for event in self.of("removed"))
        return [name for name, connections in count.items() if connections > 0]

    def sends_in_flight(self) -> list[tuple[float, int]]:
        """(time, sends that have begun and not returned) at the start and after each change."""
        begins, ends = ("sending", "overlap"), ("sent", "failed", "given up")
        return running_count((event.time, 1 if event.kind in begins else -1) for event in self.of(*begins, *ends))

    def failed_per_broadcast(self) -> list[tuple[float, int]]:
        """(time, sends that failed) for each message that the room accepted, in that order."""
        failed = Counter(event.message for event in self.of("failed"))
        return [(event.time, failed[event.message]) for event in self.of("accepted")]

    def uses_of(self, what: str) -> list[Use]:
        """The uses of the lock, queue or channel called `what`. Raises ValueError if there are none."""
        uses = [use for use in self.uses if use.what == what]
        if not uses:
            known = ", ".join(dict.fromkeys(use.what for use in self.uses))
            raise ValueError(f"{self.room} did not use {what!r} in this run; what it used: {known or 'nothing'}")
        return uses

    def depth(self, what: str) -> list[tuple[float, int]]:
        """(time, messages) in a queue, or (time, tasks that wait) at a lock or a channel, after each change."""
        if what in self.depths:
            return [(0.0, 0), *self.depths[what]]
        changes = []
        for use in self.uses_of(what):
            end = use.given_up if use.got is None else use.got
            if end != use.asked and use.how != "get":
                changes += [(use.asked, 1)] + ([] if end is None else [(end, -1)])
        return running_count(sorted(changes))

    def join_waits(self) -> dict[str, float]:
        """For each client that joined: the seconds from its open connection to its place in the pool; infinity if it
        never got one."""
        entered = self.first("entered")
        return {who: max(0.0, entered.get(who, math.inf) - time) for who, time in self.first("joined").items()}

    def first(self, kind: str) -> dict[str, float]:
        """When an event of this kind first happened to each client."""
        times = {}
        for event in self.of(kind):
            times.setdefault(event.who, event.time)
        return times

    def visits(self) -> dict[str, list[Visit]]:
        """Client -> each time that it was connected, one after the other."""
        visits = {name: [] for name in self.names}
        for event in self.of("joined", *ENDS):
            theirs = visits.setdefault(event.who, [])
            if event.kind == "joined":
                theirs.append(Visit(event.time, server=event.message or ROOM))
            elif theirs and not theirs[-1].how:
                theirs[-1] = theirs[-1]._replace(ended=event.time, how=event.kind)
        return visits

    def gone(self) -> dict[str, float]:
        """Client -> when its connection ended, for those that are not connected at the end."""
        gone = {}
        for event in self.of("joined", "shut out", *ENDS):
            if event.kind == "joined":
                gone.pop(event.who, None)
            else:
                gone[event.who] = event.time
        return gone

    def evicted(self) -> dict[str, float]:
        """Client -> when it was evicted: removed from the pool while its connection was open. (A room that is killed
        evicts nobody, nor does one that lets go of somebody who gave up before they knew that they were connected.)"""
        visits, gone, killed = self.visits(), self.gone(), {event.time for event in self.of("killed")}

        def ended(event: Event) -> float:
            """When the connection ended that was removed then."""
            entered = entered_at(event) or 0.0
            ends = [visit.ended for visit in visits[event.who] if visit.ended > entered]
            return ends[0] if ends else gone.get(event.who, math.inf)

        given_up = {name: self.given_up(name).values() for name in self.names}
        removed = [event for event in self.of("removed") if event.who in self.names and event.time not in killed]
        removed = [event for event in removed if event.time not in given_up[event.who]]
        return {event.who: event.time for event in removed if event.time < ended(event)}

    def given_up(self, who: str) -> dict[float, float]:
        """The connections of `who` that it gave up before it knew that they were open: when they entered the pool ->
        when they were removed."""
        steps, found = self.of("entered", "joined", "knocked", *ENDS, who=who), {}
        theirs = [step for step in steps if step.kind != "entered"]
        for event in self.of("removed", who=who):
            entered = [each.time for each in steps if each.kind == "entered" and each.time <= event.time]
            came = entered_at(event) or max(entered, default=event.time)
            before = [each.kind for each in theirs if each.time <= came][-1:]
            after = [each.kind for each in steps if each.time > came][:1]
            if "knocked" in before + after and "joined" not in before + after:
                found[came] = event.time
        return found

    def noticed(self) -> dict[str, float]:
        """Clients whose line is dark for good and that are not in the pool at the end -> when they were removed. (One
        that was removed because its server was killed was noticed by nobody.)"""
        dead = [client.name for client in self.clients if client.dies_silently and client.name not in self.in_pool()]
        last = {event.who: event.time for event in self.of("removed")}
        killed = {event.time for event in self.of("killed")}
        return {name: last[name] for name in dead if name in last and last[name] not in killed}

    def departed(self) -> dict[str, float]:
        """Those that are gone, and those that the room has noticed to be: nothing of them should be left."""
        return {**self.gone(), **self.noticed()}

    def killed_between(self, since: float, until: float) -> bool:
        return any(since < event.time <= until for event in self.of("killed"))

    def cut_off(self, server: str) -> list[tuple[float, float]]:
        """From when until when this server could not reach the log that it shares with others: it was cut off, or the
        log's own server was down."""
        pairs = (("cut off", "reconnected", server), ("killed", "started", LOG))
        spans = []
        for begins, ends, who in pairs:
            until = [event.time for event in self.of(ends, who=who)] + [self.duration]
            spans += [
                (event.time, next(end for end in until if end >= event.time)) for event in self.of(begins, who=who)
            ]
        return sorted(spans)

    def disconnected(self) -> dict[str, float]:
        """Client -> when the room first ended a connection of theirs. (A kill is not the room's doing.)"""
        return {
            name: by_the_room[0].ended
            for name, visits in self.visits().items()
            if (by_the_room := [v for v in visits if v.how == "lost" and not self.killed_during(v)])
        }

    def killed_during(self, visit: Visit) -> bool:
        """Was its server killed while this connection was open, or was just being opened?"""
        up = True
        for event in self.of("killed", "started", who=visit.server):
            if event.time > visit.joined:
                return not up or (event.kind == "killed" and event.time <= visit.ended)
            up = event.kind == "started"
        return not up

    def deadlock(self) -> list[Wait]:
        """The shortest cycle of tasks, at the end of the run, each of which waits for the next, and the last for the
        first, and which nobody else can end; [] if there is none."""
        return cycle(self.waits)

    def orders(self) -> dict[str, list[str]]:
        """For each client that heard anything: the clients' messages in the order in which it first heard them. (What
        the room itself says is left out.)"""
        said = self.of("said")
        return {name: [said[place].message for place in order] for name, order in self.first_hearings().items()}

    def first_hearings(self) -> dict[str, list[int]]:
        """The same, with the places of the messages in `of("said")`."""
        orders = {name: dict.fromkeys(place for _, place in self.about("heard", name)) for name in self.names}
        orders = {name: [place for place in order if place is not None] for name, order in orders.items()}
        return {name: order for name, order in orders.items() if order}

    def lost(self) -> list[str]:
        """What somebody had heard before the server was killed, and what whoever came later and asked for the last
        messages (`?last=1000`) did not find. Raises ValueError if nobody did."""
        kills = self.of("killed")
        asking = {client.name for client in self.clients if "last=" in client.path}
        came = [event for event in self.of("joined") if event.who in asking and kills and event.time > kills[-1].time]
        if not came:
            raise ValueError("nobody has come after the last kill and asked for the last messages (?last=1000)")
        found = {event.message for event in self.of("heard", who=came[0].who) if event.time >= came[0].time}
        return [message for message in self.first_heard(kills[-1].time) if message not in found]

    def first_heard(self, until: float = math.inf) -> dict[str, float]:
        """Message -> when somebody first heard it, by that time."""
        events = (event for event in self.of("heard") if event.time <= until)
        return {event.message: event.time for event in reversed(list(events))}

    def disagreements(self) -> list[tuple[str, str, str, str]]:
        """(one, other, a, b): `one` heard message a before b, and `other` heard b before a.

        What comes of a history has its place there by its number. What was said again has none, nor has what looks like
        another message and has no `id`.
        """
        found, said, again = [], self.of("said"), self.messages("said again")
        orders = []
        for name, order in self.first_hearings().items():
            left_out = again | self.without_place(name)
            orders.append((name, [place for place in order if place not in left_out]))
        for index, (one, heard) in enumerate(orders):
            for other, others in orders[index + 1 :]:
                if others == heard:
                    continue
                rank = {message: number for number, message in enumerate(others)}
                common = [message for message in heard if message in rank]
                pairs = ((a, b) for a, b in zip(common, common[1:]) if rank[a] > rank[b])
                found += [(one, other, said[a].message, said[b].message) for a, b in pairs]
        return found

    def overtakings(self) -> Iterator[tuple[str, str, str]]:
        """(listener, earlier, later): messages of one speaker of which the listener heard the later one first. What has
        no place in the order, as for `disagreements`, is left out."""
        said, again = self.of("said"), self.messages("said again")
        for name, order in self.first_hearings().items():
            left_out, latest = again | self.without_place(name), {}
            for place in (place for place in order if place not in left_out):
                who = said[place].who
                if place < latest.get(who, -1):
                    yield name, said[place].message, said[latest[who]].message
                latest[who] = max(place, latest.get(who, -1))

    def without_place(self, name: str) -> set[int]:
        """The messages that `name` heard with a number, and that had been said before it was connected then; and those
        that cannot be told from others."""
        said, visits, alike = self.of("said"), self.visits()[name], self.alike()
        heard = [(event, place, said[place]) for event, place in self.about("heard", name) if place is not None]
        history = {
            p for event, p, first in heard if event.seq is not None and first.time < opened_for(visits, event.time)
        }
        return history | {place for event, place, first in heard if not is_certain(event, first, alike)}

    def to_pass_on(self) -> list[Event]:
        """The messages that must be passed on: not those refused, nor those of a departed client that were not read."""
        said = self.of("said")
        return [said[place] for place in self.due()]

    def due(self) -> list[int]:
        """Their places in `of("said")`."""
        refused, accepted, gone = self.messages("refused"), self.messages("accepted"), self.gone()
        said = [(place, event) for place, event in enumerate(self.of("said")) if place not in refused]
        return [place for place, event in said if place in accepted or event.who not in gone]

    def missed(self, on_the_way: float = 0.0) -> dict[str, list[str]]:
        """For each client that joined: the messages that were said while it was connected, in the pool or kept out of
        it, and that it has not heard. A client that is evicted or disconnected misses all that is said from then on.

        `on_the_way`: seconds that a message may take. One that was said so shortly before a connection was cut, or the
        server killed, is not counted.
        """
        said, missed = self.of("said"), {}
        due = [(place, self.said_at(place)) for place in self.due()]
        for who, spans in self.reach(on_the_way).items():
            heard = {place for _, place in self.about("heard", who)}
            theirs = (place for place, time in due if any(since < time < until for since, until in spans))
            if spans:
                missed[who] = [said[place].message for place in theirs if place not in heard]
        return missed

    def said_at(self, place: int) -> float:
        """When the message was said, or of what is said again, said so that it was written to the room's history: what
        was said before was lost on the way."""
        first = self.of("said")[place]
        again = [event.time for event, which in self.about("said again", first.who) if which == place]
        written = [event.time for event, which in self.about("written", first.who) if which == place] if again else []
        return max([first.time, *(time for time in again if written and time <= min(written))])

    def reach(self, on_the_way: float = 0.0) -> dict[str, list[tuple[float, float]]]:
        """Client -> from when until when messages should reach it, a pair for each of its visits: for ever, if the room
        has ended its last one. `on_the_way`: as for `missed`."""
        gone, reach = self.gone(), {}
        for who, visits in self.visits().items():
            given_up = self.given_up(who)
            entered = [event.time for event in self.of("entered", who=who) if event.time not in given_up]
            reach[who], before = [], -math.inf
            for visit in visits:  # the room may let a client in before the client knows that it is connected
                since = next((time for time in entered if before < time <= visit.ended), visit.joined)
                before = visit.ended
                by_the_room = visit.how == "lost" and who in gone and not self.killed_during(visit)
                reach[who].append((since, math.inf if by_the_room else visit.ended - on_the_way))
        return reach

    def undelivered(self) -> dict[str, list[str]]:
        """Messages that a prompt reader who is still connected should have received but has not.

        A prompt reader that was never admitted is listed too (with an empty list if nothing was said).
        """
        prompt = {client.name for client in self.clients if client.prompt and not client.dies_silently}
        gone, entered = self.gone(), self.first("entered")
        return {
            who: missed
            for who, missed in self.missed().items()
            if who in prompt and who not in gone and (missed or who not in entered)
        }

    @property
    def stuck(self) -> bool | None:
        """Is a message to a prompt reader undelivered, and can it never arrive?

        True if tasks of the room wait for each other in a cycle, or if nothing can happen any more and a task of the
        room is blocked by more than the slowness of its own visitor. None if that cannot be told: of a live run, or of
        one whose time was up.
        """
        if self.seed is None:
            return None
        if not self.undelivered():
            return False
        if self.deadlock():
            return True
        blocked = any(wait.blocked and (wait.on is None or wait.on != wait.visitor) for wait in self.waits)
        return blocked if self.ending == "quiescent" else None

    # ------------------------------------------------------------ as text

    def digest(self) -> str:
        """A fingerprint of the run: equal for equal runs, to the last digit of every time."""
        text = "\n".join(f"{e.time!r} {e.kind} {e.who} {e.message}{e.seq or ''}" for e in self.events)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def as_dict(self) -> dict:
        """All of it but `clients`, as lists, dictionaries, texts and numbers: for JSON."""
        from chatroom_lib.trace.plain import to_plain  # which needs this module

        return to_plain(self)

    def __repr__(self):
        how = "live" if self.seed is None else f"seed {self.seed}"
        counts = Counter(event.kind for event in self.events)
        parts = [f"{counts['said']} said", f"{counts['heard']} heard"]
        if evicted := self.evicted():
            parts.append(f"evicted: {', '.join(evicted)}")
        parts += [
            f"{counts[kind]} {kind}" for kind in ("refused", "garbled", "altered", "lost", "collected") if counts[kind]
        ]
        if self.stuck:
            parts.append("STUCK")
        if self.errors:
            parts.append(f"{len(self.errors)} errors")
        if self.threads:
            parts.append(f"{self.threads} threads, so that the seed alone does not decide")
        if self.schedule == "any":
            parts.append("tasks in any order")
        if self.keepalive:
            parts.append(f"keepalive {self.keepalive:g} s")
        return f"<Trace of {self.room}, {how}, {self.duration:.2f} s: {', '.join(parts)}; {self.ending}>"
