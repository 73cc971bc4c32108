"""The result of one run in a worker, and how it gets from there to the parent: as a line of JSON.

A room can write whatever it likes to the descriptors of its process, so an answer is believed only if it has the shape
of one.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable
from multiprocessing.connection import wait
from typing import NamedTuple

from chatroom_lib.checker.guarantees import Verdict, broken, untested
from chatroom_lib.trace import Trace
from chatroom_lib.trace.plain import from_plain

encode, decode = json.JSONEncoder().encode, json.JSONDecoder().decode  # whatever a room does to the module
WORKER = "CHATROOM_CHECK_WORKER"  # in the environment of a worker, and of whatever is started there
ENDING = "ending"  # the stage of a worker that ends after its answer
GUARD = 'if __name__ == "__main__":'
LONGEST_REPLY = 1 << 26  # bytes; the Trace of a long run has some megabytes
LOOK = 0.2  # seconds from one look at a silent worker to the next: does it still live?


class BadReply(Exception):
    """A worker has sent what it does not send."""


class Outcome(NamedTuple):
    """The result of one run."""

    verdicts: dict[str, Verdict]
    room: str = ""  # what its Trace calls the room
    failed: bool = False  # the room did not start, filled the memory, or the run did not end by itself

    why: str = ""  # it failed, or could not be judged

    def on(self, names: Iterable[str]) -> "Outcome":
        """With a verdict on each of these guarantees, and on no other."""
        return self._replace(verdicts={name: self.verdicts.get(name, untested(self.why)) for name in names})


def failure(why: str) -> Outcome:
    """The outcome of a run that left no trace."""
    return Outcome({"no-crash": broken(why)}, failed=True, why=f"the run failed: {why}")


def not_judged(why: str) -> Outcome:
    """The outcome of a run about which nothing can be said, for no fault of the room."""
    return Outcome({}, failed=True, why=why)


def as_outcome(answer: object, names: Iterable[str]) -> Outcome:
    """The Outcome in what a worker has sent, with verdicts on these guarantees. Raises BadReply if it is none."""
    try:
        verdicts, room, failed, why = answer
        verdicts = {name: Verdict(*verdict) for name, verdict in verdicts.items()}
        shapes = (type(kept) in (bool, type(None)) and isinstance(text, str) for kept, text in verdicts.values())
        if all(shapes) and isinstance(room, str) and isinstance(failed, bool) and isinstance(why, str):
            if set(verdicts) == set(names) or (failed and set(verdicts) <= {"no-crash"}):
                return Outcome(verdicts, room, failed, why)
    except (TypeError, ValueError, AttributeError):
        pass
    raise BadReply("an answer that is no outcome of a run")


def as_trace(answer: object, clients: tuple) -> Trace:
    """The Trace in what a worker has sent. Raises BadReply if it is none."""
    try:
        return from_plain(answer, clients)
    except (TypeError, ValueError, KeyError, AttributeError):
        raise BadReply("an answer that is no trace of a run") from None


KINDS = {  # of replies -> how many details
    "stage": 1, "ready": 0, "outcome": len(Outcome._fields), "trace": 1, "wrong": 2,
}  # fmt: skip


class Replies:
    """The worker's end of the pipe to the parent: a line for each reply, [kind, *details]."""

    def __init__(self, number: int):
        self.number, self.process = number, os.getpid()

    def send(self, kind: str, *details) -> None:
        if os.getpid() != self.process:
            os._exit(0)  # a copy of this process, which the room has made
        line = memoryview(encode([kind, *details]).encode() + b"\n")
        while line:
            line = line[os.write(self.number, line) :]


class Inbox:
    """The parent's end. What is written in between, by a room, is no reply, but delays none."""

    def __init__(self, number: int):
        self.number, self.unread = number, bytearray()

    def next(self, is_alive: Callable[[], bool], seconds: float, clock: Callable[[], float] = time.monotonic) -> list:
        """The next reply, within so many seconds on `clock`. Raises BadReply if there is something else, EOFError if
        the worker has ended, and TimeoutError."""
        latest = clock() + seconds
        searched = 0
        while (end := self.unread.find(b"\n", searched)) < 0:
            searched = len(self.unread)
            if searched > LONGEST_REPLY:
                raise BadReply("more than any answer")
            if clock() > latest:
                raise TimeoutError
            self.read_more(is_alive())
        line = self.unread[:end]
        del self.unread[: end + 1]
        return as_reply(line)

    def read_more(self, alive: bool) -> None:
        if wait([self.number], LOOK if alive else 0):
            data = os.read(self.number, 1 << 16)
            if not data:
                raise EOFError
            self.unread += data
        elif not alive:  # a copy of the process may still hold the other end open
            raise EOFError

    def close(self) -> None:
        os.close(self.number)


def as_reply(line: bytearray) -> list:
    with contextlib.suppress(ValueError, RecursionError, TypeError):
        kind, *details = reply = decode(line.decode())
        if isinstance(reply, list) and KINDS.get(kind) == len(details):
            return reply
    raise BadReply("something that is no answer")
