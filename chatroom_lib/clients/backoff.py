"""How long a client waits before it comes back, so that many who have lost the same server do not come at once."""

import random
from typing import Protocol

from websockets.exceptions import InvalidStatus

from chatroom_lib.message import Position, longest_spread, told_to_come_back

SOONEST = 1.0  # seconds that a server takes to start again, at least


class Chance(Protocol):
    def uniform(self, low: float, high: float) -> float: ...


class Ended(Protocol):
    """A connection that has ended."""

    @property
    def close_reason(self) -> str | None: ...


class Backoff:
    """The waits of one client: at random from nothing on ("full jitter"), and longer with each attempt that
    fails. Before the first attempt it draws a moment in the time that the room has told, if it has, but for the first
    second, in which no server is there again; and if it is turned away at the door, it waits as long as it is told
    there.

    `first`: seconds that the first wait takes at most; `longest`: that any does. `chance` draws. `elsewhere`: it goes
    to another server, and may be there at once.
    (M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.)
    """

    def __init__(self, first: float, longest: float, chance: Chance = random, elsewhere: bool = False):
        self.first, self.longest, self.chance = first, longest, chance
        self.soonest = 0.0 if elsewhere else SOONEST  # seconds
        self.failed = 0  # attempts since the last connection
        self.told: float | None = None  # seconds within which all come back, if the room is lost
        self.spread: float | None = None  # the same, if that is why we come back
        self.turned_away: float | None = None  # seconds after which it may try again

    def note_position(self, position: Position) -> None:
        """The room has told where we are; some tell as well how long all would take to come back."""
        if position.return_within:
            self.told = position.return_within

    def note_loss(self, connection: Ended) -> None:
        """The other side has ended the connection, with a reason or without."""
        self.failed = 0
        self.spread = told_to_come_back(connection.close_reason or "") or self.told

    def note_cut(self) -> None:
        """The connection was cut at our side, and nobody else's."""
        self.failed, self.spread = 0, None

    def note_failure(self, error: Exception) -> None:
        """An attempt to connect has failed."""
        self.failed += 1
        self.turned_away = retry_after(error)

    def next_wait(self) -> float:
        """Seconds until the next attempt."""
        if self.turned_away is not None:
            return self.turned_away + self.chance.uniform(0, self.first)
        if self.spread and not self.failed:
            return self.chance.uniform(min(self.soonest, self.spread / 2), self.spread)
        return self.chance.uniform(0, min(self.longest, self.first * 2**self.failed))


def retry_after(error: Exception) -> float | None:
    """The seconds that a server asks us to wait (RFC 9110, section 10.2.3); None if it does not, or names a date."""
    told = error.response.headers.get_all("Retry-After") if isinstance(error, InvalidStatus) else []
    text = told[0] if told else ""
    return longest_spread(int(text)) if text.isascii() and text.isdigit() and len(text) < 10 else None
