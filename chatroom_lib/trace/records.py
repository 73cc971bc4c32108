"""What a Trace is made of: plain records, without a line of analysis."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from chatroom_lib.message import Message

KINDS = {
    # noted by the client
    "joined": "its connection is open",
    "shut out": "it could not connect; why",
    "said": "it begins to send a message",
    "heard": "it has received a message",
    "refused": "the room told it that its message will not be passed on",
    "garbled": "it has received a frame that is not a message; what it looks like",
    "altered": "it has received a message of somebody's that is not what they said; what it looks like",
    "left": "it closes its connection politely",
    "vanished": "it resets its connection",
    "lost": "its connection was ended by the other side; the code and the reason that the room gave",
    "away": "its connection is cut, and it will come back",
    "knocked": "it could not connect, and will try again; why",
    "said again": "it begins to send a message once more",
    "acknowledged": "it has heard its own message, under the id that it has given it",
    "welcomed": "the room has told it after which number of its history it hears on; the history's epoch",
    "told a gap": "with that, which numbers nobody can give it any more, both ends; no first one: of another history",
    # noted at the server's end of its connection
    "accepted": "the room has read its message",
    "sending": "the room begins to send it a message",
    "overlap": "the same, while an earlier send to it has not returned",
    "sent": "that send has returned",
    "failed": "that send has raised ConnectionClosed",
    "given up": "that send was cancelled",
    # read from the room
    "written": "its message is committed to the room's history, and the room has not been told yet",
    "entered": "it is in the room's pool from now on",
    "removed": "it is not in the pool any more",
    "error": "an exception in the room that nobody had handled by then",
    "blocked": "the room has blocked the event loop; for how long, and where",
    "killed": "the server's process is killed; whether its files are lost",
    "started": "it has been started again, as a new room",
    "cut off": "from now on it cannot reach the log that it shares with other servers",
    "reconnected": "now it can again",
    "collected": "a task of the room's that nothing referred to was garbage-collected before its end",
}


DISK_LOST = "and its files are lost"  # of "killed"
LOG = "log"  # what a Trace calls the NATS server


class Event(NamedTuple):
    time: float  # seconds since the run began
    kind: str  # one of KINDS
    who: str  # the name of the client it happens to
    message: str = ""  # who said it and its first word: "Ann 3"; what else there is to say of some kinds
    seq: int | None = None  # the number that the room has given it, or told
    id: str | None = None  # the name that its speaker has given it

    def __str__(self):
        number = "" if self.seq is None else f"  #{self.seq}"
        return f"{self.time:10.6f}  {self.who:10} {self.kind:9} {self.message}{number}".rstrip()


@dataclass(slots=True)
class Use:
    """What one task did with a lock, a queue or a channel. Times are in seconds since the run began."""

    what: str  # "lock", "incoming", "Bob's outbox"
    how: str  # "hold" a lock, "read" or "write" under it; "put" or "get"
    who: str | None  # on whose behalf the task runs; None: the room's own
    doing: str  # the room's function that asked: "Room.broadcast"
    asked: float
    got: float | None = None  # when it had what it asked for; None: it never had
    released: float | None = None  # when it released the lock; None: it held it to the end, or this is not a lock
    given_up: float | None = None  # when it was cancelled while it waited


def label(message: Message) -> str:
    """What a Trace calls a message: its token and the first word of its content."""
    return " ".join([message.token, *message.content.split(maxsplit=1)[:1]])[:40]


def numbers_gone(told: Event) -> range:
    """The numbers that somebody was "told a gap" of; none if it reaches back into another history."""
    first, _, last = told.message.rpartition("to ")
    return range(int(first), int(last) + 1) if first else range(0)


def speaker(message: str) -> str:
    """Who said the message that a Trace calls so."""
    return message.partition(" ")[0]


WAITS = {  # kind -> what for, after "Room.broadcast waits ..."
    # blocked: until somebody makes room or lets go
    "send": "to send to",
    "close": "to close",
    "put": "for room in a queue",
    "lock": "for a lock",
    "read": "for a lock, to read",
    "write": "for a lock, to write",
    "semaphore": "for a semaphore",
    "hand over": "for a channel to be taken from",
    # idle: until something happens
    "get": "for something in a queue",
    "take": "for something in a channel",
    "receive": "for a message",
    "sleep": "for time to pass",
    "tasks": "for other tasks",
}
BLOCKED = ("send", "close", "put", "lock", "read", "write", "semaphore", "hand over")
WaitKind = Literal[
    "send", "close", "put", "lock", "read", "write", "semaphore", "hand over",
    "get", "take", "receive", "sleep", "tasks",
]  # fmt: skip


@dataclass(frozen=True)
class Wait:
    """Where one task of a room is suspended."""

    task: str  # the room's function that the task was made to run: "Room.run_hub"
    doing: str  # the one, called by that, which is suspended: "Room.broadcast"
    visitor: str | None  # on whose behalf: "Bob"; None for a task that the room runs for itself
    kind: WaitKind  # what for
    on: str | None  # whose connection that is: "Bob"; None if it is not a connection
    what: str | None  # which lock, queue or channel, if it is an observed one: "Bob's outbox"
    line: str  # the room's own line: "v3.py:75: await client.connection.send(encode(message))"
    needs: tuple[int, ...] = ()  # the indices, in the list of waits, of the tasks that could end this wait

    @property
    def blocked(self) -> bool:
        """True if it waits for another to make room or let go (backpressure, a lock); false if it is merely idle."""
        return self.kind in BLOCKED

    @property
    def name(self) -> str:
        """What a figure calls it: "Bob: write", "run_hub"."""
        return task_label(self.visitor, self.doing if self.visitor else self.task)

    @property
    def any_will_do(self) -> bool:
        """An OR-wait: any one of `needs` can end it. An AND-wait, as for all who hold a lock, needs all."""
        return self.kind not in ("lock", "read", "write")

    def __str__(self):
        visitor = f" (for {self.visitor})" if self.visitor else ""
        which = f" {self.on}" if self.on else f" ({self.what})" if self.what else ""
        return f"{self.doing}{visitor} waits {WAITS[self.kind]}{which}\n    {self.line}"


def task_label(visitor: str | None, function: str) -> str:
    """What a figure calls a task: "Bob: write", "run_hub"."""
    return f"{visitor}: " * bool(visitor) + function.rpartition(".")[2]


class MemorySample(NamedTuple):
    """What a room retained at one moment."""

    time: float  # seconds since the run began
    accepted: int  # messages that the room had read by then
    messages: int  # texts of at least 500 characters that the room and its tasks refer to
    tasks: int  # pending tasks that serve the room
    bytes: int  # size of all objects that the room and its tasks refer to
    buffered: int  # bytes written to connections and not yet sent


class LeakReport(NamedTuple):
    """What a room still retains of departed clients at the end."""

    connections: list[str]  # departed clients whose connections it retains
    visits: dict[str, str]  # departed client -> line at which a task still holding its connection is suspended
    orphaned_tasks: list[str]  # pending tasks that were made in visits of departed clients: where each is suspended
    tasks: list[str]  # pending tasks beyond those there were when the room had started: where each is suspended
