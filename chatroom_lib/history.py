"""What was said in a room, in one SQLite file. What `append` returns is committed there.

    async with History("chat.db") as history:
        await history.append([Message("Ann", "hello")])     # [Message("Ann", "hello", seq=1)]

One thread waits for the disk while it writes, another while it reads, so the event loop never does. The ids are in
memory, too: an index of random ids in the file would make a commit of many messages three times as long.
"""

import asyncio
import contextlib
import os
import sqlite3
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from chatroom_lib.message import Gap, Message, Position

KEEP = 100_000  # messages
PATIENCE = 5.0  # seconds to wait while another program has locked the file
LARGEST = 2**63 - 1  # of SQLite's numbers
SCHEMA = """
    CREATE TABLE IF NOT EXISTS message (
        seq INTEGER PRIMARY KEY,  -- 1, 2, 3, ... without a hole: given by us, not drawn by SQLite
        token TEXT NOT NULL, content TEXT NOT NULL, id TEXT,
        time REAL NOT NULL  -- when it was written down, in seconds since 1970
    );
    CREATE TABLE IF NOT EXISTS epoch (name TEXT NOT NULL);  -- one row
"""


class HistoryError(OSError):
    """A history cannot be read or written. The text names the file, and says why."""


class Log:
    """What rooms see of a history, wherever it is kept. The last `recent` messages are in memory, too."""

    def __init__(self, keep: int, recent: int):
        self.keep = max(1, keep)
        self.recent = deque(maxlen=min(recent, self.keep))  # without a hole
        self.epoch = ""  # its own name, drawn when it was made: numbers of another one mean nothing here
        self.first = 1  # the number of the oldest message in it, or that the next one will have
        self.last = 0  # the number of the last message in it
        self.numbers = {}  # (token, id) -> the number of the first such message

    def knows(self, message: Message) -> bool:
        """Is there a message of the same token and `id`?"""
        return (message.token, message.id) in self.numbers

    def in_memory(self, seq: int, until: int, limit: int) -> list[Message] | None:
        """The first `limit` messages with numbers above `seq`, up to `until`; None: not all of them are there."""
        if not self.recent or self.recent[0].seq > seq + 1 or until > self.recent[-1].seq:
            return None
        start = seq + 1 - self.recent[0].seq
        return list(islice(self.recent, start, start + max(0, min(limit, until - seq))))

    def remember(self, messages: list[Message]) -> None:
        """They follow those that are in memory, or there is a hole before them."""
        if self.recent and messages and messages[0].seq != self.recent[-1].seq + 1:
            self.recent.clear()
        self.recent.extend(messages)

    def resume(self, heard: Position, level: int, last: int) -> Position:
        """From where on a client can be told the rest, up to number `level`, and what is gone of that. If it has heard
        nothing of this history, the rest are the last `last` messages."""
        start = min(self.first - 1, level)
        if heard.epoch == self.epoch and heard.seq <= level:
            gap = Gap(heard.seq + 1, start) if heard.seq < start else None
            return Position(self.epoch, max(heard.seq, start), gap)
        gap = Gap(None, start) if heard.epoch else None  # of another one, or of none
        return Position(self.epoch, max(start, level - last), gap)

    def forget_ids(self, first: int) -> None:
        while self.numbers and self.numbers[oldest := next(iter(self.numbers))] < first:
            del self.numbers[oldest]


