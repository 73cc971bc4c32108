"""A scenario on real sockets whose servers are processes: each room lives in one of its own. If it is killed, it gets a
real SIGKILL, and is started again at the same address. If they share a NATS server, one is started for them."""

import asyncio
import base64
import contextlib
import json
import shutil
import signal
import sys
from dataclasses import replace

from chatroom_lib.clients.line import Line
from chatroom_lib.clients.player import play
from chatroom_lib.clients.scenario import NEVER, Kill, Pause, Scenario, listener
from chatroom_lib.rooms import RoomSpec, create, display_name
from chatroom_lib.rooms.packing import packed
from chatroom_lib.runs.harness import note_cut, require_new_rooms, shares_nats, spoken
from chatroom_lib.runs.live import Dialling
from chatroom_lib.runs.room_files import RoomFiles
from chatroom_lib.server.nats_server import HOST, NatsServer
from chatroom_lib.server.server import ServerError, cancel_after
from chatroom_lib.trace import DISK_LOST, LOG, Event, Trace, Wait, entered_at
from chatroom_lib.trace.plain import from_plain

START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from chatroom_lib.runs.server_process import main; main()"
)
LONGEST_START = 20.0  # seconds until a process must say that it listens
LONGEST_END = 5.0  # seconds in which it must tell what it knows at the end
LONGEST_LINE = 1 << 26  # bytes


class ServerProcess:
    """One process with the room in it, and what it tells about a run."""

    def __init__(self, job: dict, trace: Trace):
        self.job, self.trace = job, trace
        self.process: asyncio.subprocess.Process | None = None
        self.port, self.keepalive, self.last = 0, None, None
        self.pool: dict[str, list[float]] = {}  # name -> when those of its connections entered that are in the pool
        self.listening, self.finished = asyncio.Event(), asyncio.Event()

    async def start(self) -> None:
        """Raises ServerError if the room does not start."""
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", START, json.dumps(sys.path),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            limit=LONGEST_LINE,
        )  # fmt: skip
        self.reading = asyncio.create_task(self.read())
        self.order(self.job)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_START):
                await self.listening.wait()
        if not self.port:
            await self.kill()
            raise ServerError(f"the room does not start: {self.last or 'its process says nothing'}")

    def order(self, what: dict) -> None:
        self.process.stdin.write(json.dumps(what).encode() + b"\n")

    def begin(self, start: float) -> None:
        """Seconds of a run count from this time of the loop's clock, in all processes."""
        self.order({"begin": start})

    async def read(self) -> None:
        try:
            while line := await self.process.stdout.readline():
                self.take(json.loads(line))
        finally:
            self.listening.set()
            self.finished.set()

    def take(self, told: dict) -> None:
        match told:
            case {"event": event}:
                self.note(Event(*event))
            case {"port": port, "keepalive": keepalive}:
                self.port, self.keepalive = port, keepalive
                self.listening.set()
            case {"error": error}:
                self.last = error
            case {"stopped": True}:
                self.finished.set()
            case {"trace": plain}:
                self.last = plain
                self.finished.set()

    def note(self, event: Event) -> None:
        if self.trace.clock:
            self.trace.events.append(event)
        if event.kind == "entered":
            self.pool.setdefault(event.who, []).append(event.time)
        elif event.kind == "removed":
            entered = self.pool[event.who]
            entered.remove(entered_at(event) or entered[0])

    async def stop(self) -> None:
        """Tell it to disconnect everybody, politely; returns when it has."""
        self.order({"stop": True})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_END):
                await self.finished.wait()

    async def kill(self) -> None:
        """SIGKILL; returns when all that it has told is read."""
        if not self.process:
            return  # it was about to start
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()
        await self.reading

    async def finish(self) -> dict | None:
        """What is in its Trace, if it still runs and can tell."""
        if self.process.returncode is None:
            with contextlib.suppress(TimeoutError, ConnectionError):
                self.order({"finish": True})
                async with asyncio.timeout(LONGEST_END):
                    await self.finished.wait()
        return self.last if isinstance(self.last, dict) else None


