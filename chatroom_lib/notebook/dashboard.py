"""A small live picture of a room: who is there, how much is said, what is lost, and what waits.

    view = dashboard(server)              # below this cell, for a minute
    async with dashboard(server): ...     # or for as long as this lasts

It is drawn by a thread of its own, at most five times a second and for at most a fifth of the time, and only if
something has changed. It stands still while something is measured in this process. What remains is a picture.
"""

import asyncio
import contextlib
import threading
import time
from collections import deque
from functools import cached_property
from io import BytesIO
from typing import NamedTuple

from websockets.asyncio.server import ServerConnection
from websockets.frames import Opcode

from chatroom_lib.channels import RWLock
from chatroom_lib.instrumentation.names import name_of_client
from chatroom_lib.instrumentation.primitives import observe_all, primitives
from chatroom_lib.plots.dashboard import LOSS_COUNTERS, dashboard_figure, short_number
from chatroom_lib.runtime.background import background_loop, run
from chatroom_lib.runtime.measurement_lock import drawing
from chatroom_lib.runtime.progress import in_a_notebook
from chatroom_lib.server.server import Server
from chatroom_lib.trace import Trace, Use

SAMPLE_INTERVAL = 0.2  # seconds from one look to the next,
SHARE = 4  # and from one drawing to the next at least this many times as long as it takes
MAX_SAMPLES = 600  # looks; a long dashboard takes them more rarely
TIMEOUT = 2.0  # seconds that the server's loop may take to answer


class DashboardError(RuntimeError):
    """There can be no dashboard. The text says why, and what to do."""


class Sample(NamedTuple):
    time: float  # seconds since the dashboard began
    metrics: dict[str, float]  # title -> value; {}: it stood still


# ---------------------------------------------------------------- reading a room


class CountedConnection(ServerConnection):
    """One that tells its reader of each message that arrives."""

    reader: "MetricsReader"
    name = cached_property(name_of_client)

    def process_event(self, event) -> None:
        super().process_event(event)
        if getattr(event, "opcode", None) in (Opcode.TEXT, Opcode.BINARY):
            self.reader.arrived += 1


class NullTrace(Trace):
    """A Trace that keeps nothing: it lets us see who waits now."""

    def ask(self, what: str, how: str, who: str | None, doing: str) -> Use:
        return Use(what, how, who, doing, time.monotonic())


class MetricsReader:
    """Reads the room of a server. All of it runs on the server's loop, the background one."""

    def __init__(self, server: Server):
        self.server, self.room = server, server.room
        self.now = NullTrace(server.name, ())
        self.arrived = 0  # messages
        self.start = time.monotonic()
        self.recent = deque([(self.start, 0)])  # (time, messages by then) of the last second and a bit
        self.before = self.losses()

    def attach(self) -> None:
        """Count what arrives from now on, on the connections that there are and on those to come."""
        if self.server.connect is ServerConnection:
            self.server.connect = self.connect
        for connection in self.server.connections:
            if type(connection) is ServerConnection:
                connection.__class__, connection.reader = CountedConnection, self

    def connect(self, *args, **options) -> CountedConnection:
        connection = CountedConnection(*args, **options)
        connection.reader = self
        return connection

    def detach(self) -> None:
        if self.server.connect == self.connect:
            self.server.connect = ServerConnection
        for connection in self.server.connections:
            if isinstance(connection, CountedConnection):
                connection.__class__ = ServerConnection

    def read(self) -> Sample:
        observe_all(self.room, self.now)
        now = time.monotonic()
        metrics = {"people": len(self.room.members()), "messages a second": self.rate(now)}
        lost = {name: count - self.before[name] for name, count in self.losses().items()}
        metrics |= {name: count for name, count in lost.items() if count > 0}
        return Sample(now - self.start, {**metrics, **self.waiting(now)})

    def rate(self, now: float) -> float:
        """Messages that have arrived in the last second."""
        self.recent.append((now, self.arrived))
        while len(self.recent) > 2 and self.recent[1][0] <= now - 1:
            self.recent.popleft()
        since, before = self.recent[0]
        return (self.arrived - before) / max(now - since, 1)

    def losses(self) -> dict[str, int]:
        counts = {name: getattr(self.room, name, None) for name in LOSS_COUNTERS}
        return {name: count for name, count in counts.items() if isinstance(count, int)}

    def waiting(self, now: float) -> dict[str, float]:
        waits, depths = [], []
        for _, primitive in primitives(self.room):
            if isinstance(primitive, (asyncio.Lock, RWLock)) and hasattr(primitive, "usage"):  # not all can be observed
                waits.append(max((now - use.asked for _, use in primitive.usage.waiters), default=0.0))
            elif isinstance(primitive, asyncio.Queue):
                depths.append(primitive.qsize())
        metrics = {"seconds in line for the lock": max(waits)} if waits else {}
        return {**metrics, "in the longest queue": max(depths)} if depths else metrics


