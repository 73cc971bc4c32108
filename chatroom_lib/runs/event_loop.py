"""asyncio's event loop with a virtual clock and an in-memory network. A seed decides the order of what is ready."""

import asyncio
import contextlib
import itertools
import random
from functools import partial

from chatroom_lib.instrumentation.asyncio_internals import SteppedLoop
from chatroom_lib.instrumentation.connections import ObservedConnection
from chatroom_lib.instrumentation.tasks import task_factory
from chatroom_lib.runs.network import LATENCY, WINDOW, Listener, Transport

MAX_ITERATIONS = 1_000_000  # iterations of the event loop after which a run counts as livelocked
MAX_ITERATIONS_AT_ONCE = 50_000  # the same, for iterations in which no time passes
SHORTEST_DELAY = 1e-9  # seconds; a delay that is lost in rounding would never let the clock move


class SimulationLoop(SteppedLoop):
    """An event loop whose clock jumps from one timer to the next."""

    def __init__(self, seed: int):
        super().__init__()
        self.random = random.Random(seed)
        self.now = 0.0  # virtual seconds
        self.deadline = float("inf")
        self.ending = None
        self.iterations = 0  # in all
        self.iterations_now = 0  # since the clock last moved
        self.interrupted = False  # set by another thread
        self.cleaning_up = False
        self.after_iteration = lambda: None
        self.report = lambda context: None  # called with each error that asyncio hands to an exception handler
        self.listening = {}  # (host, port) -> Listener
        self.serials = itertools.count()
        self.set_task_factory(partial(task_factory, task_class=Task))

    def time(self) -> float:
        return self.now

    def end(self, ending: str) -> None:
        self.ending = ending
        self.stop()

    def run_until_quiescent(self, duration: float) -> str:
        """Run for at most `duration` virtual seconds; returns how the run ended."""
        self.deadline = self.now + duration
        self.ending = None
        while self.ending is None:
            self.keep_running()
        return self.ending

    def keep_running(self) -> None:
        with contextlib.suppress(SystemExit):  # a room that calls sys.exit() ends the task that does, and no more
            self.run_forever()

    def iterate(self) -> None:
        """All that are ready take one step."""
        self.reorder_ready_tasks(self.random.shuffle)
        next_timer = self.next_timer()
        if not self.has_ready:
            self.move_clock(next_timer)
        self.make_timers_ready(self.now)
        self.run_ready()
        self.after_iteration()
        self.iterations += 1
        self.iterations_now += 1
        if self.iterations == MAX_ITERATIONS or self.iterations_now == MAX_ITERATIONS_AT_ONCE:
            self.end("livelocked")
        if self.interrupted and not self.cleaning_up:
            raise KeyboardInterrupt

    def move_clock(self, next_timer: float | None) -> None:
        """Where a real loop waits for the network or the next timer, this one moves its clock."""
        if next_timer is None:
            self.end("quiescent")
        elif next_timer > self.now:
            self.now = min(next_timer, self.deadline)
            self.iterations_now = 0
            if self.now == self.deadline:
                self.end("time is up")

    def call_later(self, delay, callback, *args, context=None):
        if delay > 0:
            delay = max(delay, SHORTEST_DELAY)
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(self, when, callback, *args, context=None):
        timer = Timer(when, callback, args, self, context)
        self.set_timer(timer)
        return timer

    def clean_up(self) -> None:
        """End every task and close the loop."""
        self.cleaning_up = True
        self.after_iteration = lambda: None
        self.report = lambda context: None
        self.deadline = float("inf")
        for _ in range(100):  # a task may go on for some iterations after it was cancelled
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
        return (self.when(), self.serial) < (other.when(), other.serial)


class Task(asyncio.Task):
    """A task with the same hash in every run: asyncio keeps tasks in sets, whose order depends on hashes."""

    def __new__(cls, coroutine, *, loop, **_):
        task = super().__new__(cls)
        task.serial = next(loop.serials)
        return task

    def __hash__(self):
        return self.serial


class SimulatedConnection(ObservedConnection):
    """A connection with the same hash in every run."""

    def __init__(self, *args, **options):
        self.serial = next(asyncio.get_running_loop().serials)
        super().__init__(*args, **options)

    def __hash__(self):
        return self.serial
