"""One client's session in a room: its connection, its state, and its log.

There are no widgets here; `chat_panel.py` shows a session in a notebook.
"""

import asyncio
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from chatroom_lib.clients.backoff import Backoff
from chatroom_lib.clients.connect import FOR_GOOD, asking_for_the_rest, dial_options
from chatroom_lib.instrumentation.names import stated_name
from chatroom_lib.instrumentation.pool import listed, require_connections
from chatroom_lib.message import (
    Message,
    MessageError,
    PageRequest,
    Position,
    check_encodable,
    decode_end,
    decode_position,
    decode_reply,
    encode,
    encode_request,
)
from chatroom_lib.notebook.chat_errors import why_lost, why_not
from chatroom_lib.notebook.chat_log import (
    NAME_LENGTH,
    Line,
    gone_for_good,
    on_one_line,
    place_in,
    shortened,
    start_of_newest,
)  # fmt: skip
from chatroom_lib.runtime.console import one_line
from chatroom_lib.server.server import LOGGER, Server
from chatroom_lib.server.serving import servers

MAX_LINES = 200  # the log drops its oldest lines beyond that,
MAX_EARLIER = 1000  # or beyond that, if earlier ones were asked for
LAST = PAGE = 50  # earlier messages that we ask for, of a room with a history: on joining, and at a time
CONNECT_TIMEOUT = 5.0  # seconds for the WebSocket handshake,
ADMISSION_TIMEOUT = 1.0  # seconds after it for the room to add us to its pool,
SEND_TIMEOUT = 5.0  # seconds for one send,
CLOSE_TIMEOUT = 1.0  # seconds for a closing handshake
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0  # seconds before we try again by ourselves, if the room has told us to come back,
TRIES = 6  # as often as that
POLL_INTERVAL = 0.25  # seconds between two reads of the room's members


class NotJoined(RuntimeError):
    """Nothing can be said before joining. The text says what to do."""


@dataclass(frozen=True)
class Said:
    """What we have said and not heard yet."""

    message: Message
    doubtful: bool = False  # the connection it was said on is no more
    again: bool = False  # say it again when we are back, if the room can know it

    @property
    def line(self) -> Line:
        fate = "perhaps not sent" if self.doubtful else "sending …"
        return Line("unheard", shortened(self.message.content), on_one_line(self.message.token), fate=fate)