class ProcessesRun:
    """A live run with several servers, or with kills. `play` plays it."""

    def __init__(self, room: RoomSpec, scenario: Scenario, keepalive: float | None, files: RoomFiles):
        if any(kill.power for kill in scenario.kills):
            raise ValueError("live() cannot cut the power: try simulate()")
        require_new_rooms(room, scenario)
        sync = f"{scenario.sync_interval}s" if scenario.sync_interval else "always"
        self.nats = NatsServer(files.path + "-nats", sync=sync) if shares_nats(room) else None
        address = self.nats and self.nats.url
        made = create(room, path=files.path, keep=scenario.keep, nats=address)  # or its caller is told what is wrong
        self.lines: list[Line] = []  # of servers that are to be cut off, to that
        self.scenario, self.wire = spoken(made, scenario)
        self.trace = Trace(display_name(room), self.scenario.clients, servers=scenario.servers, wire=self.wire)
        self.errors: list[Exception] = []
        code = base64.b64encode(packed(room, scenario.clients)).decode()
        self.files = files
        job = {"packed": code, "name": self.trace.room, "port": 0, "keepalive": keepalive}
        job |= {"path": files.path, "keep": scenario.keep, "servers": scenario.servers, "nats": None}
        jobs = [{**job, "number": number} for number in range(scenario.servers)]
        self.servers = [ServerProcess(job, self.trace) for job in jobs]

    async def play(self) -> Trace:
        dialling = Dialling(self.trace, lambda number: ("127.0.0.1", self.servers[number].job["port"]))
        tasks = []
        try:
            if self.nats:
                await self.nats.start()
            for number, server in enumerate(self.servers):
                server.job["nats"] = self.nats and await self.address_of_nats(number)
                await server.start()
                server.job["port"] = server.port
            self.trace.keepalive = self.servers[0].keepalive
            self.start = asyncio.get_running_loop().time()
            self.trace.start_clock(asyncio.get_running_loop())
            for server in self.servers:
                server.begin(self.start)
            tasks = [asyncio.create_task(play(self.scenario, dialling.dial, self.trace, self.wire))]
            for number in range(self.scenario.servers):
                tasks.append(asyncio.create_task(self.kill_and_start_again(number)))
            tasks.append(asyncio.create_task(self.kill_log()))
            tasks += [asyncio.create_task(note_cut(self.trace, cut)) for cut in self.scenario.cuts]
            tasks += [asyncio.create_task(self.stand_still(pause)) for pause in self.scenario.pauses]
            await self.time_is_up()
            return await self.finish(tasks)
        finally:
            await cancel_after(tasks, 0)
            for server in self.servers:
                await server.kill()
            for line in self.lines:
                await line.close()
            if self.nats:
                await self.nats.kill()
            await dialling.close()

    async def address_of_nats(self, number: int) -> str:
        """For the server of this number: by a line that goes dark, if it is to be cut off."""
        for cut in self.scenario.cuts:
            if cut.server == number:
                self.lines.append(line := Line(listener("log", dark=cut.since, light=cut.until), self.time_of_run))
                await line.open(HOST, self.nats.port)
                return f"nats://{HOST}:{line.port}"
        return self.nats.url

    def time_of_run(self) -> float:
        return self.trace.clock() if self.trace.clock else 0.0

    async def stand_still(self, pause: Pause) -> None:
        await asyncio.sleep(pause.at - self.trace.clock())
        process = self.servers[pause.server].process
        for number, seconds in (signal.SIGSTOP, pause.seconds), (signal.SIGCONT, 0):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
            await asyncio.sleep(seconds)

    async def kill_log(self) -> None:
        for kill in self.scenario.kills_of(LOG):
            await asyncio.sleep(kill.at - self.trace.clock())
            if self.nats:
                await self.nats.kill()
            self.trace.record("killed", LOG, DISK_LOST if kill.disk else "")
            if kill.back_after == NEVER:
                return
            await asyncio.sleep(kill.back_after)
            self.trace.record("started", LOG)  # it may answer somebody before we know that it does
            if self.nats:
                if kill.disk:
                    shutil.rmtree(self.nats.folder)
                await self.nats.start()

    async def time_is_up(self) -> None:
        await asyncio.sleep(self.scenario.duration)

    async def kill_and_start_again(self, number: int) -> None:
        for kill in self.scenario.kills_of(number):
            server = self.servers[number]
            await asyncio.sleep(kill.at - self.trace.clock())
            when = self.trace.clock()
            if kill.politely:
                self.note_kill(when, kill)
                await server.stop()
            await server.kill()
            if not kill.politely:
                self.note_kill(when, kill)
            if kill.back_after == NEVER:
                return
            await asyncio.sleep(kill.back_after)
            if kill.disk:
                self.files.lose()  # and the folder of NATS, which is beside the file
                if self.nats:
                    await self.nats.kill()
                    await self.nats.start()
            self.servers[number] = ServerProcess(server.job, self.trace)
            try:
                await self.servers[number].start()
            except ServerError as error:
                self.errors.append(error)
                return
            self.servers[number].begin(self.start)
            self.trace.record("started", self.trace.server_name(number))

    def note_kill(self, when: float, kill: Kill) -> None:
        for name, entered in self.servers[kill.server].pool.items():
            for time in entered:
                self.trace.events.append(Event(when, "removed", name, self.trace.in_since(name, time)))
        name = self.trace.server_name(kill.server)
        self.trace.events.append(Event(when, "killed", name, DISK_LOST if kill.disk else ""))

    async def finish(self, tasks: list[asyncio.Task]) -> Trace:
        for task in tasks:
            if task.done():
                task.result()
        waits, errors = [], []
        for server in self.servers:
            if plain := await server.finish():
                last = from_plain(plain, self.scenario.clients)
                waits += [renumbered(wait, len(waits)) for wait in last.waits]
                errors += last.errors
                self.trace.uses += last.uses
                self.trace.depths |= last.depths
                self.trace.writes += last.writes
                self.trace.pings += last.pings
        self.trace.finish("time is up", waits, self.errors + errors)
        return self.trace


def renumbered(wait: Wait, by: int) -> Wait:
    """A wait in a list that follows so many others."""
    return replace(wait, needs=tuple(need + by for need in wait.needs))
