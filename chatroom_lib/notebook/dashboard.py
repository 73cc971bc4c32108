"""A small live picture of a room: people, messages per second, losses, and waiting tasks and messages.

    view = dashboard(server)              # below this cell, for a minute
    async with dashboard(server): ...     # or for as long as this lasts

A thread of its own draws it, at most five times a second and for at most a fifth of the time, and only after a
change. It pauses while something is measured in this process. Its last picture stays in the notebook.
"""

import asyncio
import contextlib
import threading
import time
from collections import deque
from functools import cached_property
from io import BytesIO
from typing import NamedTuple

from websockets.frames import Opcode

from chatroom_lib.channels import RWLock
from chatroom_lib.instrumentation.names import name_of_client
from chatroom_lib.instrumentation.pool import connections_listed
from chatroom_lib.instrumentation.primitives import observe_all, primitives
from chatroom_lib.plots.dashboard import LOSS_COUNTERS, dashboard_figure, short_number
from chatroom_lib.runtime.background import background_loop, run
from chatroom_lib.runtime.connection import BoundedConnection
from chatroom_lib.runtime.console import describe
from chatroom_lib.runtime.jupyter import in_a_notebook
from chatroom_lib.runtime.measurement_lock import drawing
from chatroom_lib.runtime.platform import require_sockets
from chatroom_lib.server.server import Server
from chatroom_lib.trace import Trace, Use

SAMPLE_INTERVAL = 0.2  # seconds between two samples, at least
MAX_DRAWING_SHARE = 1 / 5  # of the time
MAX_SAMPLES = 600  # per dashboard; a long one samples more rarely
ANSWER_TIMEOUT = 2.0  # seconds that the server's loop may take to answer


class DashboardError(RuntimeError):
    """The dashboard cannot be shown. The text says why, and what to do."""


class Sample(NamedTuple):
    time: float  # seconds since the dashboard began
    metrics: dict[str, float]  # title -> value; {}: paused


# ---------------------------------------------------------------- reading a room


class CountedConnection(BoundedConnection):
    """A connection that counts each message that arrives, in its reader."""

    reader: "MetricsReader"
    name = cached_property(name_of_client)

    def process_event(self, event) -> None:
        super().process_event(event)
        if getattr(event, "opcode", None) in (Opcode.TEXT, Opcode.BINARY):
            self.reader.arrived += 1


class NullTrace(Trace):
    """A Trace that records nothing: its uses only show which tasks wait now."""

    def ask(self, what: str, how: str, who: str | None, doing: str) -> Use:
        return Use(what, how, who, doing, time.monotonic())


class MetricsReader:
    """Reads metrics of a server's room. All of it runs on the server's loop, the background one."""

    def __init__(self, server: Server):
        self.server, self.room = server, server.room
        self.now = NullTrace(server.name, ())
        self.arrived = 0  # messages
        self.start = time.monotonic()
        self.recent = deque([(self.start, 0)])  # (time, messages by then) of slightly more than the last second
        self.before = self.losses()

    def attach(self) -> None:
        """Count what arrives from now on, on existing connections and on new ones."""
        if self.server.connect is BoundedConnection:
            self.server.connect = self.connect
        for connection in self.server.connections:
            if type(connection) is BoundedConnection:
                connection.__class__, connection.reader = CountedConnection, self

    def connect(self, *args, **options) -> CountedConnection:
        connection = CountedConnection(*args, **options)
        connection.reader = self
        return connection

    def detach(self) -> None:
        if self.server.connect == self.connect:
            self.server.connect = BoundedConnection
        for connection in self.server.connections:
            if isinstance(connection, CountedConnection):
                connection.__class__ = BoundedConnection

    def read(self) -> Sample:
        observe_all(self.room, self.now)
        now = time.monotonic()
        metrics = {"people": len(connections_listed(self.room)), "messages a second": self.rate(now)}
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
            if isinstance(primitive, (asyncio.Lock, RWLock)) and hasattr(primitive, "usage"):  # some cannot be observed
                waits.append(max((now - use.asked for _, use in primitive.usage.waiters), default=0.0))
            elif isinstance(primitive, asyncio.Queue):
                depths.append(primitive.qsize())
        metrics = {"seconds in line for the lock": max(waits)} if waits else {}
        return {**metrics, "in the longest queue": max(depths)} if depths else metrics


# ---------------------------------------------------------------- showing it