class ChatSession:
    """One client in one room. All of it runs on the background loop; other threads may read its attributes.

    `lines` and `unheard` are replaced, never changed, so that another thread always reads a consistent one.
    """

    def __init__(self, urls: list[str], name: str, changed, connect_timeout: float = CONNECT_TIMEOUT):
        self.urls, self.name, self.connect_timeout = urls, name, connect_timeout
        self.which = 0  # at which of these we are, or try next
        self.changed = changed  # called after every visible change
        self.state = "joining"  # "joined", "left", "lost"
        self.status = f"Joining as {name} …"
        self.lines: tuple[Line, ...] = ()
        self.max_lines = MAX_LINES
        self.unheard: tuple[Said, ...] = ()
        self.numbered = False  # a message with a number has come during this visit: the room has a history
        self.position: Position | None = None  # how far we have heard the history; None: the room has not told us
        self.told = False  # it has, during this visit
        self.asked = 0  # we wait for the page of the history before this number; 0: for none
        self.oldest = 0  # the lowest number that has come; 0: none has
        self.begin = 1  # nothing is kept before this number
        self.posting: set[asyncio.Task] = set()
        self.people: int | None = None  # in the room; None: unknown
        self.visit: asyncio.Task | None = None  # from joining to leaving
        self.backoff = Backoff(FIRST_WAIT, LONGEST_WAIT, elsewhere=len(urls) > 1)
        self.returning: asyncio.Task | None = None  # comes back by itself, because the room has told when
        self.join_finished = asyncio.Event()  # set once joining has succeeded or failed
        self.connection = None
        self.server: Server | None = None  # if it is in this process
        self.seen: list | None = None  # the members at the last poll
        self.members_broken = False  # the log has said that the room's members() is wrong
        self.leave_reason = ""  # what the log says if we leave by ourselves
        self.listeners: list[tuple[str, asyncio.Future]] = []  # what hear() waits for

    @property
    def url(self) -> str:
        return self.urls[self.which]

    def set_state(self, state: str, status: str) -> None:
        self.state, self.status = state, status
        self.add(Line("trouble" if state == "lost" else "news", status))

    def add(self, line: Line) -> None:
        self.lines = (*self.lines[1 - self.max_lines :], line)
        self.changed()

    def trouble(self, text: str) -> None:
        self.add(Line("trouble", text))

    # ------------------------------------------------------------ join and leave

    async def join(self, name: str) -> bool:
        """Join, unless we have joined or are joining; returns within 8 s whether we are in."""
        if self.visit and self.leave_reason and not self.visit.done():  # we are leaving
            await asyncio.wait([self.visit])
        if not self.visit or self.visit.done():
            self.name, self.leave_reason = name, ""
            self.connection = self.people = None
            self.numbered, self.told, self.asked = False, False, 0
            self.backoff.told = None
            self.join_finished.clear()
            self.state, self.status = "joining", f"Joining as {name} …"
            self.changed()
            self.visit = asyncio.create_task(self.run_visit())
            self.visit.add_done_callback(self.visit_ended)  # since a task that is cancelled early never starts
        await self.join_finished.wait()
        return self.state == "joined"

    async def leave(self, leave_reason: str = "You have left.") -> None:
        """Leave politely; ends within 2 s, whatever the server does."""
        if self.returning:
            self.returning.cancel()
        if not self.visit:
            if self.state == "joining":
                self.set_state("left", leave_reason)
        elif not self.visit.done():
            self.leave_reason = leave_reason
            await self.hang_up()
            await asyncio.wait([self.visit], timeout=CLOSE_TIMEOUT)

    async def hang_up(self) -> None:
        connection = self.connection
        if not connection:  # not yet
            self.visit.cancel()
            return
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await connection.close()
        except TimeoutError:
            pass
        finally:
            connection.transport.abort()  # does nothing if it is closed

    async def run_visit(self) -> None:
        """One visit, from connecting to the end of the connection."""
        try:
            options = {**dial_options(self.name), "open_timeout": self.connect_timeout, "logger": LOGGER}
            async with connect(asking_for_the_rest(self.url, self.position, LAST), **options) as self.connection:
                await self.converse()
        except Exception as error:
            self.backoff.note_failure(error)
            failed = "Could not join" if self.state == "joining" else "Lost"
            self.set_state("lost", f"{failed}: {why_not(error, self.url, self.connect_timeout)}")
        finally:
            self.doubt()

    def visit_ended(self, visit: asyncio.Task) -> None:
        if visit is not self.visit:
            return  # we are joining again already
        self.connection = self.people = None
        if visit.cancelled():  # only hang_up() cancels
            self.set_state("left", self.leave_reason)
        self.join_finished.set()
        self.changed()
        if self.state == "lost":
            self.which = (self.which + 1) % len(self.urls)
        returns = self.backoff.spread or (len(self.urls) > 1 and self.position)
        if self.state == "lost" and returns and not (self.returning and not self.returning.done()):
            self.returning = asyncio.create_task(self.come_back())

    async def come_back(self) -> None:
        """Join again by ourselves: the room has told how long all take to come back, or there are other servers."""
        while self.state == "lost" and self.backoff.failed < TRIES:
            await asyncio.sleep(self.backoff.next_wait())
            if self.state == "lost":
                await self.join(self.name)

    async def converse(self) -> None:
        self.server, self.seen, self.members_broken = server_here(self.url), None, False
        await self.wait_for_admission()
        if not self.leave_reason:
            self.set_state("joined", f"You have joined as {self.name}.")
        self.join_finished.set()
        await self.receive_all()
        if self.leave_reason:
            self.set_state("left", self.leave_reason)
        else:
            self.lose()

    def lose(self) -> None:
        self.backoff.note_loss(self.connection)
        if self.connection.close_code in FOR_GOOD:
            self.backoff.note_cut()  # nothing to come back to
        spread = self.backoff.spread
        again = f" Joining again within {spread:g} s." if spread else ""
        self.set_state("lost", f"Connection lost: {why_lost(self.connection)}{again}")

    async def receive_all(self) -> None:
        polling = asyncio.create_task(self.poll_members())
        try:
            while not self.leave_reason:
                self.receive(await self.connection.recv())
                await asyncio.sleep(0)  # recv() does not yield while frames are queued; let other tasks run
        except ConnectionClosed:
            pass
        finally:
            polling.cancel()

    # ------------------------------------------------------------ say and hear

    async def say(self, content: str) -> None:
        """Hand `content` to the connection. Raises NotJoined, and ValueError if it cannot be sent."""
        if self.state == "joining":
            await self.join_finished.wait()
        said = Said(Message(self.name, checked_text(content), id=secrets.token_hex(16)))
        if not self.can_send():
            raise NotJoined(f"{self.name} is not in the room. Join first.")
        self.set_unheard(*self.unheard, said)
        try:
            async with asyncio.timeout(SEND_TIMEOUT):
                await self.connection.send(encode(said.message))
        except TimeoutError:  # it waits in the connection's buffer and may still be sent
            self.trouble("The room is slow to accept what you said.")
        except ConnectionClosed:
            self.forget(said.message.id)
            raise NotJoined(f"{self.name}'s connection is lost. Join again.") from None

    def can_send(self) -> bool:
        return self.state == "joined" and not self.leave_reason and self.connection is not None

    def post(self, frame: str) -> None:
        """Send `frame` when the connection takes it."""
        task = asyncio.create_task(self.transmit(self.connection, frame))
        self.posting.add(task)
        task.add_done_callback(self.posting.discard)

    async def transmit(self, connection, frame: str) -> None:
        with suppress(ConnectionClosed, TimeoutError):
            async with asyncio.timeout(SEND_TIMEOUT):
                await connection.send(frame)

    # ------------------------------------------------------------ said and not heard

    def set_unheard(self, *unheard: Said) -> None:
        self.unheard = unheard
        self.changed()

    def forget(self, id: str | None) -> None:
        self.set_unheard(*(said for said in self.unheard if said.message.id != id))

    def acknowledged_by(self, message: Message) -> Said | None:
        """What we have said, if it is `message`. Rooms that know no ids say it as we have said it."""
        for said in self.unheard:
            ours = said.message
            same = ours.id == message.id if message.id else not said.doubtful and ours.content == message.content
            if same and ours.token == message.token:
                return said
        return None

    def doubt(self) -> None:
        """The visit is over before we heard these."""
        code = self.connection.close_code if self.connection else None
        again = not self.leave_reason and code not in FOR_GOOD
        doubtful = (said if said.doubtful else replace(said, doubtful=True, again=again) for said in self.unheard)
        self.set_unheard(*doubtful)

    def say_again(self, all_of_them: bool = True) -> None:
        """Say again what the room can know, or all that is doubtful."""
        if not self.can_send():
            return self.trouble(f"Not sent: {self.name} is not in the room.")
        unheard = []
        for said in self.unheard:
            if said.doubtful and (all_of_them or said.again and said.message.token == self.name):
                said = Said(said.message)
                self.post(encode(said.message))
            unheard.append(said)
        self.set_unheard(*unheard)

    def discard(self) -> None:
        """Forget what is doubtful."""
        self.set_unheard(*(said for said in self.unheard if not said.doubtful))

    # ------------------------------------------------------------ hear

    def receive(self, frame: str | bytes) -> None:
        try:
            message = decode_reply(frame)
        except MessageError as error:
            return self.trouble(f"The room has sent something that is not a message: {error}.")
        if message.refused is not None:
            return self.refused(message)
        if message.content == "" and (before := decode_end(frame)) is not None:
            return self.nothing_before(before)
        if message.content == "" and (position := decode_position(frame)):
            return self.welcomed(position)
        self.update_people()  # so that the log names a sender as joined before its first message
        if said := self.acknowledged_by(message):
            self.forget(said.message.id)
        kind = "own" if message.token == self.name else "other"
        line = Line(kind, shortened(message.content), on_one_line(message.token), message.id, message.seq)
        if message.seq is None:
            self.add(line)
        else:
            self.place(line, may_be_old=bool(said) or message.seq < self.asked)
        for content, heard in self.listeners:
            if content == message.content and not heard.done():
                heard.set_result(None)

    def refused(self, message: Message) -> None:
        for said in self.unheard:
            if said.message.id == message.id or (not message.id and said.message.content == message.refused):
                self.forget(said.message.id)
                break
        refused, why = shortened(message.refused, 100), shortened(message.content)
        self.trouble(f"“{refused}” was not sent. The room says: {why}")

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

    # ------------------------------------------------------------ the history

    def place(self, line: Line, may_be_old: bool) -> None:
        """Add a message with a number where it belongs, unless it is there, or has been."""
        is_repeat = self.told and line.seq <= self.position.seq and not may_be_old
        if not is_repeat:
            self.insert(line, may_be_old)
        if line.seq == self.asked - 1:
            self.asked = 0
        if self.told:
            self.position = replace(self.position, seq=max(self.position.seq, line.seq))
        elif not self.numbered:
            self.first_number()

    def insert(self, line: Line, may_be_old: bool) -> None:
        index = place_in(self.lines, line.seq)
        there = self.lines[index] if index < len(self.lines) else None
        is_taken = there is not None and there.seq == line.seq
        if not (is_taken and there.is_same_as(line)):
            if is_taken or (line.seq < self.oldest and not may_be_old):
                self.begin_anew()
                index = len(self.lines)
            self.oldest = min(self.oldest or line.seq, line.seq)
            self.lines = (*self.lines[:index], line, *self.lines[index:])[-self.max_lines :]
            self.changed()

    def first_number(self) -> None:
        """A room with a history, which does not tell us where we are."""
        self.numbered, self.position = True, None
        if any(said.again for said in self.unheard):
            # To this there is no other answer than that there is nothing, and it comes behind all it has for us.
            self.post(encode_request(PageRequest(before=1, limit=1)))

    def welcomed(self, position: Position) -> None:
        """The room tells us from where on it goes on, and what is gone for good of that which we have not heard."""
        heard, gap, self.position = self.position, position.gap, position
        self.backoff.note_position(position)
        if heard and (position.epoch != heard.epoch or (gap and gap.first is None)):
            self.begin_anew("The room has lost its history. What was said before is not there any more.")
        elif gap and gap.first is not None:
            self.add(Line("news", gone_for_good(gap)))
        if gap:
            self.begin = max(self.begin, gap.last + 1)
        if not self.told:
            self.told = True
            self.say_again(all_of_them=False)  # if such a room has it already, we hear it under its number

    def begin_anew(self, words: str = "The room has begun a new history.") -> None:
        """The room has lost its history, or is another one: its numbers begin anew, and ours mean nothing any more."""
        self.lines = tuple(replace(line, seq=None) for line in self.lines)
        self.oldest, self.begin, self.asked = 0, 1, 0
        self.add(Line("news", words))

    def wanted(self) -> int | None:
        """The number before which earlier messages can be had: first those that are missing in between, then those
        before all. None: none can."""
        first = start_of_newest(self.lines)
        if first is None or first <= self.begin or len(self.lines) + PAGE > MAX_EARLIER:
            return None
        return first

    def ask_for_earlier(self) -> None:
        wanted = self.wanted()
        if wanted and not self.asked and self.can_send():
            self.asked = wanted
            self.max_lines = max(self.max_lines, len(self.lines) + PAGE)
            self.post(encode_request(PageRequest(wanted, PAGE)))

    def nothing_before(self, seq: int) -> None:
        if seq == 1:
            self.say_again(all_of_them=False)
        elif seq == self.asked:
            self.begin, self.asked = seq, 0
            self.changed()

    # ------------------------------------------------------------ the other members

    def members(self) -> list | None:
        """The connections in the room's pool. None if its server is elsewhere, or its `members()` is broken: the log
        says so, once."""
        members = None
        if self.server:
            try:
                members = list(listed(self.server.room))  # a copy, to compare the next one with
                require_connections(members)
            except (RuntimeError, TypeError) as error:
                if not self.members_broken:
                    self.members_broken = True
                    self.trouble(f"Cannot tell who is in the room: {one_line(str(error))}")
        return members

    def is_me(self, member) -> bool:
        mine = self.connection.local_address
        return isinstance(member, ServerConnection) and member.remote_address == mine

    async def wait_for_admission(self) -> None:
        """Wait until the room has added us to its pool, or a second: what is said from then on is sent to us."""
        for _ in range(round(ADMISSION_TIMEOUT / 0.05)):
            members = self.members()
            if self.leave_reason or members is None or any(map(self.is_me, members)):
                break
            await asyncio.sleep(0.05)

    async def poll_members(self) -> None:
        while True:
            self.update_people()
            await asyncio.sleep(POLL_INTERVAL)

    def update_people(self) -> None:
        """Count the members, and log those that joined or left since the last poll."""
        members = self.members()
        if members is not None and members != self.seen:
            self.people = len(members)
            self.log_changes(members, members if self.seen is None else self.seen)
            self.seen = members

    def log_changes(self, members: list, seen: list) -> None:
        for member in seen:
            if member not in members and not self.is_me(member):
                self.add(Line("news", f"{member_name(member)} has left."))
        for member in members:
            if member not in seen and not self.is_me(member):
                self.add(Line("news", f"{member_name(member)} has joined."))
        self.changed()


