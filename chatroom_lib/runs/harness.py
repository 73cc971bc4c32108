"""What a run in virtual time and one on real sockets have in common: a served room, its clients, and the Trace."""

import asyncio
from collections.abc import Coroutine
from functools import partial

from websockets.asyncio.client import ClientConnection, connect

from chatroom_lib.clients.connect import connect_options
from chatroom_lib.clients.player import Dial, play
from chatroom_lib.clients.scenario import SMALL_BUFFER, Client, Kill, Scenario
from chatroom_lib.instrumentation.connections import ObservedConnection
from chatroom_lib.instrumentation.pool import Pool
from chatroom_lib.instrumentation.room_code import is_room_code
from chatroom_lib.instrumentation.tasks import watcher
from chatroom_lib.instrumentation.waits import waits
from chatroom_lib.rooms import Room, RoomError, RoomSpec, create, display_name
from chatroom_lib.rooms.loader import is_room_object
from chatroom_lib.server.server import Server, ServerError, observed_server, url_of
from chatroom_lib.trace import DISK_LOST, Trace

TIME_TO_STOP = 15.0  # virtual seconds that a room's `__aexit__` may take, and then the tasks that it leaves


class Run:
    """One run: start `server`, then `begin`; when its time is over, `finish`. After a kill there is a new `server`.

    `path`: of the file that the room may keep, one after the other.
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
    ):
        self.create = partial(create, room, path=path, keep=scenario.keep)  # one after the other
        given, room = room, self.create()
        self.is_ours = room is not given  # to stop: whoever gives us a room may want to look at it afterwards
        if scenario.kills:
            require_new_rooms(given)
        self.scenario = scenario
        self.trace = Trace(display_name(room), scenario.clients, seed)
        self.serve = partial(
            observed_server,
            trace=self.trace,
            connection_class=connection_class,
            keepalive=keepalive,
            write_limit=SMALL_BUFFER,
        )
        self.server = self.serve(room, port=port)
        self.servers = [self.server]  # one after the other
        self.trace.keepalive = self.server.options["ping_interval"]

    @property
    def can_be_stopped(self) -> bool:
        runs = self.server.running and not self.server.tasks.killed
        return self.is_ours and runs and self.trace.ending in ("quiescent", "time is up")

    def begin(self, loop: asyncio.AbstractEventLoop, dial: Dial) -> None:
        """The room has started: from now on time counts, and the clients play their parts."""
        self.trace.start_clock(loop)
        self.pool = Pool(self.server.room, self.trace)
        self.playing = loop.create_task(play(self.scenario, dial, self.trace))

    async def connect(self, client: Client, **options) -> ClientConnection:
        url = url_of(self.server.host, self.server.port, client.path)
        return await connect(url, **connect_options(client), **options)

    def note_kill(self, kill: Kill) -> None:
        """The server's process has been killed just now."""
        self.pool.end()
        self.trace.record("killed", "room", DISK_LOST if kill.disk else "")

    async def start_again(self) -> None:
        """A new room, as after a kill, at the same address."""
        self.server = self.serve(self.create(), port=self.server.port)
        self.servers.append(self.server)
        try:
            await self.server.start()
        except ServerError as error:
            self.server.record_error(error)
        else:
            self.pool = Pool(self.server.room, self.trace)
            self.trace.record("started", "room")

    def finish(self, ending: str) -> Trace:
        """Whatever happens from now on is teardown. Raises what a client did that no client should."""
        errors, settled = [], []
        for server in self.servers:
            errors += server.errors
            settled += server.tasks.awaited_since()
        suspended = {} if self.server.tasks.killed else self.server.tasks.visitors
        self.trace.finish(ending, waits(suspended), errors, settled)
        if self.playing.done():
            self.playing.result()
        return self.trace


def require_new_rooms(room: RoomSpec | Room) -> None:
    """Raises RoomError for a room object."""
    if is_room_object(room):
        raise RoomError(f"{room!r:.80} is one room, and after a kill there is a new one: name its class, or a function")


def stop_simulated(loop, run: Run) -> Trace:
    """Stop the room of a finished run as a server does, in virtual time: disconnect everybody, and leave it.

    Notes in the Trace whether its `__aexit__` fails, and which of the room's tasks go on. One that never becomes
    quiescent is not stopped, nor is one that was given as an object.
    """
    if run.can_be_stopped:
        loop.after_iteration = lambda: None
        complete(loop, run.server.disconnect())
        leaving = complete(loop, leave(run.server))
        if not leaving.done():
            run.trace.exit_error = RuntimeError(f"it does not return within {TIME_TO_STOP:.0f} s")
        elif not leaving.cancelled():
            run.trace.exit_error = leaving.exception()
            loop.run_until_quiescent(TIME_TO_STOP)
            run.trace.left_tasks = [name for task in run.server.tasks.visitors if (name := own_name(task))]
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
