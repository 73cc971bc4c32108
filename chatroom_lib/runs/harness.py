"""What a run in virtual time and one on real sockets have in common: served rooms, their clients, and the Trace."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from functools import partial

from websockets.asyncio.client import ClientConnection, connect

from chatroom_lib.clients.address import Speech
from chatroom_lib.clients.connect import connect_options
from chatroom_lib.clients.player import Dial, play
from chatroom_lib.clients.scenario import SMALL_BUFFER, Client, Cut, Kill, Scenario
from chatroom_lib.clients.wires import TextWire
from chatroom_lib.instrumentation.connections import ObservedConnection
from chatroom_lib.instrumentation.pool import Pool
from chatroom_lib.instrumentation.room_code import is_room_code
from chatroom_lib.instrumentation.tasks import Tasks, watcher
from chatroom_lib.instrumentation.waits import waits
from chatroom_lib.rooms import Room, RoomError, RoomSpec, create, display_name, resolve
from chatroom_lib.rooms.loader import is_room_object
from chatroom_lib.rooms.requirements import takes
from chatroom_lib.server.server import Server, ServerError, observed_server, url_of
from chatroom_lib.trace import DISK_LOST, Trace

TAG = "k0"  # of marks: each run has a room of its own
TIME_TO_STOP = 15.0  # virtual seconds that a room's `__aexit__` may take, and then the tasks that it leaves


class Run:
    """One run: start the `servers`, then `begin`; when its time is over, `finish`. After a kill there is a new one in
    place of the old.

    `path`: of the file that the rooms may keep, beside each other and one after the other. `nats`: the address of the
    NATS server that they may share. `port`: of the first server; the others have the next ones.
    """

    def __init__(
        self,
        room: RoomSpec | Room,
        scenario: Scenario,
        seed: int | None = None,
        connection_class: type[ObservedConnection] = ObservedConnection,
        port: int = 0,
        keepalive: float | None = None,
        path: str | None = None,
        nats: str | None = None,
    ):
        self.create = partial(create, room, path=path, keep=scenario.keep, nats=nats)
        given, room = room, self.create()
        self.is_ours = room is not given  # to stop: whoever gives us a room may want to look at it afterwards
        require_new_rooms(given, scenario)
        self.scenario, self.wire = spoken(room, scenario)
        self.trace = Trace(display_name(room), self.scenario.clients, seed, servers=scenario.servers, wire=self.wire)
        self.serve = partial(
            observed_server,
            trace=self.trace,
            connection_class=connection_class,
            keepalive=keepalive,
            write_limit=SMALL_BUFFER,
        )
        rooms = [room, *(self.create() for _ in range(scenario.servers - 1))]
        self.servers = [
            self.serve(room, number=number, port=port and port + number) for number, room in enumerate(rooms)
        ]
        self.former: list[Server] = []  # those that have been killed, and have a successor
        self.trace.keepalive = self.servers[0].options["ping_interval"]

    @property
    def running(self) -> list[Server]:
        return [server for server in self.servers if server.running and not server.tasks.killed]

    @property
    def to_be_stopped(self) -> list[Server]:
        """Those that can be, after the run."""
        return self.running if self.is_ours and self.trace.ending in ("quiescent", "time is up") else []

    def begin(self, loop: asyncio.AbstractEventLoop, dial: Dial) -> None:
        """The rooms have started: from now on time counts, and the clients play their parts."""
        self.trace.start_clock(loop)
        self.pools = [Pool(server.room, self.trace, number) for number, server in enumerate(self.servers)]
        self.playing = loop.create_task(play(self.scenario, dial, self.trace, self.wire))

    async def connect(self, client: Client, number: int, **options) -> ClientConnection:
        """To the server of that number."""
        server = self.servers[number]
        return await connect(url_of(server.host, server.port, client.path), **connect_options(client), **options)

    def number_of(self, tasks: Tasks | None) -> int:
        """Of the server with these tasks; 0 if there is none."""
        return next((number for number, server in enumerate(self.servers) if server.tasks is tasks), 0)

    def update_pools(self, tasks: Tasks | None = None) -> None:
        """Look who is in them now; or only in that of the server with these tasks."""
        for server, pool in zip(self.servers, self.pools):
            if tasks in (None, server.tasks):
                pool.update()

    def note_kill(self, kill: Kill) -> None:
        """This server's process has been killed just now."""
        self.pools[kill.server].end()
        self.trace.record("killed", self.trace.server_name(kill.server), DISK_LOST if kill.disk else "")

    async def start_again(self, number: int) -> None:
        """A new room, as after a kill, at the same address."""
        before = self.servers[number]
        self.former.append(before)
        server = self.servers[number] = self.serve(self.create(), number=number, port=before.port)
        try:
            await server.start()
        except ServerError as error:
            server.record_error(error)
        else:
            self.pools[number] = Pool(server.room, self.trace, number)
            self.trace.record("started", self.trace.server_name(number))

    def finish(self, ending: str) -> Trace:
        """Whatever happens from now on is teardown. Raises what a client did that no client should."""
        errors, settled, suspended = [], [], {}
        for server in [*self.former, *self.servers]:
            errors += server.errors
            settled += server.tasks.awaited_since()
            suspended |= {} if server.tasks.killed else server.tasks.visitors
        self.trace.finish(ending, waits(suspended), errors, settled)
        if self.playing.done():
            self.playing.result()
        return self.trace


