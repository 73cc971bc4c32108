"""A scenario played on a server that is not ours, in real time. All that is known of the server is what people hear,
and, if its process is known, what that has.

The buffers on the way to who does not read promptly are small. A segment size as on Ethernet keeps those at the
server's end small, too: Linux takes 3 MB there for a client on the same machine, and so some 70 kB in all.
"""

import asyncio
import contextlib
import os
import socket
from dataclasses import dataclass, field, replace
from operator import attrgetter

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from chatroom_lib.clients.address import Address
from chatroom_lib.clients.connect import connect_options
from chatroom_lib.clients.hearing import why_closed
from chatroom_lib.clients.player import play
from chatroom_lib.clients.scenario import NEVER, SMALL_BUFFER, Client, Scenario
from chatroom_lib.clients.wires import TextWire
from chatroom_lib.runs.program import Program, RunningProgram, Usage, usage
from chatroom_lib.server.server import cancel_after
from chatroom_lib.trace import Event, Trace

SEGMENT = 1460  # bytes
LONGEST_FRAME = 1 << 20  # bytes that a server may send in one frame
LOOK = 0.25  # seconds from one look at the server's process to the next
BEAT = 0.02  # seconds from one look at our own event loop to the next
QUIET = 0.3  # seconds in which nobody hears anything; then we look whether anything is missing
SILENCE = 2.0  # seconds in which nobody hears anything; then nothing comes any more
SLOW = 3  # times as many, for a server that is slow
LET_IN = 1.0  # seconds after which somebody counts as being in the room, though they have heard nothing yet
GIVEN_BACK = 3.0  # seconds in which a server must have closed the connections of those who have left
REST = 0.5  # seconds in which a server gives nothing more back: then it has done so


@dataclass(repr=False)
class OutsideTrace(Trace):
    """What was heard of a server, and what was seen of its process. Nobody sees its pool: a client `entered` when it
    heard something first, or a second after it joined."""

    usages: list[Usage] = field(default_factory=list)  # every now and then; none if no process is known
    before: Usage | None = None  # when nobody was there yet
    after: Usage | None = None  # when all had left
    lag: float = 0.0  # seconds that our own clients were late at most: the machine was busy
    unfinished: bool = False  # people were still hearing something when the time was up
    ended: str = ""  # how the server's process ended meanwhile


class OutsideRun:
    """One run. `ip`: where the server is; `program`: its process, if that is known; `slow`: it may take long to say
    what comes next."""

    def __init__(
        self,
        address: Address,
        ip: str,
        scenario: Scenario,
        program: Program | RunningProgram | None = None,
        slow: bool = False,
    ):
        self.address, self.ip, self.program = address, ip, program
        self.silence = SILENCE * (SLOW if slow else 1)
        self.scenario = replace(scenario, clients=[address.person(client) for client in scenario.clients])
        self.wire = address.new_wire(scenario.clients)
        self.trace = OutsideTrace(address.url, self.scenario.clients)

    async def play(self) -> OutsideTrace:
        trace, loop = self.trace, asyncio.get_running_loop()
        trace.before = await self.at_rest()
        trace.start_clock(loop)
        playing = asyncio.create_task(play(self.scenario, self.dial, trace, self.wire))
        looking = [asyncio.create_task(self.look()), asyncio.create_task(self.beat())]
        try:
            await self.until_over()
            if playing.done():
                playing.result()
            trace.finish("time is up", [], [])
            note_entries(trace)
        finally:
            playing.cancel()  # at once: the clock has been taken from those who would join now
            await cancel_after([*looking, playing], 0)
        trace.after = await self.when_all_have_left()
        return trace

    async def dial(self, client: Client, _: int) -> ClientConnection:
        return await dial(self.address, self.ip, client, self.wire)

    # ------------------------------------------------------------ what is seen meanwhile

    async def until_over(self) -> None:
        """Until all has been heard that was said, nothing comes any more, the server has ended, or the time is up."""
        trace, end = self.trace, self.scenario.duration
        while trace.clock() < min(last_word(self.scenario), end) and not trace.ended:
            await asyncio.sleep(LOOK)
        heard, since = -1, trace.clock()
        while not trace.ended:
            if len(trace.of("heard")) > heard:
                heard, since = len(trace.of("heard")), trace.clock()
            elif all_is_heard(trace) or trace.clock() > since + self.silence:
                return
            if trace.clock() > end:
                trace.unfinished = since > end - self.silence
                return
            await asyncio.sleep(QUIET)

    async def look(self) -> None:
        """At the server's process."""
        while self.program and self.trace.clock and not self.trace.ended:
            if self.program.ended:
                self.trace.ended = self.program.how_it_ended
            else:
                self.trace.usages.append(self.usage())
            await asyncio.sleep(LOOK)

    async def beat(self) -> None:
        """How late is our own event loop, while people talk?"""
        clock, end = asyncio.get_running_loop().time, last_word(self.scenario)
        while (now := self.trace.now()) is not None and now < end:
            due = clock() + BEAT
            await asyncio.sleep(BEAT)
            self.trace.lag = max(self.trace.lag, clock() - due)

    def usage(self) -> Usage | None:
        return self.program and usage(self.program.processes(), self.trace.now() or 0.0)

    async def at_rest(self) -> Usage | None:
        """What the server's process has before anybody comes, as soon as it has given back what earlier people took."""
        clock = asyncio.get_running_loop().time
        least, latest = self.usage(), clock() + GIVEN_BACK
        rest = clock() + REST
        while least and clock() < min(rest, latest):
            await asyncio.sleep(LOOK)
            if (now := self.usage()).descriptors < least.descriptors:
                least, rest = now, clock() + REST
        return least

    async def when_all_have_left(self) -> Usage | None:
        """What the server's process has as soon as it has given back what they took, or some seconds later."""
        clock = asyncio.get_running_loop().time
        latest = clock() + GIVEN_BACK
        while (after := self.usage()) and after.descriptors > self.trace.before.descriptors and clock() < latest:
            await asyncio.sleep(LOOK)
        return after