# ---------------------------------------------------------------- showing it


class Dashboard:
    """One that is on until `stop`, or until its time or its server ends. `samples` are what it has read."""

    def __init__(self, server: Server, seconds: float):
        self.server, self.seconds = server, seconds
        self.samples: list[Sample] = []
        self.pause = max(SAMPLE_INTERVAL, seconds / MAX_SAMPLES)
        self.reader = MetricsReader(server)
        self.may_draw = 0.0  # from when on, on the monotonic clock
        self.drawn: dict[str, float] = {}  # what the picture says
        self.trouble = ""  # why it has ended early
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, name="chatroom_lib dashboard", daemon=True)

    def start(self) -> None:
        from IPython.display import display

        self.on_loop(self.reader.attach)
        self.samples.append(self.on_loop(self.reader.read))
        self.handle = display(self.picture(), display_id=True)
        self.thread.start()

    def on_loop(self, function):
        async def call():
            return function()

        return run(call(), TIMEOUT)

    async def stop(self) -> None:
        """Draw a last time, and end."""
        self.over.set()
        await asyncio.to_thread(self.thread.join)

    async def __aenter__(self) -> "Dashboard":
        return self

    async def __aexit__(self, *exc) -> None:
        await self.stop()

    def run(self) -> None:
        """On its own thread."""
        end = time.monotonic() + self.seconds
        try:
            while not self.over.wait(self.pause) and self.server.running and time.monotonic() < end:
                self.look()
            self.may_draw = 0.0
            self.look()
        except Exception as error:  # a reader's own room may fail in any way when it is asked
            self.trouble = f" It ended with {type(error).__name__}: {error}"
        finally:
            with contextlib.suppress(TimeoutError):
                self.on_loop(self.reader.detach)

    def look(self) -> None:
        with drawing() as free:
            if not free:
                if self.samples[-1].metrics:
                    self.samples.append(Sample(self.samples[-1].time, {}))
                return
            with contextlib.suppress(TimeoutError):  # the loop is busy; there will be another time
                self.samples.append(self.on_loop(self.reader.read))
            start = time.monotonic()
            if start >= self.may_draw and self.samples[-1].metrics != self.drawn:
                self.handle.update(self.picture())
                self.may_draw = start + (1 + SHARE) * (time.monotonic() - start)

    def picture(self):
        """The picture as it is now. Those who do not see it can have it read to them."""
        from IPython.display import Image

        self.drawn, file = self.samples[-1].metrics, BytesIO()
        dashboard_figure(self.server.name, self.samples).savefig(file, format="png", dpi=100)
        return Image(file.getvalue(), format="png", alt=str(self))

    def __str__(self):
        metrics = next(sample.metrics for sample in reversed(self.samples) if sample.metrics)
        return f"{self.server.name}: " + ", ".join(f"{short_number(value)} {title}" for title, value in metrics.items())

    def __repr__(self):
        return f"<Dashboard, {'on' if self.thread.is_alive() else 'over'}. {self}.{self.trouble}>"


_on: list[Dashboard] = []  # those that no newer one has replaced


def dashboard(server: Server, seconds: float = 60) -> Dashboard:
    """A picture of the room of `server`, which `serve` has started, below this cell, for so many seconds.

    Another one of the same server ends. Raises DashboardError outside a notebook, or if the server cannot be read.
    """
    if not in_a_notebook():
        raise DashboardError("a dashboard is shown below a cell; run this in a notebook")
    if not server.running or server.loop is not background_loop():
        raise DashboardError(f"{server!r} does not run on the background thread; start it with serve()")
    for earlier in list(_on):
        if earlier.server is server or not earlier.thread.is_alive():
            _on.remove(earlier)
            earlier.over.set()
            earlier.thread.join(TIMEOUT)
    view = Dashboard(server, seconds)
    view.start()
    _on.append(view)
    return view
