"""asyncio's event loop with a virtual clock and an in-memory network.

What is ready runs first in, first out, as asyncio documents. Chance decides how long things take: how long a packet
travels, and how long a step of the room's tasks and a write to a socket keep the processor busy. A seed decides those.

The room has a processor of its own; if there are several servers, each has one. While it is busy, or sleeps in
`time.sleep`, people go on on theirs: what they say arrives, and waits for the room. So within a step the room's clock
is ahead of theirs; and its next step begins when it is ahead by no more than the fastest packet takes.
"""

import asyncio
import contextlib
import contextvars
import ctypes
import errno
import itertools
import random
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from typing import Literal, get_args

from chatroom_lib.instrumentation.asyncio_internals import SteppedLoop
from chatroom_lib.instrumentation.connections import ObservedConnection
from chatroom_lib.instrumentation.moments import MomentRecorder
from chatroom_lib.instrumentation.room_code import place_in_room
from chatroom_lib.instrumentation.tasks import Tasks, task_factory, watcher
from chatroom_lib.runs.executor_calls import ExecutorCalls
from chatroom_lib.runs.network import WINDOW, Datagrams, Link, Listener, Transport
from chatroom_lib.runs.processor import Processor
from chatroom_lib.runs.room_files import RoomFiles
from chatroom_lib.runs.room_threads import RoomThreads

Schedule = Literal["fifo", "any"]
STEP_TIME = 10e-6  # seconds that a step of the room's takes at most; people compute on machines of their own
WRITE_TIME = 50e-6  # seconds that a write to a socket takes the room at most
MAX_BUSY_ITERATIONS = 50_000  # iterations without a rest or a new event after which a run counts as livelocked
endless_tasks: list[asyncio.Task] = []  # of all runs in this process
SHORTEST_DELAY = 1e-9  # seconds; a delay that is lost in rounding would never let the clock move


def require_schedule(schedule: str) -> Schedule:
    if schedule not in get_args(Schedule):
        raise ValueError(f'schedule must be "fifo" or "any", not {schedule!r}')
    return schedule