async def dial(address: Address, ip: str, client: Client, wire: TextWire) -> ClientConnection:
    """Connect, as this server wants it. Raises OSError or InvalidHandshake if that fails."""
    sock = await open_socket(ip, address.port, small=not client.prompt)
    options = {**connect_options(client), "max_size": LONGEST_FRAME}
    try:
        connection = await connect(address.url_for(client.name), sock=sock, **options)
    except ValueError as error:  # such as a header that cannot be sent
        sock.close()
        raise ConnectionError(str(error)) from error
    try:
        async with asyncio.timeout(client.patience):
            await wire.open(connection)
    except ConnectionClosed as error:
        raise ConnectionError(f"the server closed the connection: {why_closed(connection) or error}") from error
    return connection


async def open_socket(ip: str, port: int, small: bool) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET)
    try:
        sock.setblocking(False)
        if os.name == "posix":  # or no server that is started meanwhile could listen at the port that we happen to have
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if small:  # both count only if set before connecting
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
            with contextlib.suppress(OSError):  # not every system lets us
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT)
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, (ip, port))
    except BaseException:
        sock.close()
        raise
    return sock


# ---------------------------------------------------------------- what is read from a run


def last_word(scenario: Scenario) -> float:
    """When the last thing is to happen, in seconds of the run."""
    moments = [0.0]
    for client in scenario.clients:
        joins = client.joins or 0.0
        moments += [joins, *(joins + moment for moment in client.send_times[-1:])]
        moments += [moment for moment in (client.leaves, client.vanishes, client.hurries) if moment < NEVER]
    return max(moments)


def all_is_heard(trace: Trace) -> bool:
    """Has everybody who reads, and is there, heard all that was said?"""
    gone, missed = trace.gone(), trace.missed()
    here = [client for client in trace.clients if client.name not in gone and (client.prompt or client.hurries < NEVER)]
    return not any(missed.get(client.name) for client in here)


def note_entries(trace: Trace) -> None:
    """When each client entered, as far as can be told from outside."""
    entries = []
    for client in trace.clients:
        heard = [event.time for event in trace.of("heard", who=client.name)]
        for visit in trace.visits()[client.name]:
            first = next((time for time in heard if time >= visit.joined), NEVER)
            entered = min(first, visit.joined + LET_IN)
            if entered <= min(visit.ended, trace.duration):
                entries.append(Event(entered, "entered", client.name))
    trace.events = sorted([*trace.events, *entries], key=attrgetter("time"))
    trace.forget_index()
