"""A scenario in virtual time: `trace = simulate(room, scenario, seed)`.

The unmodified `websockets` library, server and clients, runs on an event loop whose clock jumps from one event to
the next, over connections that live in memory. Nothing really waits, so a run of many seconds takes milliseconds.
A seed decides how long each packet travels, which is what chance decides on a real machine. It also shuffles the
tasks that are ready at the same moment. (asyncio runs them in the order in which they became ready; the shuffle makes
common what luck with the timing would make rare.) The same seed gives the same Trace, digit for digit, everywhere.

If nothing is ready and no timer is set, nothing will ever happen again: the run is *at rest*.
"""

import asyncio
import contextlib
import heapq
import itertools
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import partial

from websockets.asyncio.client import ClientConnection, connect

from chatroom_lib import rooms
from chatroom_lib.clients import SMALL_BUFFER, Client, Scenario, connect_options, play
from chatroom_lib.holdings import Scale, leftovers
from chatroom_lib.interrupts import interrupt, interruptible
from chatroom_lib.network import LATENCY, WINDOW, Listener, Transport
from chatroom_lib.observe import ObservedConnection, Pool
from chatroom_lib.server import Server, observed
from chatroom_lib.tasks import task_factory
from chatroom_lib.trace import Trace
from chatroom_lib.waiting import waits

MOST_TURNS = 1_000_000  # turns of the event loop, after which a run that never rests is ended
MOST_TURNS_AT_ONCE = 50_000  # the same, for turns in which no time passes


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
        with virtual_clocks.of(loop), seeded(seed):
            return play_out(loop, rooms.new(room), scenario, seed)
    finally:
        loop.clean_up()


def play_out(loop: "SimulationLoop", room, scenario: Scenario, seed: int) -> Trace:
    trace = Trace(rooms.name_of(room), scenario.clients, seed)
    server = observed(room, trace, SimulatedConnection, port=8081, write_limit=SMALL_BUFFER)
    loop.report = lambda context: server.record_error(problem(context))
    starting = loop.create_task(server.start())
    starting.add_done_callback(lambda _: loop.end("started"))
    loop.run_until_rest(scenario.duration)
    if not starting.done():
        raise RuntimeError(f"the room does not start: {server.name}.__aenter__ does not return")
    starting.result()
    trace.start_clock(loop)
    pool, scale = Pool(server.room, trace), Scale(server, trace)
    loop.after_turn = pool.look if scenario.all_prompt else lambda: (pool.look(), scale.look())
    playing = loop.create_task(play(scenario, partial(connect_to, server), trace))
    ending = loop.run_until_rest(scenario.duration)
    if not scenario.all_prompt:
        scale.weigh()
    if trace.gone():
        trace.leftovers = leftovers(server, trace)
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


# ---------------------------------------------------------------- what chance and time are for the room


@contextlib.contextmanager
def seeded(seed: int):
    """The module `random` begins with this seed, and afterwards goes on as if nothing had been."""
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


class VirtualClocks:
    """While a thread runs a simulated loop, `time.time()` and its like tell it that loop's time, and all other threads
    the real one. (Who knows them by another name, as after `from time import time`, is told the real one, too.)"""

    NAMES = ("time", "monotonic", "perf_counter")

    def __init__(self):
        self.real = {name: getattr(time, name) for name in self.NAMES}
        self.loops, self.lock = {}, threading.Lock()  # thread -> the loop it runs

    @contextlib.contextmanager
    def of(self, loop: "SimulationLoop"):
        thread = threading.get_ident()
        with self.lock:
            self.loops[thread] = loop
            for name, real in self.real.items():
                setattr(time, name, partial(self.tell, real))
        try:
            yield
        finally:
            with self.lock:
                del self.loops[thread]
                for name, real in self.real.items() if not self.loops else ():
                    setattr(time, name, real)

    def tell(self, real) -> float:
        loop = self.loops.get(threading.get_ident())
        return loop.now if loop else real()


virtual_clocks = VirtualClocks()

# ---------------------------------------------------------------- the loop


