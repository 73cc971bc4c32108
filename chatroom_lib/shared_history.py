"""A history that several servers write to, and from which each of them hears what the others have written:
`async for messages in history.follow(last)`. Here in one file, for the servers of one machine.

SQLite gives the order: one of them writes at a time, and numbers what it writes inside its transaction. Whoever has
written rings the others, so that nobody has to look all the time: a datagram of one byte, which says no more than
"look". Their ports are in the file, too. Where none arrives, as between two containers, each looks every half second.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from chatroom_lib.history import LARGEST, History, HistoryError, Log
from chatroom_lib.message import Message

HERE = "127.0.0.1"
CHUNK = 256  # messages that are read at once
LONGEST_SILENCE = 0.5  # seconds after which a server looks though nobody has rung
BELLS = "CREATE TABLE IF NOT EXISTS bell (port INTEGER PRIMARY KEY)"


class SharedLog(Log):
    """A log that others write to, too."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.rung = asyncio.Event()  # set when something is new, or may be

    async def after(self, seq: int, until: int, limit: int) -> list[Message]:
        raise NotImplementedError

    async def follow(self, seq: int) -> AsyncIterator[list[Message]]:
        """Whatever is written after number `seq`, by whichever server: lists of messages, one after the other. Between
        two of them numbers are missing only if the log has forgotten them already. While it cannot be read, it tries
        again."""
        while True:
            self.rung.clear()
            some = []
            with contextlib.suppress(HistoryError):
                some = await self.after(seq, LARGEST, CHUNK)
            if some:
                self.remember(some)
                seq = some[-1].seq
                yield some
            else:
                await self.rings_within(LONGEST_SILENCE)

    async def rings_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return await self.rung.wait()
        return False


class SharedHistory(SharedLog, History):
    """A History whose file other servers may write to. An id that one of them has written is known to all.

    `keep` should be more than they write in a second, or they forget what some have not read yet.
    """

    async def __aenter__(self) -> "SharedHistory":
        await super().__aenter__()
        self.bell = Bell(self.rung)
        await self.bell.hang()
        others = await self.on(self.writing, self.hang_bell)
        dead = [port for port in others if await is_free(port)]
        await self.on(self.writing, self.take_bells_down, dead)
        return self

    async def __aexit__(self, *exc) -> None:
        self.bell.transport.close()
        try:
            with contextlib.suppress(HistoryError):
                await self.on(self.writing, self.take_own_bell_down)
        finally:
            await super().__aexit__(*exc)

    async def after(self, seq: int, until: int, limit: int) -> list[Message]:
        return await History.after(self, seq, until, limit)

    async def append(self, messages: list[Message], once: bool = False) -> list[Message]:
        kept = await self.on(self.writing, self.write, messages, once)
        self.bell.ring(self.ports)
        return kept

    async def learn(self) -> None:
        """From now on `knows` tells also of what other servers have written until now."""
        await self.on(self.writing, self.take_in)

    # ------------------------------------------------------------ on the thread that writes

    def hang_bell(self) -> list[int]:
        """The ports of the other bells."""
        self.writer.execute(BELLS)
        self.meet_others()
        return self.ports

    def take_bells_down(self, ports: list[int]) -> None:
        self.writer.executemany("DELETE FROM bell WHERE port = ?", [[port] for port in ports])
        self.ports = [port for port in self.ports if port not in ports]

    def take_own_bell_down(self) -> None:
        self.writer.execute("PRAGMA busy_timeout = 100")  # ms: whoever stops does not wait long
        self.take_bells_down([self.bell.port])

    def meet_others(self) -> None:
        """In the transaction in which it writes. Another container, which cannot hear our bell, may have taken it
        down."""
        self.writer.execute("INSERT OR IGNORE INTO bell VALUES (?)", [self.bell.port])
        self.take_in()

    def first_to_keep(self, last: int) -> int:
        """What is just being written nobody has read yet."""
        return min(super().first_to_keep(last), self.last + 1)

    def take_in(self) -> None:
        """Which messages there are now, and whose bells."""
        new = "SELECT token, id, seq, time FROM message WHERE seq > ? ORDER BY seq"
        for token, id, seq, time in self.writer.execute(new, [self.last]):
            self.last = seq
            self.now = max(self.now, time)  # so that it grows with the numbers, whoever writes
            if id is not None:
                self.numbers.setdefault((token, id), seq)
        (oldest,) = self.writer.execute("SELECT coalesce(min(seq), 1) FROM message").fetchone()
        self.first = max(self.first, oldest)
        self.forget_ids(self.first)
        ports = self.writer.execute("SELECT port FROM bell WHERE port != ?", [self.bell.port])
        self.ports = [port for (port,) in ports]


class Bell(asyncio.DatagramProtocol):
    """Sets `rung` when a byte arrives at its port."""

    def __init__(self, rung: asyncio.Event):
        self.rung = rung

    async def hang(self) -> None:
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(HERE, 0))
        self.port = self.transport.get_extra_info("sockname")[1]

    def datagram_received(self, data, address) -> None:
        self.rung.set()

    def ring(self, others: list[int]) -> None:
        """This one, and those of others."""
        self.rung.set()
        for port in others:
            self.transport.sendto(b"!", (HERE, port))


async def is_free(port: int) -> bool:
    """Does nobody listen there? Then the server whose port it was has been killed."""
    loop = asyncio.get_running_loop()
    try:
        transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=(HERE, port))
    except OSError:
        return False
    transport.close()
    return True
