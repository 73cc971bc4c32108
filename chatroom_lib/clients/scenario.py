"""Simulated people, and the scenarios they play.

A client is a description: when it joins, how much it says, how fast it reads, and how it leaves. The same description
runs on real sockets (`live`) and in the simulation (`simulate`).
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Literal
from urllib.parse import parse_qs, urlsplit

from chatroom_lib.message import check_encodable
from chatroom_lib.trace import LOG

NEVER = float("inf")
MOST_SERVERS = 9
SMALL_BUFFER = 4096  # bytes in each buffer between a room and a client, in runs live and simulated


@dataclass(frozen=True)
class Client:
    """One person. Times are in seconds; `joins`, `leaves` and `vanishes` count from the start of the run.

    Make one with the functions below.
    """

    name: str
    joins: float | None = None  # None: as soon as the client before it that has no time of its own is in
    says: int = 0  # how many messages
    starts: float = 0.2  # seconds from joining to its first message
    every: float = 0.1  # seconds from one message to the next
    at: Iterable[float] = ()  # seconds from joining to each message, instead of the three above; kept as a tuple
    size: int = 1000  # characters in a message
    texts: Sequence[str] = ()  # what it says, one after the other, instead of numbers; kept as a tuple
    pause: float = 0.0  # seconds between two messages read; NEVER: it does not read at all
    hurries: float = NEVER  # when it begins to read at once what a slow reader has not read yet
    leaves: float = NEVER  # when it closes its connection politely
    vanishes: float = NEVER  # when it resets its connection, as a program that is killed may do
    latency: float = 0.0  # seconds that everything travels longer to it, and from it, than to others
    dark: float = NEVER  # when its line goes dark: nothing passes, and nobody is told
    light: float = NEVER  # when something passes again, and what was sent meanwhile arrives
    returns: bool = False  # whenever its connection ends, it comes back, and says again what it has not heard itself
    away: Sequence[tuple[float, float]] = ()  # (from, until) when it is out of reach; kept as a tuple. Then it returns
    silently: bool = False  # when it goes away nobody is told: its line is dead ("half-open"), not cut
    patience: float = 10.0  # seconds that it waits for its connection to be made, before it gives up
    resumes: bool = False  # it says what it has heard whenever it connects, and asks for the rest. Then it returns
    path: str = "/chatroom"  # what it asks the server for, the query included
    headers: Sequence[tuple[str, str]] = ()  # (name, value) of its handshake, beside the usual ones; kept as a tuple
    first: str | bytes | None = None  # a frame that it sends whenever it has connected, before anything else

    def __post_init__(self):
        object.__setattr__(self, "at", tuple(self.at))
        object.__setattr__(self, "texts", tuple(self.texts))
        if self.texts:
            object.__setattr__(self, "says", len(self.texts))
            if self.at and len(self.at) != self.says:
                raise ValueError(f"{self.name}: {self.says} texts for {len(self.at)} times")
        object.__setattr__(self, "away", tuple(map(tuple, self.away)))
        object.__setattr__(self, "headers", tuple(map(tuple, self.headers)))
        if self.name.split() != [self.name]:
            raise ValueError(f"a client's name must be one word, not {self.name!r}")
        check_encodable(self.name, f"the client's name {self.name!r}")
        numbers = [self.joins or 0, self.says, self.starts, self.every, self.size, self.pause, self.latency, *self.at]
        if not all(number >= 0 for number in numbers):  # nor is NaN
            raise ValueError(f"{self.name}: times, counts and sizes must not be negative")
        if not self.patience > 0:
            raise ValueError(f"{self.name}: a client's patience must be more than 0 seconds, not {self.patience!r}")
        if self.light < self.dark:
            raise ValueError(f"{self.name}: `light` must not come before `dark`")
        moments = list(itertools.chain(*self.away))
        if any(len(span) != 2 for span in self.away) or moments != sorted(set(moments)) or NEVER in moments:
            raise ValueError(f"{self.name}: `away` must be (from, until), one after the other, not {self.away!r}")
        if (self.away or self.resumes) and not self.returns:
            raise ValueError(f"{self.name}: only a client that returns can {'be away' if self.away else 'resume'}")
        if self.silently and (not self.away or self.dark < NEVER):
            raise ValueError(f"{self.name}: `silently` is how it goes `away`, and goes with no `dark`")
        if self.resumes and "since" in parse_qs(urlsplit(self.path).query, keep_blank_values=True):
            raise ValueError(f"{self.name}: a client that resumes says itself what it has heard, not in {self.path!r}")
        if not self.path.startswith("/"):
            raise ValueError(f"{self.name}: a path begins with a slash, unlike {self.path!r}")

    @property
    def send_times(self) -> list[float]:
        """When it speaks: seconds from joining to each message."""
        return sorted(self.at) or [self.starts + number * self.every for number in range(self.says)]

    def text(self, number: int) -> str:
        """What it says in its message of that number, counted from 1."""
        return self.texts[number - 1] if self.texts else f"{number} ".ljust(self.size, ".")

    def may_have_said(self, content: str) -> bool:
        """Is this one of its messages?"""
        if self.texts:
            return content in self.texts
        number = content.partition(" ")[0]
        return number.isdecimal() and len(number) <= 9 and content == self.text(int(number))

    @property
    def prompt(self) -> bool:
        """Does it read every message at once?"""
        return self.pause == 0

    @property
    def dies_silently(self) -> bool:
        """Does its line go dark for good?"""
        return self.dark < NEVER == self.light


def talker(name: str, says: int = 20, **changes) -> Client:
    """Says `says` messages, one every `every` seconds, and reads promptly."""
    return Client(name, says=says, **changes)


def listener(name: str, **changes) -> Client:
    """Says nothing and reads promptly."""
    return Client(name, **changes)


def late_joiner(name: str, joins: float, **changes) -> Client:
    """A listener that joins at second `joins` of the run."""
    return Client(name, joins=joins, **changes)


def slow_reader(name: str, pause: float = 0.2, **changes) -> Client:
    """Reads one message, then does something else for `pause` seconds."""
    return Client(name, pause=pause, **changes)


def frozen(name: str, **changes) -> Client:
    """A program that hangs: it keeps its connection open, never reads, and answers no ping. With `vanishes=3` it is
    killed at second 3."""
    return Client(name, pause=NEVER, **changes)


def vanishing(name: str, vanishes: float, **changes) -> Client:
    """Reads promptly until it resets its connection, at second `vanishes` of the run: in the middle of the handshake,
    if it is still joining then."""
    return Client(name, vanishes=vanishes, **changes)


def unplugged(name: str, dark: float, light: float = NEVER, **changes) -> Client:
    """Reads promptly. From second `dark` of the run to second `light` nothing passes on its line; nobody is told."""
    return Client(name, dark=dark, light=light, **changes)


def commuter(name: str, away: Sequence[tuple[float, float]] = (), **changes) -> Client:
    """Reads promptly, and comes back whenever its connection has ended: after a tunnel, from second 2 to second 4 of
    the run (`away=[(2, 4)]`), or when the server was down. It waits before each attempt, at random and longer from one
    to the next, and says again what it has not heard itself. Each of its messages has an `id` of its own.
    `silently=True`: the tunnel swallows its connection, and the server is not told."""
    return Client(name, away=away, returns=True, **changes)


def leaving(name: str, leaves: float, **changes) -> Client:
    """Reads promptly until it closes its connection politely, at second `leaves` of the run."""
    return Client(name, leaves=leaves, **changes)


def flooder(name: str, says: int = 1000, **changes) -> Client:
    """Says `says` short messages as fast as its connection takes them."""
    return Client(name, says=says, **{"every": 0.0, "size": 20, **changes})


def typist(name: str, *lines: str, speed: float = 4.3, **changes) -> Client:
    """Types these lines without a pause, `speed` characters a second, and the Enter after each.

    The default is the mean speed of 168,000 volunteers, 52 words of 5 characters a minute. (Dhakal, Feit, Kristensson
    and Oulasvirta, "Observations on Typing from 136 Million Keystrokes", CHI 2018.)
    """
    if not speed > 0:
        raise ValueError(f"{name}: the speed of typing must be more than 0 characters a second, not {speed!r}")
    at = tuple(itertools.accumulate((len(line) + 1) / speed for line in lines))
    return Client(name, at=at, **{"size": 20, **changes})


@dataclass(frozen=True)
class Kill:
    """The server's process is killed, as by `kill -9`, and started again: a new room, on the same files."""

    at: float  # seconds from the start of the run
    back_after: float = 0.5  # seconds until it is started again; NEVER: it is not
    power: bool = False  # the power is cut: what had not reached the medium is lost as well; simulated runs only
    disk: bool = False  # the disk is lost as well: the new room finds no file
    politely: bool = False  # it is told to stop, as by SIGTERM: the room may say goodbye
    server: int | Literal["log"] = (
        0  # which one, counted from 0; LOG: the NATS server, which has the log that they share
    )

    def __post_init__(self):
        if self.politely and (self.power or self.disk):
            raise ValueError(f"a server that is told to stop loses neither power nor disk: not {self!r}")
        if not (0 <= self.at < NEVER and self.back_after >= 0):
            raise ValueError(f"a kill needs a time from 0 on, and one until the server is back: not {self!r}")