class SimulationLoop(asyncio.BaseEventLoop):
    """asyncio's event loop with a virtual clock and an in-memory network; `random` decides all races."""

    def __init__(self, seed: int):
        super().__init__()
        self.random = random.Random(seed)
        self.now = 0.0  # virtual seconds
        self.deadline = float("inf")
        self.ending = None
        self.turns = 0  # of the event loop, in all
        self.turns_now = 0  # since the clock last moved
        self.interrupted = False  # set by another thread
        self.cleaning_up = False
        self.after_turn = lambda: None
        self.report = lambda context: None  # called with each error that asyncio hands to an exception handler
        self.listening = {}  # (host, port) -> Listener
        self.serials = itertools.count()
        self.set_task_factory(partial(task_factory, task_class=Task))

    def time(self) -> float:
        return self.now

    def end(self, ending: str) -> None:
        self.ending = ending
        self.stop()

    def run_until_rest(self, duration: float) -> str:
        """Run for `duration` virtual seconds at most; returns how it ended."""
        self.deadline = self.now + duration
        self.ending = None
        while self.ending is None:
            self.keep_running()
        return self.ending

    def keep_running(self) -> None:
        with contextlib.suppress(SystemExit):  # a room that calls sys.exit() ends the task that does, and no more
            self.run_forever()

    def _run_once(self):
        """One turn, which asyncio's loop takes again and again: all who are ready go one step."""
        self.shuffle()
        ready, timers = self._ready, self._scheduled
        while timers and timers[0]._cancelled:
            heapq.heappop(timers)
        if not ready and not self._stopping:
            self.move_clock()
        while timers and timers[0]._when <= self.now:
            ready.append(heapq.heappop(timers))
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()
        self.after_turn()
        self.turns += 1
        self.turns_now += 1
        if self.turns == MOST_TURNS or self.turns_now == MOST_TURNS_AT_ONCE:
            self.end("never rests")
        if self.interrupted and not self.cleaning_up:
            raise KeyboardInterrupt

    def move_clock(self) -> None:
        """Where a real loop waits for the network or the next timer, this one moves its clock."""
        if not self._scheduled:
            self.end("at rest")
        elif self._scheduled[0]._when > self.now:
            self.now = min(self._scheduled[0]._when, self.deadline)
            self.turns_now = 0
            if self.now == self.deadline:
                self.end("time is up")

    def shuffle(self) -> None:
        """Let the seed decide which of the ready tasks goes first. Plain callbacks keep their order, which transports
        rely on."""
        if len(self._ready) < 2:
            return
        steps = [
            index
            for index, handle in enumerate(self._ready)
            if isinstance(getattr(handle._callback, "__self__", None), asyncio.Task)
        ]
        if len(steps) > 1:
            handles = [self._ready[index] for index in steps]
            self.random.shuffle(handles)
            for index, handle in zip(steps, handles):
                self._ready[index] = handle

    def call_later(self, delay, callback, *args, context=None):
        if delay > 0:
            delay = max(delay, 1e-9)  # one that is lost in rounding would never let the clock move
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(self, when, callback, *args, context=None):
        timer = Timer(when, callback, args, self, context)
        heapq.heappush(self._scheduled, timer)
        return timer

    def clean_up(self) -> None:
        """End every task and close the loop."""
        self.cleaning_up = True
        self.after_turn = lambda: None
        self.report = lambda context: None
        self.deadline = float("inf")
        for _ in range(100):  # a task may go on for some turns after it was cancelled
            tasks = asyncio.all_tasks(self)
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            self.call_soon(self.stop)
            self.keep_running()
        self.run_until_complete(self.shutdown_asyncgens())
        self.close()

    def call_exception_handler(self, context):
        """Also if the room has set a handler of its own."""
        self.report(context)

    def run_in_executor(self, executor, function, *args):
        """Another thread takes no time here: it has done its work at once."""
        done = self.create_future()
        try:
            done.set_result(function(*args))
        except Exception as error:
            done.set_exception(error)
        return done

    def _write_to_self(self):
        pass

    # ------------------------------------------------------------ the network, as websockets asks for it

    async def create_server(self, protocol_factory, host, port, **_):
        self.listening[host, port] = Listener(self, protocol_factory, (host, port))
        return self.listening[host, port]

    async def create_connection(self, protocol_factory, host, port, *, window=WINDOW, **_):
        listener = self.listening.get((host, port))
        if listener is None:
            raise ConnectionRefusedError(111, "Connection refused")
        await asyncio.sleep(self.random.uniform(*LATENCY))
        address = ("127.0.0.1", 50000 + next(self.serials))
        client = Transport(self, protocol_factory(), window, address, listener.address)
        server = Transport(self, listener.accept(), WINDOW, listener.address, address)
        client.peer, server.peer = server, client
        self.call_soon(server.protocol.connection_made, server, context=listener.context.copy())
        client.protocol.connection_made(client)
        return client, client.protocol


class Timer(asyncio.TimerHandle):
    """A timer. Of two that are due at the same time, the one set first goes first."""

    __slots__ = ("serial",)

    def __init__(self, when, callback, args, loop, context):
        super().__init__(when, callback, args, loop, context)
        self.serial = next(loop.serials)

    def __lt__(self, other):
        return (self._when, self.serial) < (other._when, other.serial)


class Task(asyncio.Task):
    """A task whose hash is the same in every run: asyncio keeps tasks in sets, and a set goes by hashes."""

    def __new__(cls, coroutine, *, loop, **_):
        task = super().__new__(cls)
        task.serial = next(loop.serials)
        return task

    def __hash__(self):
        return self.serial


class SimulatedConnection(ObservedConnection):
    """A connection whose hash is the same in every run."""

    def __init__(self, *args, **options):
        self.serial = next(asyncio.get_running_loop().serials)
        super().__init__(*args, **options)

    def __hash__(self):
        return self.serial