class History(Log):
    """The messages in the file `path`, which is made if it is missing; None: in a temporary one.

    It forgets all but the newest `keep` messages, and those older than `max_age` seconds. `synchronous`: SQLite waits
    for the medium at each commit (FULL), or only now and then (NORMAL). The last `recent` messages stay in memory, too,
    where `after` finds them without the disk (unless there is a `max_age`). All methods raise HistoryError.
    """

    def __init__(
        self,
        path: str | None = None,
        keep: int = KEEP,
        max_age: float | None = None,
        synchronous: str = "FULL",
        recent: int = 0,
    ):
        super().__init__(keep, recent if max_age is None else 0)
        self.path, self.max_age, self.synchronous = path, max_age, synchronous
        self.now = 0.0  # when it was written down, in seconds since 1970
        self.reads = 0  # how often the disk was read for `after` and `before`
        self.writing, self.reading = ThreadPoolExecutor(1), ThreadPoolExecutor(1)

    async def __aenter__(self) -> "History":
        self.folder = None if self.path else tempfile.TemporaryDirectory(prefix="chatroom-", ignore_cleanup_errors=True)
        self.path = self.path or f"{self.folder.name}/chat.db"
        await self.on(self.writing, self.open)
        return self

    async def __aexit__(self, *exc) -> None:
        await self.on(self.reading, self.reader.close)
        await self.on(self.writing, self.writer.close)
        self.reading.shutdown(wait=False)
        self.writing.shutdown(wait=False)
        if self.folder:
            self.folder.cleanup()

    async def append(self, messages: list[Message], once: bool = False) -> list[Message]:
        """Keep these messages, all or none; returns them with their `seq`.

        `once`: one whose token and `id` are known is not kept again, and comes back as it was kept first.
        """
        kept = await self.on(self.writing, self.write, messages, once)
        known = self.recent[-1].seq if self.recent else 0
        self.remember([message for message in dict.fromkeys(kept) if message.seq > known])
        return kept

    async def after(self, seq: int, until: int, limit: int) -> list[Message]:
        """The first `limit` messages with numbers above `seq`, up to `until`."""
        if (found := self.in_memory(seq, until, limit)) is not None:
            await asyncio.sleep(0)  # the others first: whoever has missed much asks again and again
            return found
        which = "seq > ? AND seq <= ? AND time >= ? ORDER BY seq LIMIT ?"
        return await self.read(which, seq, min(until, LARGEST), self.oldest_time(), limit)

    async def before(self, seq: int, limit: int) -> list[Message]:
        """The last `limit` messages with numbers below `seq`, the oldest first."""
        which, seq = "seq < ? AND time >= ? ORDER BY seq DESC LIMIT ?", min(seq, LARGEST)
        return (await self.read(which, seq, self.oldest_time(), limit))[::-1]

    async def read(self, which: str, *values) -> list[Message]:
        self.reads += 1
        return await self.on(self.reading, self.select, self.reader, which, *values)

    async def on(self, thread: ThreadPoolExecutor, function, *arguments):
        try:
            return await asyncio.get_running_loop().run_in_executor(thread, function, *arguments)
        except sqlite3.Error as error:
            raise HistoryError(f"{self.path}: {error}") from error

    # ------------------------------------------------------------ on these threads

    def open(self) -> None:
        self.writer, self.reader = self.connect(), self.connect()  # the reader sees what is committed, and never waits
        self.writer.executescript(SCHEMA)
        name = os.urandom(8).hex()
        self.writer.execute("INSERT INTO epoch SELECT ? WHERE NOT EXISTS (SELECT * FROM epoch)", [name])
        (self.epoch,) = self.writer.execute("SELECT name FROM epoch").fetchone()
        self.last = self.newest()
        oldest = "SELECT coalesce(min(seq), 1), coalesce(max(time), 0) FROM message"
        self.first, self.now = self.writer.execute(oldest).fetchone()
        self.recent.extend(self.select(self.writer, "seq > ? ORDER BY seq", self.last - self.recent.maxlen))
        for token, id, seq in self.writer.execute(
            "SELECT token, id, seq FROM message WHERE id IS NOT NULL ORDER BY seq"
        ):
            self.numbers.setdefault((token, id), seq)

    def connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, PATIENCE, isolation_level=None, check_same_thread=False)
        if write_ahead(connection) != "wal":
            raise HistoryError(f"{self.path}: no write-ahead log can be kept there")
        connection.execute(f"PRAGMA synchronous = {self.synchronous}")
        connection.execute("PRAGMA fullfsync = 1")  # on macOS, too, as far as the medium
        return connection

    def write(self, messages: list[Message], once: bool) -> list[Message]:
        kept, rows, named = [], [], {}  # named: (token, id) -> the first of these messages that is called so
        with self.transaction():
            self.meet_others()
            self.now = max(self.now, time.time())  # if the clock is set back, the oldest stay the first to be forgotten
            for message in messages:
                key = message.token, message.id
                if not (once and (entry := named.get(key) or self.kept_as(key))):
                    entry = Message(message.token, message.content, id=message.id, seq=self.last + len(rows) + 1)
                    rows.append((entry.seq, entry.token, entry.content, entry.id, self.now))
                    if entry.id is not None:
                        named.setdefault(key, entry)
                kept.append(entry)
            self.writer.executemany("INSERT INTO message VALUES (?, ?, ?, ?, ?)", rows)
            first = self.first_to_keep(self.last + len(rows))
            self.writer.execute("DELETE FROM message WHERE seq < ?", [first])
        self.last += len(rows)
        self.first = max(self.first, first)
        for key, entry in named.items():
            self.numbers.setdefault(key, entry.seq)
        self.forget_ids(first)
        return kept

    def meet_others(self) -> None:
        if self.newest() != self.last:
            raise HistoryError(f"{self.path}: another server writes to it, too")

    def kept_as(self, key: tuple[str, str | None]) -> Message | None:
        number = self.numbers.get(key)
        return self.select(self.writer, "seq = ?", number)[0] if number else None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        self.writer.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.writer.execute("COMMIT")
        except BaseException:
            if self.writer.in_transaction:  # some errors have ended it already
                self.writer.execute("ROLLBACK")
            raise

    def newest(self) -> int:
        return self.writer.execute("SELECT coalesce(max(seq), 0) FROM message").fetchone()[0]

    def first_to_keep(self, last: int) -> int:
        first = last - self.keep + 1
        if self.max_age is None:
            return first
        young = "SELECT seq FROM message WHERE time >= ? ORDER BY seq LIMIT 1"
        row = self.writer.execute(young, [self.oldest_time()]).fetchone()
        return max(first, row[0] if row else last)  # never the last one: the next number is known by it

    def oldest_time(self) -> float:
        """When a message must have been written to be found, in seconds since 1970."""
        return 0.0 if self.max_age is None else time.time() - self.max_age

    def select(self, connection: sqlite3.Connection, which: str, *values) -> list[Message]:
        rows = connection.execute(f"SELECT token, content, id, seq FROM message WHERE {which}", values)
        return [Message(token, content, id=id, seq=seq) for token, content, id, seq in rows]


def write_ahead(connection: sqlite3.Connection) -> str:
    """Ask for a write-ahead log. Returns the mode that the file has then. Where several programs open a new file at
    once, SQLite refuses all but one of them without waiting; so we wait."""
    latest = time.monotonic() + PATIENCE
    while True:
        try:
            return connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= latest:
                raise
        time.sleep(0.01)
