"""A scenario in virtual time: `trace = simulate(room, scenario, seed)`.

The unmodified `websockets` library, server and clients, runs on an event loop whose clock jumps from one event to
the next, over connections that live in memory. Nothing really waits, so a run of many seconds takes milliseconds.
What is ready runs first in, first out, as asyncio documents. A seed decides what chance decides on a real machine: how
long each packet travels, and how long the processor takes for each step of the room and each write to a socket.

The same seed gives the same Trace, in every process, and in a browser's Python too; whatever it shows can happen on a
real event loop:

- `time.time`, `monotonic`, `perf_counter`, their `_ns` twins, `datetime.now` and `date.today` tell virtual time in a
  room. The module `random`, `uuid4`, `secrets` and `os.urandom` follow the seed.
- `time.sleep` in a room makes everybody wait, in virtual time. Any other call that blocks takes real time, and none
  here.
- Threads that a room starts, and those of `asyncio.to_thread`, run for real. The clock waits for them, and
  `time.sleep` in them takes virtual time. When two of them race, no seed decides: `Trace.threads` counts them. (A
  browser has no threads: there a room can start none, and what `asyncio.to_thread` calls is called in between.)
- The garbage collector runs at fixed virtual times, so a task that nothing refers to is lost at the same moment each
  time.
- What the seed does not decide: the order of a set of texts (`check` fixes it; elsewhere set PYTHONHASHSEED) or of
  objects that hash by their address (connections and tasks do not), what files, sockets, subprocesses and unlisted
  clocks say, module globals or class attributes that an earlier run has changed, and how many steps the code of asyncio
  takes, which differs from Python to Python: in 3.14 by one or two where a room pings or refuses a handshake, in 3.12
  and 3.14 where it uses NATS.

If nothing is ready and no timer is set, nothing will ever happen again: the run is *quiescent*.
"""

import asyncio
import contextlib
import gc
import itertools
import random
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import partial

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection

from chatroom_lib.clients.scenario import NEVER, SMALL_BUFFER, Client, Pause, Scenario, make_scenario
from chatroom_lib.instrumentation.asyncio_internals import as_if_running, set_aside
from chatroom_lib.instrumentation.memory import MemorySampler, leak_report, retained_connections, tasks_of
from chatroom_lib.instrumentation.moments import MomentRecorder
from chatroom_lib.instrumentation.pool import listed
from chatroom_lib.instrumentation.tasks import watcher
from chatroom_lib.rooms import Room, RoomError, RoomSpec, display_name
from chatroom_lib.rooms.asgi import Application
from chatroom_lib.rooms.asgi.imports import imported
from chatroom_lib.rooms.asgi.room import AsgiRoom
from chatroom_lib.rooms.handler import HandlerRoom
from chatroom_lib.runs.anyio_threads import calls_of_anyio
from chatroom_lib.runs.event_loop import Schedule, SimulatedConnection, SimulationLoop
from chatroom_lib.runs.harness import Run, note_cut, stop_simulated
from chatroom_lib.runs.network import WINDOW, Link
from chatroom_lib.runs.room_files import RoomFiles
from chatroom_lib.runs.simulated_nats import Nats
from chatroom_lib.runs.virtual_time import here, virtual_time
from chatroom_lib.runtime import platform
from chatroom_lib.runtime.interrupts import interrupt, interruptible
from chatroom_lib.server.server import Server
from chatroom_lib.trace import DISK_LOST, LOG, Trace

COLLECTION_INTERVAL = 2.0  # virtual seconds from one collection of garbage to the next
TIME_TO_END = 600.0  # virtual seconds after the run that tasks of departed clients have to end
MAX_JUMPS = 20_000  # of the clock, in that time


def simulate(
    room: RoomSpec | Room,
    scenario: Scenario | Callable[[random.Random], Scenario],
    seed: int = 0,
    schedule: Schedule = "fifo",
    *,
    keepalive: float | None = None,
    recorder: MomentRecorder | None = None,
) -> Trace:
    """Run `scenario` in `room`: a version ("v1"), a class, a function that makes a room, or a handler.

    A function may stand for the scenario, too: it gets a random.Random of this seed, and makes one. Returns the Trace.
    The run ends when it is quiescent, or after `scenario.duration` virtual seconds. Works anywhere, cells included.
    With `schedule="any"` the seed also decides the order of the tasks that are ready: an adversary. asyncio is not one.
    `keepalive`: as for `serve`. A server that pings is never quiescent.
    `recorder`: notes what the room looks like after each of its steps; see `step_through`.
    Raises RoomError if there is no such room or it remembers an earlier run, RuntimeError if it does not start, and
    TypeError for what is no scenario.
    """
    if here():
        raise RuntimeError("simulate() does not run inside a simulated room")
    scenario = make_scenario(scenario, random.Random(seed))
    if isinstance(room, Application):
        room.prepare()
    loop = SimulationLoop(seed, schedule)
    loop.recorder = recorder
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return run_on(loop, room, scenario, seed, keepalive)
    # this thread, a cell's, has a running loop and can run no second one beside it
    if not platform.HAS_THREADS:
        with set_aside():
            return run_on(loop, room, scenario, seed, keepalive)
    return on_another_thread(loop, room, scenario, seed, keepalive)