class SimulationLoop(SteppedLoop):
    """An event loop whose clock jumps from one timer to the next.

    `schedule` "any" runs the ready tasks in any order, which the seed decides. asyncio does not do that.
    """

    def __init__(self, seed: int, schedule: Schedule = "fifo"):
        super().__init__()
        self.random, self.schedule = random.Random(seed), require_schedule(schedule)
        self.chance = self.random.random
        self.draws = random.Random(seed)  # for a room that draws from the module `random`
        self.now = 0.0  # virtual seconds: in a step of the room's, on its clock
        self.processors: dict[Tasks, Processor] = defaultdict(Processor)  # of each server that lives
        self.deadline = float("inf")
        self.ending = None
        self.iterations = 0  # in all
        self.busy_since = 0  # the iteration in which it last rested, or something had happened
        self.count_events = lambda: 0  # how many events the run has had
        self.events_then = 0
        self.interrupted = False  # set by another thread
        self.cleaning_up = False
        self.after_iteration = lambda tasks: None  # called for each server that has run in it
        self.after_jump = lambda: None
        self.look = lambda step=None: None  # called after each step of a room's, and each iteration
        self.note_block = lambda seconds, place: None
        self.report = lambda context: None  # called with each error that asyncio hands to an exception handler
        self.listening = {}  # (host, port) -> Listener
        self.datagrams = {}  # (host, port) -> Datagrams
        self.dialled: list[Transport] = []  # the servers' ends of connections that they have opened themselves
        self.lines: dict[Tasks, Link] = {}  # what these travel on, of each server
        self.serials = itertools.count()
        self.files: RoomFiles | None = None  # of the room
        self.calling_for: tuple = None, None  # whose call is made now, and of which executor
        self.recorder: MomentRecorder | None = None
        self.handshake = 0.0  # seconds that the room's processor is busy with each, at most
        self.threads, self.calls = RoomThreads(self), ExecutorCalls(self)
        self.set_task_factory(partial(task_factory, task_class=Task))

    def time(self) -> float:
        return self.now

    def spend(self, seconds: float) -> None:
        """The room's processor is busy for this long, in the middle of a step."""
        self.now += seconds

    def block(self, seconds: float) -> None:
        """What `time.sleep` does on this thread: everybody waits."""
        self.spend(max(0.0, seconds))
        self.note_block(seconds, place_in_room(sys._getframe()) or "a callback")

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
        if self.schedule == "any":
            self.reorder_ready_tasks(self.random.shuffle)
        if not self.has_ready and not (self.threads.waited_for and self.threads.answer()):
            self.move_clock()
        self.make_timers_ready(self.now)
        for processor in list(self.processors.values()):
            while processor.put_by and (self.now >= processor.free_at or self.cleaning_up):
                self.run_on(processor, processor.put_by.popleft())
        self.run_ready(self.run_step)
        for tasks, processor in list(self.processors.items()):
            if processor.has_run:
                processor.has_run = False
                world, self.now = self.now, max(self.now, processor.busy_until)
                self.after_iteration(tasks)
                self.now = world
        self.look()
        self.iterations += 1
        if self.iterations - self.busy_since >= MAX_BUSY_ITERATIONS:
            self.look_for_progress()
        if self.now >= self.deadline and not self.ending:
            self.end("time is up")
        if self.interrupted and not self.cleaning_up:
            raise KeyboardInterrupt

    def run_step(self, handle: asyncio.Handle, context: contextvars.Context) -> None:
        if watcher not in context:  # of somebody who computes elsewhere
            return self.run(handle)
        if is_of_the_killed(context) and not self.cleaning_up:
            return
        processor = self.processors[context[watcher]]
        if (processor.put_by or self.now < processor.free_at) and not self.cleaning_up:
            processor.put_by.append(handle)
        else:
            self.run_on(processor, handle)

    def run_on(self, processor: Processor, handle: asyncio.Handle) -> None:
        """A step of the room's, on its clock."""
        if not handle.cancelled():
            processor.has_run = True
            world, self.now = self.now, max(self.now, processor.busy_until)
            try:
                self.run(handle)
                self.look(handle)
            finally:
                processor.busy_until = self.now + STEP_TIME * self.chance()
                self.now = world

    def move_clock(self) -> None:
        """Where a real loop waits for the network or the next timer, this one moves its clock."""
        next_timer = self.next_timer()
        if free := [processor.free_at for processor in self.processors.values() if processor.put_by]:
            self.now = min(next_timer or float("inf"), *free, self.deadline)
        elif next_timer is None:
            self.now = max([self.now, *(processor.busy_until for processor in self.processors.values())])
            self.end("quiescent")
        elif next_timer > self.now:
            self.now = min(next_timer, self.deadline)
            self.busy_since = self.iterations
            self.after_jump()

    def look_for_progress(self) -> None:
        events = self.count_events()
        if events == self.events_then:
            self.end("livelocked")
        self.busy_since, self.events_then = self.iterations, events

    def wake(self) -> None:
        self.threads.have_called.set()

    def call_later(self, delay, callback, *args, context=None):
        if delay > 0:
            delay = max(delay, SHORTEST_DELAY)
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(self, when, callback, *args, context=None):
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self.set_timer(timer)
        return timer

    def run_in_executor(self, executor, function, *arguments):
        if isinstance(executor, (ThreadPoolExecutor, type(None))):
            return self.calls.make(executor, function, *arguments)
        return super().run_in_executor(executor, function, *arguments)

    def add_signal_handler(self, sig, callback, *args) -> None:
        """A run hears no signals."""

    def remove_signal_handler(self, sig) -> bool:
        return True

    def clean_up(self) -> None:
        """End every task and close the loop."""
        self.cleaning_up = True
        self.after_iteration, self.after_jump = lambda tasks: None, lambda: None
        self.look = lambda step=None: None
        self.note_block = lambda seconds, place: None
        self.report = lambda context: None
        self.deadline = float("inf")
        self.threads.release()
        self.calls.end()
        for _ in range(100):  # a task may go on for some iterations after it was cancelled
            tasks = asyncio.all_tasks(self)
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            self.call_soon(self.stop)
            self.keep_running()
        for task in asyncio.all_tasks(self):
            never_close(task)
        self.run_until_complete(self.shutdown_asyncgens())
        self.close()
        self.processors.clear()  # and with them all that the servers refer to: whoever made this loop still has it
        self.datagrams.clear()
        self.dialled.clear()
        self.lines.clear()

    def call_exception_handler(self, context):
        """Also if the room has set a handler of its own."""
        self.report(context)

    # ------------------------------------------------------------ the network, as websockets asks for it

    async def kill(self, tasks: Tasks) -> None:
        """Kill the process of a server: from now on nothing of it runs, not even a `finally`."""
        processor = self.processors[tasks]
        while self.now < processor.busy_until:  # the step that it is in ends
            await asyncio.sleep(processor.busy_until - self.now)
        tasks.killed = True
        self.forget(is_of_the_killed)
        del self.processors[tasks]
        for mine in (*self.listening.values(), *self.dialled, *self.datagrams.values()):
            if is_of_the_killed(mine.context):
                mine.die()

    def connect_by(self, link: Link, tasks: Tasks) -> None:
        """What a server sends to others, and hears from them, travels on this from now on."""
        self.lines[tasks] = link
        for transport in self.dialled:
            if transport.context[watcher] is tasks:
                transport.link = transport.peer.link = link

    async def create_server(self, protocol_factory, host, port, **_):
        if (host, port) in self.listening:
            raise OSError(errno.EADDRINUSE, "Address already in use")
        self.listening[host, port] = Listener(self, protocol_factory, (host, port))
        return self.listening[host, port]

    async def create_datagram_endpoint(self, protocol_factory, local_addr=("127.0.0.1", 0), **_):
        host, port = local_addr
        address = host, port or 40000 + next(self.serials)
        if address in self.datagrams:
            raise OSError(errno.EADDRINUSE, "Address already in use")
        protocol = protocol_factory()
        self.datagrams[address] = Datagrams(self, protocol, address)
        protocol.connection_made(self.datagrams[address])
        return self.datagrams[address], protocol

    async def create_connection(self, protocol_factory, host, port, *, window=WINDOW, link=None, **_):
        """`window`: the bytes that may be in flight to the client. `link`: what its packets travel on."""
        listener = self.listening.get((host, port))
        if listener is None:
            raise ConnectionRefusedError(111, "Connection refused")
        link = link or self.lines.get(watcher.get()) or Link()
        if (wait := link.arrival(self.now, self.random) - self.now) == float("inf"):
            await self.create_future()  # nobody will ever answer
        await asyncio.sleep(wait)
        if not listener.is_serving():
            raise ConnectionRefusedError(111, "Connection refused")
        address = ("127.0.0.1", 50000 + next(self.serials))
        client = Transport(self, protocol_factory(), window, address, listener.address)
        server = Transport(self, listener.accept(), WINDOW, listener.address, address)
        client.context, server.context = contextvars.copy_context(), listener.context.copy()
        server.write_time = WRITE_TIME
        client.link = server.link = link
        client.peer, server.peer = server, client
        listener.transports = [each for each in listener.transports if not each.closed] + [server]
        if watcher.get():
            self.dialled = [each for each in self.dialled if not each.closed] + [client]
        self.call_soon(server.protocol.connection_made, server, context=server.context)
        client.protocol.connection_made(client)
        return client, client.protocol


