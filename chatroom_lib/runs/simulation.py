"""A scenario in virtual time: `trace = simulate(room, scenario, seed)`.

The unmodified `websockets` library, server and clients, runs on an event loop whose clock jumps from one event to
the next, over connections that live in memory. Nothing really waits, so a run of many seconds takes milliseconds.
A seed decides how long each packet travels, which is what chance decides on a real machine. It also shuffles the
tasks that are ready at the same moment. (asyncio runs them in the order in which they became ready; the shuffle makes
common what luck with the timing would make rare.) The same seed gives the same Trace, digit for digit, everywhere.

If nothing is ready and no timer is set, nothing will ever happen again: the run is *at rest*.
"""

import asyncio
import random
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import partial

from websockets.asyncio.client import ClientConnection, connect

from chatroom_lib import rooms
from chatroom_lib.clients.connect import connect_options
from chatroom_lib.clients.player import play
from chatroom_lib.clients.scenario import SMALL_BUFFER, Client, Scenario
from chatroom_lib.instrumentation.memory import MemorySampler, leak_report
from chatroom_lib.instrumentation.pool import Pool
from chatroom_lib.instrumentation.waits import waits
from chatroom_lib.runs.event_loop import SimulatedConnection, SimulationLoop
from chatroom_lib.runs.network import WINDOW
from chatroom_lib.runs.virtual_time import seeded, virtual_clocks
from chatroom_lib.runtime.interrupts import interrupt, interruptible
from chatroom_lib.server.server import Server, observed
from chatroom_lib.trace import Trace


def simulate(room, scenario: Scenario | Callable[[random.Random], Scenario], seed: int = 0) -> Trace:
    """Run `scenario` in `room`: a version ("v1"), a class, or a function that makes a room.

    A function may stand for the scenario, too: it gets a random.Random of this seed, and makes one. Returns the Trace.
    The run ends when it is at rest, or after `scenario.duration` virtual seconds. Works anywhere, cells included.
    Raises RuntimeError if the room does not even start.
    """
    if not isinstance(scenario, Scenario):
        scenario = scenario(random.Random(seed))
    loop = SimulationLoop(seed)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return run(loop, room, scenario, seed)
    return on_another_thread(loop, room, scenario, seed)  # this one, a cell's, has a running loop and can run no second


@interruptible()
def on_another_thread(loop: "SimulationLoop", *arguments) -> Trace:
    done = Future()
    thread = threading.Thread(target=complete, args=[done, run, loop, *arguments], daemon=True)
    try:
        thread.start()
        while wait([done], timeout=0.1).not_done:  # a signal that comes just before a wait does not end that one
            pass
        return done.result()
    except KeyboardInterrupt:
        loop.interrupted = True
        wait([done], timeout=0.2)
        if thread.ident and not (done.done() or loop.cleaning_up):  # the room does not give up its turn
            interrupt(thread)
        wait([done], timeout=0.3)  # one that blocks outside Python, as in time.sleep(60), is left until that ends
        raise


def complete(done: Future, function: Callable, *arguments) -> None:
    try:
        done.set_result(function(*arguments))
    except BaseException as error:
        done.set_exception(error)


def run(loop: "SimulationLoop", room, scenario: Scenario, seed: int) -> Trace:
    try:
        with virtual_clocks.running(loop), seeded(seed):
            return play_out(loop, rooms.create(room), scenario, seed)
    finally:
        loop.clean_up()


def play_out(loop: "SimulationLoop", room, scenario: Scenario, seed: int) -> Trace:
    trace = Trace(rooms.display_name(room), scenario.clients, seed)
    server = observed(room, trace, SimulatedConnection, port=8081, write_limit=SMALL_BUFFER)
    loop.report = lambda context: server.record_error(problem(context))
    starting = loop.create_task(server.start())
    starting.add_done_callback(lambda _: loop.end("started"))
    loop.run_until_quiescent(scenario.duration)
    if not starting.done():
        raise RuntimeError(f"the room does not start: {server.name}.__aenter__ does not return")
    starting.result()
    trace.start_clock(loop)
    pool, scale = Pool(server.room, trace), MemorySampler(server, trace)
    loop.after_iteration = pool.look if scenario.all_prompt else lambda: (pool.look(), scale.look())
    playing = loop.create_task(play(scenario, partial(connect_to, server), trace))
    ending = loop.run_until_quiescent(scenario.duration)
    if not scenario.all_prompt:
        scale.weigh()
    if trace.gone():
        trace.leak = leak_report(server, trace)
    trace.finish(ending, waits(server.tasks.visitors), server.errors, server.tasks.awaited_since())
    if playing.done():
        playing.result()  # raises if a client did what no client should
    return trace


def problem(context: dict) -> BaseException:
    """The error in what asyncio hands to an exception handler."""
    return context.get("exception") or RuntimeError(context["message"])


async def connect_to(server: Server, client: Client) -> ClientConnection:
    window = WINDOW if client.prompt else SMALL_BUFFER
    return await connect(server.url, window=window, **connect_options(client))
