"""The dashboard: what it reads of a room, when it draws, and when it ends. `display` is replaced by a list here;
test_lab.py shows one in JupyterLab."""

import asyncio
import math
import time
from contextlib import asynccontextmanager

import IPython.display
import pytest

from chatroom_lib import Scenario, Server, dashboard, listener, live, plots, serve, stop_all, talker
from chatroom_lib.notebook.dashboard import DashboardError, MetricsReader, Sample
from chatroom_lib.rooms import v3_1, v3_2, v4
from chatroom_lib.runtime.background import background_loop, submit
from chatroom_lib.runtime.connection import BoundedConnection
from chatroom_lib.runtime.measurement_lock import drawing, measured_window
from tests.helpers import AT_MOST, every_version, frozen, hears, in_a_loop, joining, said, until


class Cell:
    """The output of a cell: each picture that was shown there, and when."""

    def __init__(self):
        self.shown, self.times = [], []

    def display(self, picture, display_id):
        assert display_id is True
        self.update(picture)
        return self

    def update(self, picture):
        self.shown.append(picture)
        self.times.append(time.monotonic())


@pytest.fixture
def cell(monkeypatch):
    cell = Cell()
    monkeypatch.setattr(IPython.display, "display", cell.display)
    monkeypatch.setattr("chatroom_lib.notebook.dashboard.in_a_notebook", lambda: True)
    return cell


@asynccontextmanager
async def served(room, **options):
    try:
        yield await serve(room, **options)
    finally:
        await stop_all()


@asynccontextmanager
async def measured(room, **options):
    """A server on this loop, and a reader of its room."""
    server = await Server(room, **options).start()
    reader = MetricsReader(server)
    reader.attach()
    try:
        yield server, reader
    finally:
        await server.stop()


# ---------------------------------------------------------------- what it reads


@every_version
@in_a_loop
async def test_it_counts_members_and_messages_on_connections_old_and_new(room):
    server = await Server(room).start()
    async with joining(server.url) as ann:
        await until(lambda: len(server.room.members()) == 1)
        reader = MetricsReader(server)
        reader.attach()
        async with joining(server.url) as bob:
            await until(lambda: len(server.room.members()) == 2)
            for client in (ann, bob):
                await client.send(said("hello"))
            await until(lambda: reader.arrived == 2)
            metrics = reader.read().metrics
            assert metrics["people"] == 2 and 0 < metrics["messages a second"] <= 2
            reader.detach()
            await bob.send(said("hello"))
            await hears(ann, "hello")
            assert reader.arrived == 2 and server.connect is BoundedConnection and server.errors == []
    assert reader.now.uses == [] and not reader.now.depths  # NullTrace records nothing
    await server.stop()


@in_a_loop
async def test_the_rate_is_that_of_the_last_second():
    async with measured("v1") as (_, reader):
        reader.arrived = 10
        assert reader.rate(reader.start + 0.1) == 10
        assert reader.rate(reader.start + 1.05) == pytest.approx(10 / 1.05)
        assert reader.rate(reader.start + 1.2) == 0
        reader.arrived = 30
        assert reader.rate(reader.start + 3.2) == pytest.approx(10)  # 20 in 2 s
        for tenth in range(100):
            reader.rate(reader.start + 4 + tenth / 10)
        assert len(reader.recent) < 15


@in_a_loop
async def test_it_reads_the_longest_outbox_and_what_was_dropped():
    async with measured(lambda: v3_1.Room(outbox_size=4), write_limit=1024) as (server, reader):
        async with frozen(server.url), joining(server.url, max_queue=None) as ann:
            await until(lambda: len(server.room.members()) == 2)
            while not server.room.dropped:
                await ann.send(said("." * 50_000))
                await asyncio.sleep(0)
            metrics = reader.read().metrics
            assert metrics["in the longest queue"] == 4 and metrics["dropped"] == server.room.dropped


