"""One person in one room, as a chat panel needs it: the connection, the state, and the log of what was seen.

There are no widgets here; `panel.py` shows a guest in a notebook.
"""

import asyncio
from urllib.parse import urlsplit

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from chatroom_lib.clients.connect import dial_options
from chatroom_lib.instrumentation.names import stated_name
from chatroom_lib.message import Message, MessageError, check_encodable, decode_reply, encode
from chatroom_lib.notebook.chat_errors import CONNECTING, why_lost, why_not
from chatroom_lib.notebook.chat_log import NAME_LENGTH, Line, on_one_line, shortened
from chatroom_lib.server.server import LOGGER, Server
from chatroom_lib.server.serving import servers

LINES = 200  # the log drops its oldest lines beyond that
ENTERING = 1.0  # then the room to take us into its pool,
SENDING = 5.0  # a message to go out,
CLOSING = 1.0  # and the connection to close politely
LOOKING = 0.25  # seconds between two looks at who is in the room


class NotJoined(RuntimeError):
    """Who is not in the room cannot say anything there. The text says what to do."""


# ---------------------------------------------------------------- one person in a room


class ChatSession:
    """One person in one room. All of it runs on the background loop; other threads may read its attributes.

    `lines` is replaced, never changed, so that whoever reads it on another thread has a whole one.
    """

    def __init__(self, url: str, name: str, changed):
        self.url, self.name = url, name
        self.changed = changed  # called after every change that can be seen
        self.state = "joining"  # "joined", "left", "lost"
        self.status = f"Joining as {name} …"
        self.lines: tuple[Line, ...] = ()
        self.people: int | None = None  # in the room; None: nobody can tell
        self.visit: asyncio.Task | None = None  # from joining to its end
        self.arrived = asyncio.Event()  # the visit has got in, or it has failed to
        self.connection = None
        self.server: Server | None = None  # if it is in this process
        self.seen: list | None = None  # who was in the room at the last look
        self.farewell = ""  # why we leave, if we do so ourselves
        self.listeners: list[tuple[str, asyncio.Future]] = []  # what heard() waits for

    def become(self, state: str, status: str) -> None:
        self.state, self.status = state, status
        self.add(Line("trouble" if state == "lost" else "news", status))

    def add(self, line: Line) -> None:
        self.lines = (*self.lines[1 - LINES :], line)
        self.changed()

    def trouble(self, text: str) -> None:
        self.add(Line("trouble", text))

    # ------------------------------------------------------------ join and leave

    async def join(self, name: str) -> bool:
        """Join, unless we are in or on our way; returns whether we are in, within 8 s."""
        if self.visit and self.farewell and not self.visit.done():  # we are on our way out
            await asyncio.wait([self.visit])
        if not self.visit or self.visit.done():
            self.name, self.farewell = name, ""
            self.arrived.clear()
            self.state, self.status = "joining", f"Joining as {name} …"
            self.changed()
            self.visit = asyncio.create_task(self.attend())
            self.visit.add_done_callback(self.over)  # a task that is cancelled early does not even start
        await self.arrived.wait()
        return self.state == "joined"

    async def leave(self, farewell: str = "You have left.") -> None:
        """Leave politely; ends within 2 s, whatever the server does."""
        if not self.visit:
            if self.state == "joining":
                self.become("left", farewell)
        elif not self.visit.done():
            self.farewell = farewell
            await self.hang_up()
            await asyncio.wait([self.visit], timeout=CLOSING)

    async def hang_up(self) -> None:
        connection = self.connection
        if not connection:  # not yet
            self.visit.cancel()
            return
        try:
            async with asyncio.timeout(CLOSING):
                await connection.close()
        except TimeoutError:
            pass
        finally:
            connection.transport.abort()  # does nothing if it is closed

    async def attend(self) -> None:
        """One visit."""
        try:
            options = dial_options(self.name)
            async with connect(self.url, open_timeout=CONNECTING, logger=LOGGER, **options) as self.connection:
                await self.stay()
        except Exception as error:
            before = self.state == "joining"
            self.become("lost", f"{'Could not join' if before else 'Lost'}: {why_not(error, self.url)}")

    def over(self, visit: asyncio.Task) -> None:
        self.connection = self.people = None
        if visit.cancelled():  # only hang_up() cancels
            self.become("left", self.farewell)
        self.arrived.set()
        self.changed()

    async def stay(self) -> None:
        self.server, self.seen = server_here(self.url), None
        await self.enter()
        if not self.farewell:
            self.become("joined", f"You have joined as {self.name}.")
        self.arrived.set()
        await self.listen()
        if self.farewell:
            self.become("left", self.farewell)
        else:
            self.become("lost", f"Connection lost: {why_lost(self.connection)}")

    async def listen(self) -> None:
        watching = asyncio.create_task(self.watch())
        try:
            while not self.farewell:
                self.receive(await self.connection.recv())
                await asyncio.sleep(0)  # recv() does not wait if there is much to receive; others want a turn
        except ConnectionClosed:
            pass
        finally:
            watching.cancel()

    # ------------------------------------------------------------ say and hear

    async def say(self, content: str) -> None:
        """Hand `content` to the connection. Raises NotJoined, and ValueError if it cannot be sent."""
        if self.state == "joining":
            await self.arrived.wait()
        frame = encode(Message(self.name, checked_text(content)))
        connection = self.connection
        if self.state != "joined" or self.farewell or not connection:
            raise NotJoined(f"{self.name} is not in the room. Join first.")
        try:
            async with asyncio.timeout(SENDING):
                await connection.send(frame)
        except TimeoutError:  # it is on its way all the same: it waits in the connection's buffer
            self.trouble("The room is slow to take what you have said.")
        except ConnectionClosed:
            raise NotJoined(f"{self.name}'s connection is lost. Join again.") from None

    def receive(self, frame: str | bytes) -> None:
        try:
            message = decode_reply(frame)
        except MessageError as error:
            return self.trouble(f"The room has sent something that is no message: {error}.")
        if message.refused is not None:
            refused, why = shortened(message.refused, 100), shortened(message.content)
            return self.trouble(f"“{refused}” was not sent. The room says: {why}")
        self.look()  # so that whoever says something was seen coming before
        kind = "own" if message.token == self.name else "other"
        self.add(Line(kind, shortened(message.content), on_one_line(message.token)))
        for content, heard in self.listeners:
            if content == message.content and not heard.done():
                heard.set_result(None)

    async def hear(self, content: str, timeout: float) -> None:
        """Wait until the log has a message with that content. Raises TimeoutError after `timeout` seconds."""
        if any(line.name and line.text == shortened(content) for line in self.lines):
            return
        listener = content, asyncio.get_running_loop().create_future()
        self.listeners.append(listener)
        try:
            async with asyncio.timeout(timeout):
                await listener[1]
        except TimeoutError:
            wanted = shortened(content, 100)
            raise TimeoutError(f"{self.name} has not heard {wanted!r} within {timeout:g} s") from None
        finally:
            self.listeners.remove(listener)

    # ------------------------------------------------------------ who else is there

    def members(self) -> list | None:
        """The connections in the room's pool. None if its server is elsewhere, or the room is broken."""
        try:
            return list(self.server.room.members()) if self.server else None
        except Exception:  # a reader's own room may fail in any way, and it is not for us to say so
            return None

    def is_me(self, member) -> bool:
        mine = self.connection.local_address
        return isinstance(member, ServerConnection) and member.remote_address == mine

    async def enter(self) -> None:
        """Wait until the room has taken us in, so that we hear what is said from then on; not for long."""
        for _ in range(round(ENTERING / 0.05)):
            members = self.members()
            if self.farewell or members is None or any(map(self.is_me, members)):
                break
            await asyncio.sleep(0.05)

    async def watch(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(LOOKING)

    def look(self) -> None:
        """Count the people, and tell who has come and gone since the last look."""
        members = self.members()
        if members is not None and members != self.seen:
            self.people = len(members)
            self.tell(members, members if self.seen is None else self.seen)
            self.seen = members

    def tell(self, members: list, seen: list) -> None:
        for member in seen:
            if member not in members and not self.is_me(member):
                self.add(Line("news", f"{name_of(member)} has left."))
        for member in members:
            if member not in seen and not self.is_me(member):
                self.add(Line("news", f"{name_of(member)} has joined."))
        self.changed()


def name_of(member) -> str:
    """What somebody in the pool calls itself. Browsers do not tell."""
    name = stated_name(member) if isinstance(member, ServerConnection) else None  # else in a reader's own room
    return "Somebody" if name is None else on_one_line(name)


def server_here(url: str) -> Server | None:
    """The server of this process that serves `url`."""
    return next((server for server in servers if server.running and server.url == url), None)


def checked_url(target: "str | Server") -> str:
    url = getattr(target, "url", target)
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("ws", "wss") and parts.hostname and parts.port != 0 and not parts.fragment
    except (ValueError, TypeError, AttributeError):  # a port of seven digits, for example, or no text
        good = False
    if not good:
        raise ValueError(f"{url!r} is no room's address; give a running server, or ws://host:port/chatroom")
    return url


def checked_name(name: str) -> str:
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"{name!r} is no name; give one, as in ChatPanel(server, 'Ann')")
    name = name.strip()
    if len(name) > NAME_LENGTH:
        start = shortened(name, 20)
        raise ValueError(f"the name {start!r} has {len(name)} characters; take at most {NAME_LENGTH}")
    if not name.isprintable():
        raise ValueError(f"the name {name!r} has characters that cannot be shown; take others")
    return name


def checked_text(content: str) -> str:
    if not isinstance(content, str):
        raise ValueError(f"a message is text, not {type(content).__name__}")
    return check_encodable(content, "the message")
