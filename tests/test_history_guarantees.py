"""The four guarantees about a history: kept by v6, broken by rooms that are wrong in one way each, and fair."""

import random
from dataclasses import replace

import pytest

from chatroom_lib import Kill, Scenario, check, commuter, frozen, listener, simulate, talker
from chatroom_lib.checker.guarantees import GROUPS, NO_PATH, judge
from chatroom_lib.checker.scenarios import SCENARIOS, needs_path
from chatroom_lib.clients.scenario import Client
from chatroom_lib.frames import frames
from chatroom_lib.history import History
from chatroom_lib.message import Message, encode
from chatroom_lib.reference_rooms import AckAtOnce, CommitBehind, SyncNormal
from chatroom_lib.reference_rooms.history_room import HistoryRoom
from chatroom_lib.rooms import v4, v5, v6
from tests.test_guarantees import trace_of

OF_A_HISTORY = [name for name, group in GROUPS.items() if group == "history"]
FOR_HISTORIES = {name: scenario for name, scenario in SCENARIOS.items() if needs_path(scenario)}
KILLS = "restart", "two kills", "power cut"

# ---------------------------------------------------------------- a good room, and the same room spoilt


class AcknowledgesEarly(v6.Room):
    """One message in so many it acknowledges before it is written down, with the number that it expects."""

    one_in = 50

    async def next_batch(self):
        batch = await super().next_batch()
        for number, (connection, message) in enumerate(batch, self.history.last + 1):
            if random.random() < 1 / self.one_in:
                self.deliver(connection, self.frame(self.acknowledgement(message, number), connection))
        return batch

    def frame(self, message, connection):
        return frames([encode(message).encode()], connection)

    def acknowledgement(self, message, number):
        return replace(message, seq=number)


class AcknowledgesEarlyWithoutNumber(AcknowledgesEarly):
    def acknowledgement(self, message, number):
        return message


class AcknowledgesAllEarly(AcknowledgesEarly):
    one_in = 1


class KnowsByContent(History):
    def known(self, connection, message):
        which = "token = ? AND content = ? ORDER BY seq LIMIT 1"
        return next(iter(self.select(connection, which, message.token, message.content)), None)


class Burns(History):
    """A number for each message, known or not, as SQLite's AUTOINCREMENT does with ON CONFLICT DO NOTHING."""

    drawn = 0

    def write(self, messages, once):
        self.drawn = max(self.drawn, self.newest())
        kept = []
        with self.transaction():
            for message in messages:
                self.drawn += 1
                if not (entry := self.known(self.writer, message)):
                    entry = replace(message, seq=self.drawn)
                    row = entry.seq, entry.token, entry.content, entry.id, 0.0
                    self.writer.execute("INSERT INTO message VALUES (?, ?, ?, ?, ?)", row)
                kept.append(entry)
        self.last = self.newest()
        return kept


class With(v6.Room):
    """v6 with another history."""

    history_class = History

    def __init__(self, path=None):
        super().__init__(path)
        self.history = self.history_class(path)


class DedupesByContent(With):
    history_class = KnowsByContent


class DedupesByContentAndSaysNothing(DedupesByContent):
    """The second time it hears its own words come back under the name that it gave them."""

    def acknowledge_again(self, batch, kept):
        again = [replace(message, id=said.id) for (_, said), message in zip(batch, kept)]
        super().acknowledge_again(batch, again)


class BurnsNumbers(With):
    history_class = Burns


class ReusesNumbers(v6.Room):
    """Numbers begin anew with each start."""

    async def __aenter__(self):
        await super().__aenter__()
        self.before = self.history.last

    def broadcast(self, messages):
        super().broadcast([replace(message, seq=message.seq - self.before) for message in messages])


class ShowsNothing(v6.Room):
    async def catch_up(self, connection, messages):
        await super().catch_up(connection, 0)


class LeavesOutOne(v6.Room):
    """Of those whom it shows its history."""

    async def catch_up(self, connection, messages):
        find, self.history.after = self.history.after, self.some
        self.real = find
        try:
            await super().catch_up(connection, messages)
        finally:
            del self.history.after

    async def some(self, *arguments):
        return [message for message in await self.real(*arguments) if message.seq != 4]


class TellsOthersAgain(v6.Room):
    """Who said again what is known: everybody hears it once more."""

    def acknowledge_again(self, batch, kept):
        for connection in list(self.connections):
            super().acknowledge_again([(connection, message) for _, message in batch], kept)


class NeverAcknowledgesAgain(v6.Room):
    def acknowledge_again(self, batch, kept):
        pass


class GivesNumbersTwice(v6.Room):
    """To two messages that come at once."""

    def broadcast(self, messages):
        super().broadcast([replace(message, seq=messages[-1].seq) for message in messages])


class CountsFromZero(v6.Room):
    def broadcast(self, messages):
        super().broadcast([replace(message, seq=message.seq - 1) for message in messages])