@interruptible()
def on_another_thread(loop: SimulationLoop, *arguments) -> Trace:
    done = Future()
    thread = threading.Thread(target=complete, args=[done, run_on, loop, *arguments], daemon=True)
    try:
        thread.start()
        while wait([done], timeout=0.1).not_done:  # a signal that arrives just before a wait does not end that one
            pass
        return done.result()
    except KeyboardInterrupt:
        loop.interrupted = True
        wait([done], timeout=0.2)
        if thread.ident and not (done.done() or loop.cleaning_up):  # the room blocks the event loop
            interrupt(thread)
        wait([done], timeout=0.3)  # one that blocks outside Python, as in a query, is left until that ends
        raise


def complete(done: Future, function: Callable, *arguments) -> None:
    try:
        done.set_result(function(*arguments))
    except BaseException as error:
        done.set_exception(error)


def run_on(
    loop: SimulationLoop, room: RoomSpec | Room, scenario: Scenario, seed: int, keepalive: float | None
) -> Trace:
    with garbage_kept():  # outside of what refers to the run: all that is left of it is garbage then
        return play_on(loop, room, scenario, seed, keepalive)


def play_on(
    loop: SimulationLoop, room: RoomSpec | Room, scenario: Scenario, seed: int, keepalive: float | None
) -> Trace:
    with RoomFiles(simulated=True) as loop.files, virtual_time.running(loop):
        try:
            nats = Nats(loop)
            chance = loop.random.getstate(), loop.draws.getstate()
            run = Run(room, scenario, seed, SimulatedConnection, 8081, keepalive, loop.files.path, nats.url)
            if isinstance(run.servers[0].room, AsgiRoom):  # whose framework has drawn from it if this was its import
                loop.random.setstate(chance[0])
                loop.draws.setstate(chance[1])
            with calls_of_anyio():
                return play_simulated(loop, run, nats)
        finally:
            loop.clean_up()
            imported.forget()


def play_simulated(loop: SimulationLoop, run: Run, nats: Nats) -> Trace:
    async def dial(client: Client, server: int) -> ClientConnection:
        start = loop.now - trace.clock()
        link = Link(client.latency, start + client.dark, start + client.light)
        return await run.connect(client, server, window=WINDOW if client.prompt else SMALL_BUFFER, link=link)

    trace, scenario = run.trace, run.scenario
    trace.schedule = loop.schedule
    loop.report = lambda context: report(context, run)
    loop.handshake = scenario.handshake
    nats.sync_interval = scenario.sync_interval
    nats.start()
    for server in run.servers:
        start(loop, server, scenario.duration)
    sampler = MemorySampler(run, trace)
    run.begin(loop, dial)
    cut_off(loop, run)
    killed = [number for number in range(scenario.servers) if scenario.kills_of(number)]
    killing = [loop.create_task(kill_and_start_again(loop, run, number, nats)) for number in killed]
    killing.append(loop.create_task(kill_log(run, nats)))
    killing += [loop.create_task(note_cut(trace, cut)) for cut in scenario.cuts]
    killing += [loop.create_task(stand_still(loop, run, pause)) for pause in scenario.pauses]
    loop.count_events = trace.events.__len__
    loop.note_block = lambda seconds, place: note_block(run, seconds, place)
    loop.after_jump = collect_at_intervals(loop, run)
    if loop.recorder:
        loop.look = partial(loop.recorder.look, run)
    if scenario.all_prompt:
        loop.after_iteration = run.update_pools
    else:
        loop.after_iteration = lambda tasks: (run.update_pools(tasks), sampler.update())
    ending = loop.run_until_quiescent(scenario.duration)
    with as_if_running(loop):
        gc.collect()  # a room that refers to connections weakly may still seem to have those that have gone
    run.update_pools()
    loop.look()
    if not scenario.all_prompt:
        sampler.sample()
    trace.threads = loop.threads.started
    run.finish(ending)
    for task in killing:
        if task.done():
            task.result()
    if gone := trace.departed():
        let_tasks_end(loop, [task for server in run.to_be_stopped for task, _ in tasks_of(gone, server)])
        trace.leak = leak_report(run.servers, trace)
    return stop_simulated(loop, run)


def note_block(run: Run, seconds: float, place: str) -> None:
    """A room has called `time.sleep`, in the step that is running."""
    run.trace.record("blocked", run.trace.server_name(run.number_of(watcher.get())), f"{seconds:g} s in {place}")


