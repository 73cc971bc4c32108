"""What a server can carry, before it is tried: does it pass on what is said, how long may that be, how much of it?"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from chatroom_lib.checker.outside.scenarios import FAST, HUMAN, Load
from chatroom_lib.clients.address import Address
from chatroom_lib.clients.connect import reset
from chatroom_lib.clients.hearing import why_closed, why_shut_out
from chatroom_lib.clients.scenario import Client
from chatroom_lib.runs.outside import dial
from chatroom_lib.runtime.console import excerpt
from chatroom_lib.server.server import ServerError, cancel_after

PATIENCE, TRIES = 6.0, 3  # seconds in which something must come back, and how often it is said meanwhile
SIZES = (32_000, 4000, 1000, 400, 100)  # characters
LONG = 4000  # characters in a long message of people
BURST, GAP = 8, 0.15  # messages of one person, seconds from one to the next: more than a limit lets pass
CROWD = 40  # people who say something at the same time
POLITE = 0.5  # seconds in which a server must answer to who leaves politely
LOOK = 0.02  # seconds
QUIET = 3.0  # seconds in which nobody hears anything; then nothing comes any more
SHARE = 3  # of what a server can carry, a third is asked of it
MOST = 160  # messages a second, at most
FEWEST = 3  # people


class Guest:
    """Somebody who is there for the probe."""

    def __init__(self, name: str, connection: ClientConnection, wire):
        self.name, self.connection, self.wire = name, connection, wire
        self.heard: dict[tuple[str, str], float] = {}  # (who, number) -> when
        self.other = ""  # a frame in which nothing of this was
        self.reading = asyncio.create_task(self.read())

    async def read(self) -> None:
        clock = asyncio.get_running_loop().time
        with contextlib.suppress(ConnectionClosed):
            async for frame in self.connection:
                understood = self.wire.understand(frame)
                for each in understood:
                    if each.kind == "heard":
                        self.heard.setdefault((each.message.token, each.message.content), clock())
                if answer := self.wire.answer(frame):
                    await self.connection.send(answer)
                elif not understood:
                    self.other = self.other or excerpt(frame)

    async def say(self, number: int, size: int = 40) -> tuple[str, str]:
        """Returns what others hear."""
        with contextlib.suppress(ConnectionClosed):
            await self.connection.send(self.wire.say(self.name, f"{number} ".ljust(size, ".")))
        return self.name, str(number)

    @property
    def closed(self) -> str | None:
        """Why the server has closed the connection; None if it has not."""
        if self.reading.done():
            return why_closed(self.connection) or "without a word"
        return None


class Probe:
    def __init__(self, address: Address, ip: str):
        self.address, self.ip = address, ip
        self.number = 0  # of the last message

    async def load(self, people: int | None) -> Load:
        """What people may do there. Raises ServerError if it cannot be reached, or passes nothing on."""
        await self.require_passing_on()
        try:
            size = await self.longest()
            limited, fast_enough = await self.limit()
            a_second = min(MOST, await self.capacity() / SHARE) if fast_enough else 0
        except (OSError, InvalidHandshake, TimeoutError) as error:
            why = f"before anything was tried, nobody could join {self.address.url} any more"
            raise ServerError(f"{why}: {why_shut_out(error)}") from error
        every = HUMAN if limited else FAST
        number = max(FEWEST, min(round(a_second * every), MOST if people is None else people))
        return Load(number, every if fast_enough else HUMAN, min(size, LONG), size, limited, not fast_enough)

    async def require_passing_on(self) -> None:
        try:
            async with self.guests(2) as (ann, bob):
                if await self.comes_back(ann, bob):
                    return
                if ann.closed:
                    why = f"the server closes the connection of whoever says something: {ann.closed}"
                    raise ServerError(f"{why}; does it want a --hello, --query or --header, or other --fields?")
                got = ann.other or bob.other
                instead = f"what came was {got!r}" if got else "nothing came"
                raise ServerError(
                    f"what is said at {self.address.url} does not come back within {PATIENCE:.0f} s, and {instead}: "
                    f"is --wire {self.address.wire} right, and does it want a --hello?"
                )
        except (OSError, InvalidHandshake, TimeoutError) as error:
            raise ServerError(f"nobody can join {self.address.url}: {why_shut_out(error)}") from error

    async def longest(self) -> int:
        """How many characters one message may have. (Pauses: it may limit how much one may say.)"""
        for size in SIZES[:-1]:
            with contextlib.suppress(OSError, InvalidHandshake):
                async with self.guests(2) as (ann, bob):
                    if await self.comes_back(ann, bob, size):
                        return size
        return SIZES[-1]

    async def limit(self) -> tuple[bool, bool]:
        """(does it limit how fast one may talk, does it pass things on as fast as that?)"""
        async with self.guests(2) as (ann, bob):
            said = []
            for _ in range(BURST):
                said.append(await self.say(ann))
                await asyncio.sleep(GAP)

            def passed_on() -> int:
                return sum(each in bob.heard for each in said)

            await self.until(lambda: passed_on() == BURST or ann.closed, BURST * GAP)
            heard = passed_on()
            slow = heard < BURST and await self.until(lambda: passed_on() > heard)
            return heard < BURST and not slow, not slow

    async def capacity(self) -> float:
        """Messages a second, when many speak at once."""
        async with self.guests(CROWD) as guests:
            clock = asyncio.get_running_loop().time
            start = clock()
            said = [await self.say(guest) for guest in guests]
            last = guests[-1].heard

            def over() -> bool:
                return all(each in last for each in said) or clock() > max([start, *last.values()]) + QUIET

            await self.until(over)
            heard = [time for each, time in last.items() if each in said]
            return len(heard) / max(0.001, max(heard, default=start + PATIENCE) - start)

    async def passes_on(self, seconds: float) -> bool:
        """Does it pass something on that is said now, or in the next seconds?"""
        clock = asyncio.get_running_loop().time
        latest = clock() + seconds
        while clock() < latest:
            with contextlib.suppress(OSError, InvalidHandshake, TimeoutError):
                async with asyncio.timeout_at(latest), self.guests(2) as (ann, bob):
                    if await self.comes_back(ann, bob):
                        return True
            await asyncio.sleep(LOOK)
        return False

    # ------------------------------------------------------------ who does it

    @contextlib.asynccontextmanager
    async def guests(self, number: int) -> AsyncIterator[list[Guest]]:
        clients = [
            Client(name, patience=PATIENCE) for name in ["Ann", "Bob", *(f"P{n}" for n in range(number))][:number]
        ]
        wire = self.address.new_wire(clients)
        guests: list[Guest] = []

        async def join(client: Client) -> None:
            person = self.address.person(client)
            connection = await dial(self.address, self.ip, person, wire)
            guests.append(Guest(client.name, connection, wire))
            if person.first is not None:
                with contextlib.suppress(ConnectionClosed):
                    await connection.send(person.first)

        joining = [asyncio.create_task(join(client)) for client in clients]
        try:
            await asyncio.gather(*joining)
            yield sorted(guests, key=lambda guest: guest.name)
        finally:
            await cancel_after([task for task in joining if not task.done()], 0)
            leaving = [asyncio.create_task(guest.connection.close()) for guest in guests]
            await cancel_after(leaving, POLITE)
            for guest in guests:
                reset(guest.connection)
            await cancel_after([guest.reading for guest in guests], 0.5)

    async def comes_back(self, ann: Guest, bob: Guest, size: int = 40) -> bool:
        """Does one of them hear what Ann says? She says it three times: a newcomer may be deaf at first."""
        said: list[tuple[str, str]] = []
        for _ in range(TRIES):
            said.append(await self.say(ann, size))
            if await self.until(
                lambda: ann.closed or any(s in ann.heard or s in bob.heard for s in said), PATIENCE / TRIES
            ):
                break
        return any(each in ann.heard or each in bob.heard for each in said) and not ann.closed

    async def say(self, guest: Guest, size: int = 40) -> tuple[str, str]:
        self.number += 1
        return await guest.say(self.number, size)

    async def until(self, true, seconds: float = PATIENCE) -> bool:
        """Wait until it is; False: it never is."""
        clock = asyncio.get_running_loop().time
        latest = clock() + seconds
        while not (found := true()) and clock() < latest:
            await asyncio.sleep(LOOK)
        return bool(found)
