"""What a run in virtual time and one on real sockets have in common: a served room, its clients, and the Trace."""

import asyncio

from websockets.asyncio.client import ClientConnection, connect

from chatroom_lib.clients.connect import connect_options
from chatroom_lib.clients.player import Dial, play
from chatroom_lib.clients.scenario import SMALL_BUFFER, Client, Scenario
from chatroom_lib.instrumentation.connections import ObservedConnection
from chatroom_lib.instrumentation.pool import Pool
from chatroom_lib.instrumentation.waits import waits
from chatroom_lib.rooms import Room, RoomSpec, create, display_name
from chatroom_lib.server.server import observed_server
from chatroom_lib.trace import Trace


class Run:
    """One run: start `server`, then `begin`; when its time is over, `finish`."""

    def __init__(
        self,
        room: RoomSpec | Room,
        scenario: Scenario,
        seed: int | None = None,
        connection_class: type[ObservedConnection] = ObservedConnection,
        port: int = 0,
    ):
        room = create(room)
        self.scenario = scenario
        self.trace = Trace(display_name(room), scenario.clients, seed)
        self.server = observed_server(room, self.trace, connection_class, port=port, write_limit=SMALL_BUFFER)

    def begin(self, loop: asyncio.AbstractEventLoop, dial: Dial) -> None:
        """The room has started: from now on time counts, and the clients play their parts."""
        self.trace.start_clock(loop)
        self.pool = Pool(self.server.room, self.trace)
        self.playing = loop.create_task(play(self.scenario, dial, self.trace))

    async def connect(self, client: Client, **options) -> ClientConnection:
        return await connect(self.server.url, **connect_options(client), **options)

    def finish(self, ending: str) -> Trace:
        """Whatever happens from now on is teardown. Raises what a client did that no client should."""
        tasks = self.server.tasks
        self.trace.finish(ending, waits(tasks.visitors), self.server.errors, tasks.awaited_since())
        if self.playing.done():
            self.playing.result()
        return self.trace