@in_a_loop
async def test_it_reads_how_long_the_first_in_line_waits_for_the_lock():
    async with measured("v2") as (server, reader):
        assert reader.read().metrics["seconds in line for the lock"] == 0
        await server.room.lock.acquire()
        async with joining(server.url):
            await until(lambda: reader.read().metrics["seconds in line for the lock"])
            first = reader.read().metrics["seconds in line for the lock"]
            await asyncio.sleep(0.05)
            assert reader.read().metrics["seconds in line for the lock"] > first > 0
            server.room.lock.release()
            await until(lambda: server.room.members())
            assert reader.read().metrics["seconds in line for the lock"] == 0


@in_a_loop
async def test_a_lock_that_cannot_be_observed_is_left_out():
    class Strict(asyncio.Lock):
        def __setattr__(self, name, value):
            if name in ("__class__", "usage"):
                raise TypeError("nobody changes this one")
            super().__setattr__(name, value)

    async with measured("v2") as (server, reader):
        server.room.lock = Strict()
        assert reader.read().metrics == {"people": 0, "messages a second": 0}


@in_a_loop
async def test_it_counts_losses_from_its_own_start():
    room = v4.Room(limit=0.001, burst=1)
    room.refused = 7
    async with measured(room) as (server, reader), joining(server.url) as ann:
        assert "refused" not in reader.read().metrics
        for _ in range(3):
            await ann.send(said("hello"))
        await until(lambda: room.refused == 9)
        assert reader.read().metrics["refused"] == 2


# ---------------------------------------------------------------- when it draws, and when it ends


@in_a_loop
async def test_it_ends_as_a_picture_of_the_last_state(cell):
    async with served("v3.1") as server:
        async with joining(server.url), dashboard(server) as view:
            await until(lambda: view.samples[-1].metrics["people"] == 1)
            await asyncio.sleep(0.5)
        assert not view.thread.is_alive()
        assert "v3.1: 0 people" in repr(view) or "v3.1: 1 people" in repr(view)
        assert cell.shown[-1].alt == str(view)
        assert cell.shown[-1].data.startswith(b"\x89PNG") and len(cell.shown[-1].data) < 40_000
        number = len(cell.shown)
        await asyncio.sleep(0.5)
        assert len(cell.shown) == number


@pytest.mark.slow
@in_a_loop
async def test_it_draws_at_most_five_times_a_second_and_only_what_is_new(cell):
    async with served(lambda: v3_2.Room(limit=None)) as server, joining(server.url) as ann:
        async with dashboard(server):
            while len(cell.shown) < 5:
                await ann.send(said("hello"))
                await asyncio.sleep(0.05)
        pauses = [later - earlier for earlier, later in zip(cell.times, cell.times[1:-1])]  # the last comes at the end
        assert min(pauses) > 0.19
        before = len(cell.shown)
        async with dashboard(server):
            await asyncio.sleep(1)
        assert len(cell.shown) <= before + 2  # nobody has joined, left or said anything


@in_a_loop
async def test_it_draws_what_has_come_and_gone_before_it_may_draw_again(cell):
    async with served("v1") as server, joining(server.url) as ann:
        await until(server.room.members)
        async with dashboard(server) as view:
            view.next_drawing = math.inf  # as on a machine where a drawing takes very long
            await ann.send(said("hello"))
            await until(lambda: any(sample.metrics["messages a second"] for sample in view.samples))
            await until(lambda: view.samples[-1].metrics == view.samples[0].metrics)
            assert len(cell.shown) == 1
            view.next_drawing = 0.0
            await until(lambda: len(cell.shown) == 2)


@in_a_loop
async def test_it_pauses_while_something_is_measured(cell):
    async with served("v4") as server, joining(server.url) as ann:
        async with dashboard(server) as view:
            with measured_window():
                with drawing() as free:
                    assert not free
                before = len(cell.shown)
                for _ in range(10):
                    await ann.send(said("hello"))
                    await asyncio.sleep(0.05)
                assert len(cell.shown) == before
            await until(lambda: len(cell.shown) > before)
            await live("v1", Scenario([talker("Ann"), listener("Cy")], duration=0.6))
        assert [sample.metrics for sample in view.samples].count({}) == 2


