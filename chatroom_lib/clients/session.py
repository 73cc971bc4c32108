"""A client that comes back whenever its connection has ended, under its name, with what it has not yet heard itself."""

import asyncio
from collections import deque
from dataclasses import replace
from random import Random

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from chatroom_lib.clients.backoff import Backoff
from chatroom_lib.clients.connect import asking_for_the_rest, reset
from chatroom_lib.clients.hearing import Understood, Wire, read, why_closed, why_shut_out
from chatroom_lib.clients.scenario import NEVER, Client
from chatroom_lib.message import Message, Position, encode
from chatroom_lib.trace import Trace, label

FIRST_WAIT, LONGEST_WAIT = 0.2, 5.0  # seconds that it waits at most before it comes back


class Session:
    """What of one client outlives its connections: what it has said and not heard yet, the time of its next words, and,
    if it resumes, what it has heard last.

    It says a message in the order of its plan, and once more on each new connection until it hears it itself, or is
    told that it is refused. A message keeps its `id`. Before each attempt to connect it waits (see backoff.py); and if
    there are several servers, it tries the next one.
    """

    def __init__(self, client: Client, server: int, dial, trace: Trace, wire: Wire):
        self.server = server  # the number of the one that it connects to next
        self.client, self.dial, self.trace, self.wire = client, dial, trace, wire
        self.chance = Random(None if trace.seed is None else f"{trace.seed} {client.name}")
        self.backoff = Backoff(FIRST_WAIT, LONGEST_WAIT, self.chance, elsewhere=trace.servers > 1)
        self.unheard: dict[str, Message] = {}  # id -> a message that it has not heard itself
        self.said: set[str] = set()  # the ids
        self.due: deque[Message] = deque()  # to be said on this connection
        self.position: Position | None = None  # how far it has heard; None: the room has not told it where it is
        self.anything_due, self.first_joined = asyncio.Event(), asyncio.Event()

    async def run(self, done: asyncio.Event) -> None:
        """From the first attempt to connect to the client's end. Sets `done` after the first attempt."""
        async with asyncio.TaskGroup() as tasks:
            planning = tasks.create_task(self.plan())
            while (now := self.now()) < self.end:
                if (until := self.away_until(now)) > now:
                    await asyncio.sleep(until - now)
                connection = await self.connect()
                done.set()
                if connection and await self.stay(connection):
                    break
                self.server = (self.server + 1) % self.trace.servers
                await asyncio.sleep(self.backoff.next_wait())
            planning.cancel()

    def now(self) -> float:
        """Seconds of the run; NEVER when it is over."""
        now = self.trace.now()
        return NEVER if now is None else now

    @property
    def end(self) -> float:
        """When it leaves for good, in seconds of the run."""
        return min(self.client.leaves, self.client.vanishes)

    def away_until(self, now: float) -> float:
        return max((until for since, until in self.client.away if since <= now), default=0.0)

    def time_to_go(self) -> float | None:
        """Seconds until it is away again, or leaves for good; None: it is here to stay."""
        next_time = min(self.next_away(), self.end)
        return None if next_time == NEVER else next_time - self.now()

    def next_away(self) -> float:
        """When it is away again, in seconds of the run."""
        now = self.now()
        return min((since for since, _ in self.client.away if since > now), default=NEVER)

    # ------------------------------------------------------------ connections

    async def connect(self) -> ClientConnection | None:
        try:
            async with asyncio.timeout(self.time_to_go()):
                return await self.dial(self.asking(), self.server)
        except (OSError, InvalidHandshake, TimeoutError) as error:
            self.trace.record("knocked", self.client.name, why_shut_out(error))
            self.backoff.note_failure(error)
            return None

    def asking(self) -> Client:
        """The client, with what it asks for on its next connection, and when that is to die."""
        asking = self.client
        if asking.silently:
            asking = replace(asking, dark=self.next_away(), away=(), silently=False)
        if asking.resumes:
            asking = replace(asking, path=asking_for_the_rest(asking.path, self.position), resumes=False)
        return asking

    async def stay(self, connection: ClientConnection) -> bool:
        """One visit, to its end. Returns whether the client has left for good."""
        self.trace.record("joined", self.client.name, self.trace.which(self.server))
        self.first_joined.set()
        async with asyncio.TaskGroup() as tasks:
            talking = tasks.create_task(self.talk(connection))
            if self.client.pause < NEVER:
                tasks.create_task(read(self.client, connection, self.trace, self.wire, self.settle))
            else:
                connection.transport.pause_reading()
            try:
                async with asyncio.timeout(self.time_to_go()):
                    await connection.wait_closed()
                self.trace.record("lost", self.client.name, why_closed(connection))
                self.backoff.note_loss(connection)
                return False
            except TimeoutError:
                return await self.go(connection)
            finally:
                talking.cancel()
                reset(connection)

    async def go(self, connection: ClientConnection) -> bool:
        if self.now() < self.end:
            self.trace.record("away", self.client.name)
            self.backoff.note_cut()
            return False
        if self.client.leaves < self.client.vanishes:
            self.trace.record("left", self.client.name)
            await connection.close()
        else:
            self.trace.record("vanished", self.client.name)
        return True

    # ------------------------------------------------------------ what it says

    async def plan(self) -> None:
        """Let its messages be due, each at its time, wherever it is then."""
        await self.first_joined.wait()
        clock = asyncio.get_running_loop().time
        joined = clock()
        for number, moment in enumerate(self.client.send_times, 1):
            await asyncio.sleep(joined + moment - clock())
            message = Message(self.client.name, self.client.text(number), id=f"{self.chance.getrandbits(128):032x}")
            self.unheard[message.id] = message
            self.due.append(message)
            self.anything_due.set()

    async def talk(self, connection: ClientConnection) -> None:
        """Say what is due on this connection: first all that it has not yet heard itself."""
        self.due = deque(self.unheard.values())
        try:
            if self.client.first is not None:
                await connection.send(self.client.first)
            while True:
                while self.due:
                    await self.say(self.due.popleft(), connection)
                self.anything_due.clear()
                await self.anything_due.wait()
        except ConnectionClosed:
            pass

    async def say(self, message: Message, connection: ClientConnection) -> None:
        if message.id in self.unheard:
            again = message.id in self.said
            self.trace.record("said again" if again else "said", self.client.name, label(message), id=message.id)
            self.said.add(message.id)
            await connection.send(encode(message))

    def settle(self, understood: Understood) -> None:
        """It may have heard a message of its own, or been told that one is refused, or where it is."""
        kind, heard = understood.kind, understood.message
        if understood.position:
            self.position = understood.position
            self.backoff.note_position(understood.position)
        elif self.position and heard and heard.seq:
            self.position = replace(self.position, seq=max(self.position.seq, heard.seq))
        if kind not in ("heard", "refused") or heard.token != self.client.name:
            return
        if heard.id is None:  # the room passes no ids on: the first of these words is meant
            same = (message for message in self.unheard.values() if message.content == heard.content)
            if said := next(same, None):
                del self.unheard[said.id]
        elif said := self.unheard.pop(heard.id, None):
            if kind == "heard":
                self.trace.record("acknowledged", self.client.name, label(said), heard.seq, said.id)