def member_name(member) -> str:
    """A member's self-declared name; browsers send none."""
    name = stated_name(member) if isinstance(member, ServerConnection) else None  # else in a reader's own room
    return "Somebody" if name is None else on_one_line(name)


def server_here(url: str) -> Server | None:
    """The server of this process that serves `url`."""
    return next((server for server in servers if server.running and server.url == url), None)


def checked_urls(target: "str | Server | Iterable[str | Server]") -> list[str]:
    """The addresses of one or several servers with one history."""
    several = isinstance(target, (list, tuple))
    if several and not target:
        raise ValueError("give the address of a room, or several of servers with one history, not an empty list")
    return [checked_url(each) for each in (target if several else [target])]


def checked_url(target: "str | Server") -> str:
    url = getattr(target, "url", target)
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("ws", "wss") and parts.hostname and parts.port != 0 and not parts.fragment
    except (ValueError, TypeError, AttributeError):  # not text, or for example a port of seven digits
        good = False
    if not good:
        raise ValueError(f"{url!r} is not the address of a room; give a running server, or ws://host:port/chatroom")
    return url


def checked_name(name: str) -> str:
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"{name!r} is not a name; give one, as in ChatPanel(server, 'Ann')")
    name = name.strip()
    if len(name) > NAME_LENGTH:
        start = shortened(name, 20)
        raise ValueError(f"the name {start!r} has {len(name)} characters; use at most {NAME_LENGTH}")
    if not name.isprintable():
        raise ValueError(f"the name {name!r} has characters that cannot be shown; use others")
    return name


def checked_text(content: str) -> str:
    if not isinstance(content, str):
        raise ValueError(f"a message is text, not {type(content).__name__}")
    return check_encodable(content, "the message")