@in_a_loop
async def test_a_measurement_waits_for_a_drawing_to_end():
    order = []
    window = measured_window()
    with drawing() as free:
        assert free
        waiting = asyncio.create_task(asyncio.to_thread(window.__enter__))
        await asyncio.sleep(0.1)
        order.append("drawn")
    await waiting
    order.append("measuring")
    window.__exit__(None, None, None)
    with drawing() as free:
        assert free
    assert order == ["drawn", "measuring"]


@in_a_loop
async def test_it_ends_with_its_time_its_server_or_the_next_one(cell):
    async with served("v1") as server:
        short = dashboard(server, seconds=0.3)
        await until(lambda: not short.thread.is_alive())
        first, second = dashboard(server), dashboard(server)
        await until(lambda: not first.thread.is_alive())
        assert second.thread.is_alive()
    await until(lambda: not second.thread.is_alive())


@in_a_loop
async def test_one_that_fails_says_so_and_ends(cell):
    class Broken(v4.Room):
        broken = False

        def members(self):
            if self.broken:
                raise KeyError("lost")
            return super().members()

    async with served(Broken) as server:
        view = dashboard(server)
        server.room.broken = True
        await until(lambda: not view.thread.is_alive())
        assert "members() must list connections, and raised KeyError: 'lost'" in repr(view)


@in_a_loop
async def test_a_server_that_is_too_busy_to_answer_has_no_dashboard(monkeypatch, cell):
    server = await serve("v1")
    monkeypatch.setattr("chatroom_lib.notebook.dashboard.ANSWER_TIMEOUT", 0.1)
    background_loop().call_soon_threadsafe(time.sleep, 0.5)
    with pytest.raises(
        DashboardError, match="^the room of v1 keeps the event loop busy: no answer in 0.1 s; try again"
    ):
        dashboard(server)
    await submit(asyncio.sleep(0))  # it answers again
    assert server.connect is BoundedConnection
    monkeypatch.setattr("chatroom_lib.notebook.dashboard.ANSWER_TIMEOUT", AT_MOST)
    async with dashboard(server):
        pass


@in_a_loop
async def test_it_says_why_there_can_be_no_dashboard(monkeypatch):
    async with served("v1") as server:
        with pytest.raises(DashboardError, match="run this in a notebook"):
            dashboard(server)
    monkeypatch.setattr("chatroom_lib.notebook.dashboard.in_a_notebook", lambda: True)
    with pytest.raises(DashboardError, match="start it with serve"):
        dashboard(server)
    ours = await Server("v1").start()
    with pytest.raises(DashboardError, match="start it with serve"):
        dashboard(ours)
    await ours.stop()


def test_the_picture_has_a_panel_for_each_metric_and_a_gap_where_it_paused():
    samples = [Sample(0, {"people": 1}), Sample(1, {}), Sample(2, {"people": 3, "dropped": 1250})]
    figure = plots.dashboard_figure("v3.1", samples)
    people, dropped = figure.axes
    assert people.get_title(loc="left") == "3 people" and dropped.get_title(loc="left") == "1,250 dropped"
    assert [str(value) for value in people.lines[0].get_ydata()] == ["1.0", "nan", "3.0"]
    assert people.lines[0].get_color() == plots.COLOURS["v3.1"] and dropped.lines[0].get_color() == plots.ALARM


def test_the_axis_names_the_highest_value_though_the_title_has_the_last():
    figure = plots.dashboard_figure(
        "v1", [Sample(0, {"people": 2}), Sample(1, {"people": 5}), Sample(2, {"people": 3})]
    )
    (people,) = figure.axes
    assert people.get_title(loc="left") == "3 people"
    assert [label.get_text() for label in people.get_yticklabels()] == ["0", "5"]