def spoken(room: Room, scenario: Scenario) -> tuple[Scenario, TextWire | None]:
    """The scenario as it is played on the wire of this room, and that wire; None: that of this library's rooms. An
    attribute `speech` of the room, {"wire": "text"} for example, says how people speak to it (see Speech)."""
    if not (options := getattr(room, "speech", None)):
        return scenario, None
    speech = Speech(**options)
    scenario = replace(scenario, clients=[speech.person(client) for client in scenario.clients])
    return scenario, speech.wire_for(scenario.clients, TAG)


def require_new_rooms(room: RoomSpec | Room, scenario: Scenario) -> None:
    """Raises RoomError for a room object in a scenario that needs more than one room."""
    if is_room_object(room) and (scenario.kills or scenario.servers > 1):
        why = "each server has its own" if scenario.servers > 1 else "after a kill there is a new one"
        raise RoomError(f"{room!r:.80} is one room, and {why}: name its class, or a function")


async def note_cut(trace: Trace, cut: Cut) -> None:
    """The server is cut off from the log at that time, and reconnected later."""
    for moment, kind in (cut.since, "cut off"), (cut.until, "reconnected"):
        await asyncio.sleep(moment - trace.clock())
        trace.record(kind, trace.server_name(cut.server))


def shares_nats(room: RoomSpec | Room) -> bool:
    """Does it ask for the address of a NATS server?"""
    return not is_room_object(room) and takes(resolve(room), "nats")


def stop_simulated(loop, run: Run) -> Trace:
    """Stop the rooms of a finished run as a server does, in virtual time: disconnect everybody, and leave it.

    Notes in the Trace whether an `__aexit__` fails, and which of a room's tasks go on. One that never becomes quiescent
    is not stopped, nor is one that was given as an object.
    """
    for server in run.to_be_stopped:
        loop.after_iteration = lambda tasks: None
        complete(loop, server.disconnect())
        leaving = complete(loop, leave(server))
        if not leaving.done():
            run.trace.exit_error = RuntimeError(f"it does not return within {TIME_TO_STOP:.0f} s")
        elif not leaving.cancelled():
            run.trace.exit_error = run.trace.exit_error or leaving.exception()
            loop.run_until_quiescent(TIME_TO_STOP)
            run.trace.left_tasks += [name for task in server.tasks.visitors if (name := own_name(task))]
    return run.trace


def complete(loop, coroutine: Coroutine) -> asyncio.Task:
    """The task that has run this coroutine; it is not done if that takes too long, or waits for what never comes."""
    task = loop.create_task(coroutine)
    task.add_done_callback(lambda _: loop.end("done"))
    loop.run_until_quiescent(TIME_TO_STOP)
    return task


async def leave(server: Server) -> None:
    watcher.set(server.tasks)  # for the tasks that are made now
    await server.room.__aexit__(None, None, None)


def own_name(task: asyncio.Task) -> str:
    """What the room calls the coroutine of a task; "" if it is not the room's own."""
    code = getattr(task.get_coro(), "cr_code", None)
    return code.co_qualname if code and is_room_code(code.co_filename) else ""
