"""A scenario in virtual time: `trace = simulate(room, scenario, seed)`.

The unmodified `websockets` library, server and clients, runs on an event loop whose clock jumps from one event to
the next, over connections that live in memory. Nothing really waits, so a run of many seconds takes milliseconds.
A seed decides how long each packet travels, which is what chance decides on a real machine. It also shuffles the
tasks that are ready at the same moment. (asyncio runs them in the order in which they became ready; the shuffle makes
common what luck with the timing would make rare.) The same seed gives the same Trace, as long as the room has no source
of randomness but the seed.

If nothing is ready and no timer is set, nothing will ever happen again: the run is *quiescent*.
"""

import asyncio
import random
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait

from websockets.asyncio.client import ClientConnection

from chatroom_lib.clients.scenario import SMALL_BUFFER, Client, Scenario, make_scenario
from chatroom_lib.instrumentation.memory import MemorySampler, leak_report
from chatroom_lib.rooms import Room, RoomSpec
from chatroom_lib.runs.event_loop import SimulatedConnection, SimulationLoop
from chatroom_lib.runs.harness import Run, stop_simulated
from chatroom_lib.runs.network import WINDOW
from chatroom_lib.runs.virtual_time import seeded, virtual_clocks
from chatroom_lib.runtime.interrupts import interrupt, interruptible
from chatroom_lib.trace import Trace


def simulate(
    room: RoomSpec | Room, scenario: Scenario | Callable[[random.Random], Scenario], seed: int = 0
) -> Trace:  # fmt: skip
    """Run `scenario` in `room`: a version ("v1"), a class, or a function that makes a room.

    A function may stand for the scenario, too: it gets a random.Random of this seed, and makes one. Returns the Trace.
    The run ends when it is quiescent, or after `scenario.duration` virtual seconds. Works anywhere, cells included.
    Raises RoomError if there is no such room, RuntimeError if it does not start, and TypeError for what is no scenario.
    """
    scenario = make_scenario(scenario, random.Random(seed))
    loop = SimulationLoop(seed)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return run_on(loop, room, scenario, seed)
    return on_another_thread(loop, room, scenario, seed)  # this one, a cell's, has a running loop and can run no second


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
        wait([done], timeout=0.3)  # one that blocks outside Python, as in time.sleep(60), is left until that ends
        raise


def complete(done: Future, function: Callable, *arguments) -> None:
    try:
        done.set_result(function(*arguments))
    except BaseException as error:
        done.set_exception(error)


def run_on(loop: SimulationLoop, room: RoomSpec | Room, scenario: Scenario, seed: int) -> Trace:
    try:
        with virtual_clocks.running(loop), seeded(seed):
            return play_simulated(loop, Run(room, scenario, seed, SimulatedConnection, port=8081))
    finally:
        loop.clean_up()


def play_simulated(loop: SimulationLoop, run: Run) -> Trace:
    async def dial(client: Client) -> ClientConnection:
        return await run.connect(client, window=WINDOW if client.prompt else SMALL_BUFFER)

    server, trace, scenario = run.server, run.trace, run.scenario
    loop.report = lambda context: server.record_error(error_in(context))
    start(loop, run)
    sampler = MemorySampler(server, trace)
    run.begin(loop, dial)
    loop.after_iteration = run.pool.update if scenario.all_prompt else lambda: (run.pool.update(), sampler.update())
    ending = loop.run_until_quiescent(scenario.duration)
    if not scenario.all_prompt:
        sampler.sample()
    if trace.gone():
        trace.leak = leak_report(server, trace)
    run.finish(ending)
    return stop_simulated(loop, run)


def start(loop: SimulationLoop, run: Run) -> None:
    """Start the server. Raises RuntimeError if the room's `__aenter__` never returns, and what it raises."""
    starting = loop.create_task(run.server.start())
    starting.add_done_callback(lambda _: loop.end("started"))
    loop.run_until_quiescent(run.scenario.duration)
    if not starting.done():
        raise RuntimeError(f"the room does not start: {run.server.name}.__aenter__ does not return")
    starting.result()


def error_in(context: dict) -> BaseException:
    """The error in what asyncio hands to an exception handler."""
    return context.get("exception") or RuntimeError(context["message"])