def is_of_the_killed(context: contextvars.Context) -> bool:
    """Is this the context of something that a process did which has been killed?"""
    tasks = context.get(watcher)
    return tasks is not None and tasks.killed


def never_close(task: asyncio.Task) -> None:
    """Keep a task that does not end, whatever is done about it, for as long as this process lives. When Python throws a
    coroutine away it lets it run once more, and this one might never return, in the middle of something else."""
    for thing in (task, task.get_coro()):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
    endless_tasks.append(task)


class Task(asyncio.Task):
    """A task with the same hash in every run: asyncio keeps tasks in sets, whose order depends on hashes."""

    def __new__(cls, coroutine, *, loop, **_):
        task = super().__new__(cls)
        task.serial = next(loop.serials)
        return task

    def __hash__(self):
        return self.serial


class SimulatedConnection(ObservedConnection):
    """A connection with the same hash in every run, whose handshake may take the room some time."""

    def __init__(self, *args, **options):
        self.serial = next(asyncio.get_running_loop().serials)
        super().__init__(*args, **options)

    async def handshake(self, process_request=None, process_response=None, *others):
        def work(connection, request, response):
            if self.loop.handshake and response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
                self.loop.spend(self.loop.handshake * self.loop.chance())
            return process_response(connection, request, response)

        await super().handshake(process_request, work, *others)

    def __hash__(self):
        return self.serial