class Dashboard:
    """A dashboard that runs until `stop`, for `seconds`, or until its server stops. `samples` is what it has read."""

    def __init__(self, server: Server, seconds: float):
        self.server, self.seconds = server, seconds
        self.samples: list[Sample] = []
        self.pause = max(SAMPLE_INTERVAL, seconds / MAX_SAMPLES)
        self.reader = MetricsReader(server)
        self.next_drawing = 0.0  # monotonic time before which nothing is drawn
        self.drawn = 0  # the number of samples in the picture
        self.trouble = ""  # why it ended early
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.run, name="chatroom_lib dashboard", daemon=True)

    def start(self) -> None:
        from IPython.display import display

        try:
            self.on_loop(self.reader.attach)
            self.samples.append(self.on_loop(self.reader.read))
        except TimeoutError:
            asyncio.run_coroutine_threadsafe(call(self.reader.detach), background_loop())  # after what it has not done
            problem = f"the room of {self.server.name} keeps the event loop busy: no answer in {ANSWER_TIMEOUT:g} s"
            raise DashboardError(f"{problem}; try again when it waits for something") from None
        self.handle = display(self.picture(), display_id=True)
        self.thread.start()

    def on_loop(self, function):
        return run(call(function), ANSWER_TIMEOUT)

    async def stop(self) -> None:
        """Draw a last time, then end."""
        self.stopped.set()
        await asyncio.to_thread(self.thread.join)

    async def __aenter__(self) -> "Dashboard":
        return self

    async def __aexit__(self, *exc) -> None:
        await self.stop()

    def run(self) -> None:
        """Sample and draw; on the dashboard's own thread."""
        end = time.monotonic() + self.seconds
        try:
            while not self.stopped.wait(self.pause) and self.server.running and time.monotonic() < end:
                self.update()
            self.next_drawing = 0.0
            self.update()
        except Exception as error:  # a reader's own room may fail in any way when it is read
            self.trouble = f" It ended with {describe(error)}"
        finally:
            with contextlib.suppress(TimeoutError):
                self.on_loop(self.reader.detach)

    def update(self) -> None:
        with drawing() as free:
            if not free:
                if self.samples[-1].metrics:
                    self.samples.append(Sample(self.samples[-1].time, {}))
                return
            with contextlib.suppress(TimeoutError):  # the loop is busy; sample again later
                self.samples.append(self.on_loop(self.reader.read))
            start = time.monotonic()
            if start >= self.next_drawing and self.changed():
                self.handle.update(self.picture())
                self.next_drawing = start + (time.monotonic() - start) / MAX_DRAWING_SHARE

    def changed(self) -> bool:
        """Is there anything new since the last drawing, even if it has passed by now?"""
        shown = self.samples[self.drawn - 1].metrics
        return any(sample.metrics not in (shown, {}) for sample in self.samples[self.drawn :])

    def picture(self):
        """The current picture, with a text for screen readers."""
        from IPython.display import Image

        self.drawn, file = len(self.samples), BytesIO()
        dashboard_figure(self.server.name, self.samples).savefig(file, format="png", dpi=100)
        return Image(file.getvalue(), format="png", alt=str(self))

    def __str__(self):
        metrics = next(sample.metrics for sample in reversed(self.samples) if sample.metrics)
        return f"{self.server.name}: " + ", ".join(f"{short_number(value)} {title}" for title, value in metrics.items())

    def __repr__(self):
        return f"<Dashboard, {'running' if self.thread.is_alive() else 'ended'}. {self}.{self.trouble}>"


async def call(function):
    return function()


_running: list[Dashboard] = []  # not yet replaced by a newer one


def dashboard(server: Server, seconds: float = 60) -> Dashboard:
    """Show a live picture of the room of `server`, which `serve` has started, below this cell, for `seconds`.

    It ends any other dashboard of that server. Raises DashboardError outside a notebook, if `serve` did not start the
    server, if it has stopped, or if its event loop does not answer within 2 s.
    """
    require_sockets("dashboard()")
    if not in_a_notebook():
        raise DashboardError("a dashboard is shown below a cell; run this in a notebook")
    if not server.running or server.loop is not background_loop():
        raise DashboardError(f"{server!r} does not run on the background thread; start it with serve()")
    for earlier in list(_running):
        if earlier.server is server or not earlier.thread.is_alive():
            _running.remove(earlier)
            earlier.stopped.set()
            earlier.thread.join(ANSWER_TIMEOUT)
    view = Dashboard(server, seconds)
    view.start()
    _running.append(view)
    return view