@dataclass(frozen=True)
class Cut:
    """A server cannot reach the NATS server, nor be reached by it: nothing passes on that line, and nobody is told."""

    since: float  # seconds from the start of the run
    until: float  # what was sent meanwhile arrives then
    server: int = 0  # which one, counted from 0

    def __post_init__(self):
        if not 0 <= self.since < self.until < NEVER:
            raise ValueError(f"a server is cut off from one time to a later one: not {self!r}")


@dataclass(frozen=True)
class Pause:
    """A server stands still, as a process does that gets a SIGSTOP, or whose machine has other things to do."""

    at: float  # seconds from the start of the run
    seconds: float
    server: int = 0  # which one, counted from 0

    def __post_init__(self):
        if not (0 <= self.at < NEVER and 0 < self.seconds < NEVER):
            raise ValueError(f"a server stands still at one time for some seconds: not {self!r}")


@dataclass(frozen=True)
class Scenario:
    """Which clients meet, for how long, and what happens to the server. Both for `simulate(room, scenario, seed)` and
    `live(room, scenario)`."""

    clients: Sequence[Client]  # kept as a tuple
    duration: float = 3.0  # seconds after which the run ends (a simulated one earlier, if nothing can happen)
    kills: Sequence[Kill] = ()  # of the server, in the order of time; kept as a tuple
    keep: int | None = None  # messages that the room is to keep, if it takes a `keep`; None: as many as it likes
    handshake: float = 0.0  # seconds that each handshake keeps the room's processor busy; simulated runs only
    servers: int = 1  # rooms beside each other, with one log; people come to them in turn, and return to the next one
    cuts: Sequence[Cut] = ()  # of these servers from the NATS server; kept as a tuple
    pauses: Sequence[Pause] = ()  # of these servers; kept as a tuple
    sync_interval: float = 0.0  # seconds from one write of the NATS server to its disk to the next; 0: always at once

    def __post_init__(self):
        object.__setattr__(self, "clients", tuple(self.clients))
        object.__setattr__(self, "kills", tuple(self.kills))
        object.__setattr__(self, "cuts", tuple(self.cuts))
        object.__setattr__(self, "pauses", tuple(self.pauses))
        if not (isinstance(self.servers, int) and 1 <= self.servers <= MOST_SERVERS):
            raise ValueError(f"a scenario has 1 to {MOST_SERVERS} servers, not {self.servers!r}")
        for number in dict.fromkeys(each.server for each in (*self.kills, *self.cuts, *self.pauses)):
            if number not in (*range(self.servers), LOG):
                raise ValueError(f"there is no server {number!r}: they are counted from 0")
            moments = [moment for kill in self.kills_of(number) for moment in (kill.at, kill.at + kill.back_after)]
            if moments != sorted(moments) or NEVER in moments[:-1]:
                raise ValueError(f"a server can be killed only while it runs: not {list(self.kills)!r}")
        if len({cut.server for cut in self.cuts}) < len(self.cuts):
            raise ValueError("a server can be cut off once")
        if not 0 <= self.sync_interval < NEVER:
            raise ValueError(f"from one write to the disk to the next it is 0 s or more, not {self.sync_interval!r}")
        if self.servers > 1 and any(kill.power or kill.disk for kill in self.kills if kill.server != LOG):
            raise ValueError("several servers share one disk: one alone cannot lose it, nor its power")
        names = [client.name for client in self.clients]
        if len(set(names)) < len(names):
            raise ValueError(f"two clients of one name: {', '.join(names)}")
        if self.keep is not None and not (isinstance(self.keep, int) and self.keep >= 1):
            raise ValueError(f"a room can keep 1 message or more, not {self.keep!r}")
        if not 0 <= self.handshake < NEVER:
            raise ValueError(f"a handshake takes 0 seconds or more, not {self.handshake!r}")
        if not 0 < self.duration < NEVER:
            raise ValueError(f"a scenario's duration must be a positive number of seconds, not {self.duration!r}")

    def kills_of(self, server: int | Literal["log"]) -> list[Kill]:
        return [kill for kill in self.kills if kill.server == server]

    @property
    def all_prompt(self) -> bool:
        """Does everybody read every message at once?"""
        return all(client.prompt for client in self.clients)

    def lasting(self, duration: float) -> "Scenario":
        return replace(self, duration=duration)


def make_scenario(scenario: Scenario | Callable[[Random], Scenario], rng: Random) -> Scenario:
    """The Scenario that this is, or that this function makes. Raises TypeError if it is and makes none."""
    require_scenario(scenario)
    if isinstance(scenario, Scenario):
        return scenario
    made = scenario(rng)
    if not isinstance(made, Scenario):
        raise TypeError(f"a function that stands for a scenario must return a Scenario, not {made!r:.80}")
    return made


def require_scenario(scenario: object) -> None:
    """Raises TypeError if this is neither a Scenario nor may be a function that makes one."""
    if not isinstance(scenario, Scenario) and not callable(scenario):
        hint = '; those of check() are scenarios.SCENARIOS["healthy"] and so on' if isinstance(scenario, str) else ""
        wanted = "a Scenario, or a function that makes one of a random.Random"
        raise TypeError(f"a scenario must be {wanted}, not {scenario!r:.80}{hint}")