def cut_off(loop: SimulationLoop, run: Run) -> None:
    """Let the lines of servers to NATS go dark at their times."""
    for cut in run.scenario.cuts:
        start = loop.now - run.trace.clock()
        loop.connect_by(Link(0.0, start + cut.since, start + cut.until), run.servers[cut.server].tasks)


async def stand_still(loop: SimulationLoop, run: Run, pause: Pause) -> None:
    await asyncio.sleep(pause.at - run.trace.clock())
    processor = loop.processors[run.servers[pause.server].tasks]
    processor.busy_until = max(loop.now, processor.busy_until) + pause.seconds


async def kill_log(run: Run, nats: Nats) -> None:
    for kill in run.scenario.kills_of(LOG):
        await asyncio.sleep(kill.at - run.trace.clock())
        nats.kill(kill.power, kill.disk)
        run.trace.record("killed", LOG, DISK_LOST if kill.disk else "")
        if kill.back_after == NEVER:
            return
        await asyncio.sleep(kill.back_after)
        nats.start()
        run.trace.record("started", LOG)


async def kill_and_start_again(loop: SimulationLoop, run: Run, number: int, nats: Nats) -> None:
    for kill in run.scenario.kills_of(number):
        server = run.servers[number]
        await asyncio.sleep(kill.at - run.trace.clock())
        if kill.politely:
            run.note_kill(kill)
            await server.shut_down()
        await loop.kill(server.tasks)
        if len(run.servers) == 1:
            loop.files.survive(kill)
        else:
            loop.files.close_those_of(server.tasks)
        if machine := kill.power or kill.disk:
            nats.kill(kill.power, kill.disk)
        if not kill.politely:
            run.note_kill(kill)
        if kill.back_after == NEVER:
            return
        await asyncio.sleep(kill.back_after)
        if machine:
            nats.start()
        await run.start_again(number)
        cut_off(loop, run)


def let_tasks_end(loop: SimulationLoop, tasks: list[asyncio.Task]) -> None:
    """Go on after the run until these tasks have ended, for ten minutes at most: a room may keep something for somebody
    who has left for a while. Nothing of it is recorded."""
    left, jumps = set(tasks), itertools.count()

    def done(task: asyncio.Task) -> None:
        left.discard(task)
        if not left:
            loop.end("done")

    def jumped() -> None:
        if next(jumps) >= MAX_JUMPS:
            loop.end("enough")

    for task in tasks:
        task.add_done_callback(done)
    if tasks and loop.next_timer() is not None:
        loop.after_iteration, loop.after_jump = lambda tasks: None, jumped
        loop.run_until_quiescent(TIME_TO_END)
    for task in tasks:
        task.remove_done_callback(done)


@contextlib.contextmanager
def garbage_kept():
    """The garbage collector runs only when it is told to, and looks only at what is made from now on: so it finds the
    same in every process, and quickly."""
    enabled = gc.isenabled()
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.collect()
        gc.unfreeze()
        if enabled:
            gc.enable()


def collect_at_intervals(loop: SimulationLoop, run: Run) -> Callable[[], None]:
    due = COLLECTION_INTERVAL

    def collect() -> None:
        nonlocal due
        if loop.now >= due:
            due = loop.now + COLLECTION_INTERVAL
            gc.collect(1)
            run.update_pools()  # a room may have members for as long as somebody else refers to them

    return collect


def start(loop: SimulationLoop, server: Server, longest: float) -> None:
    """Start a server. Raises RuntimeError if the room's `__aenter__` never returns, and what it raises."""
    starting = loop.create_task(server.start())
    starting.add_done_callback(lambda _: loop.end("started"))
    loop.run_until_quiescent(longest)
    if not starting.done():
        raise RuntimeError(f"the room does not start: {server.name}.__aenter__ does not return")
    starting.result()
    require_fresh(server)


def require_fresh(server: Server) -> None:
    """Raises RoomError if a room that has just started has connections."""
    if isinstance(server.room, (HandlerRoom, AsgiRoom)):
        require_fresh_globals(server.room)
    if left := sum(isinstance(member, ServerConnection) for member in listed(server.room)):
        raise RoomError(
            f"{server.name} has {left} connections of an earlier run in members(): "
            "keep them in the object, made in __init__, and not in the module or the class"
        )


def require_fresh_globals(room: HandlerRoom | AsgiRoom) -> None:
    """Raises RoomError if a handler or an application that has no visitor yet refers to connections."""
    if kept := retained_connections(room):
        raise RoomError(
            f"{display_name(room)} has {len(kept)} connections of an earlier run, or of a server, in its globals: run "
            "again what defines it, or write a function that makes it, and keep them in there"
        )


def report(context: dict, run: Run) -> None:
    """Note what asyncio hands to an exception handler."""
    number = run.number_of(watcher.get())
    if "exception" not in context and context["message"].startswith("Task was destroyed"):
        run.trace.record("collected", run.trace.server_name(number), context["task"].get_coro().__qualname__)
    else:
        run.servers[number].record_error(context.get("exception") or RuntimeError(context["message"]))
