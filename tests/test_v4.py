"""What v4 does below `send()`: many messages in one write, no wait for a single one, a bound, compressed frames."""

import asyncio
import functools
import json
from collections import Counter
from functools import partial

import pytest
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)  # fmt: skip

from chatroom_lib import (
    Message,
    Scenario,
    flooder,
    frozen as frozen_client,
    leaving,
    listener,
    simulate,
    slow_reader,
    talker,
    typist,
)
from chatroom_lib.frames import frame_key
from chatroom_lib.rooms import v4
from chatroom_lib.runs.event_loop import STEP_TIME, WRITE_TIME
from chatroom_lib.runs.network import LATENCY
from chatroom_lib.server.server import Server
from tests.helpers import frozen, heard, hears, in_a_loop, joining, said, until

UNLIMITED = partial(v4.Room, limit=None)

# ---------------------------------------------------------------- gathering


def test_what_is_said_at_once_is_written_at_once():
    crowd = Scenario([*(flooder(f"Flo{n}", says=50, every=0.0) for n in range(8)), listener("Cy")], duration=20)
    one_by_one, together = simulate("v3.1", crowd), simulate(UNLIMITED, crowd)
    assert len(one_by_one.heard("Cy")) == len(together.heard("Cy")) == 400
    assert one_by_one.writes["Cy"] == 400 and together.writes["Cy"] <= 100


def test_a_message_in_an_idle_room_waits_for_nothing():
    trace = simulate(UNLIMITED, Scenario([talker("Ann", says=20, every=0.5), listener("Cy")], duration=20))
    accepted = {event.message: event.time for event in trace.of("accepted")}
    waits = [event.time - accepted[event.message] for event in trace.of("heard")]
    assert len(waits) == 40 and max(waits) <= LATENCY[1] + 2 * (WRITE_TIME + STEP_TIME)


def test_several_people_who_say_the_longest_messages_at_once_can_evict_a_healthy_client():
    people = [listener("Cy"), *(talker(f"T{n}", says=5, every=0, size=60_000, starts=1) for n in range(6))]
    assert any(simulate("v4", Scenario(people, duration=5), seed).evicted() for seed in range(3))


class StillLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still, unless the test puts it forward."""

    now = 0.0

    def time(self):
        return self.now


def on_a_still_loop(test):
    @functools.wraps(test)
    def run(*arguments):
        with asyncio.Runner(loop_factory=StillLoop) as runner:
            runner.run(test(*arguments))

    return run


class Far:
    """A connection that it takes `seconds` to write to, as a great many connections would."""

    def __init__(self, loop, seconds: float):
        self.loop, self.seconds = loop, seconds
        self.written = []
        self.transport, self.protocol, self.state, self.extensions = self, self, v4.OPEN, []

    def get_write_buffer_size(self):
        return 0

    def write(self, data):
        self.written.append(data)
        self.loop.now += self.seconds


async def turns():
    for _ in range(5):
        await asyncio.sleep(0)


async def after(together: int, seconds: float):
    """A room in which so many messages were said in one moment, each writing of which took `seconds`."""
    room, connection = UNLIMITED(), Far(asyncio.get_running_loop(), seconds)
    room.connections[connection] = frame_key(connection)
    for number in range(together):
        room.broadcast(Message("Ann", f"early {number}"))
    assert len(connection.written) == 1  # the first one goes out at once
    await turns()
    assert len(connection.written) == min(together, 2)  # and the others of the same moment together
    return room, connection


@on_a_still_loop
async def test_where_messages_come_one_by_one_each_goes_out_at_once():
    room, connection = await after(1, seconds=0.01)
    for number in range(3):
        room.broadcast(Message("Ann", "late"))
        await turns()
        assert len(connection.written) == 2 + number and room.idle


@on_a_still_loop
async def test_in_a_busy_room_messages_wait_until_there_are_as_many_as_last_time():
    room, connection = await after(4, seconds=0.01)  # one, and then three
    for number in range(3):
        assert len(connection.written) == 2
        room.broadcast(Message("Ann", f"late {number}"))
        await turns()
    assert len(connection.written) == 3
    assert all(f"late {number}".encode() in connection.written[-1] for number in range(3))


@pytest.mark.parametrize("seconds, longest", [(0.0, 0), (0.01, 0.01), (0.2, v4.MAX_DELAY)])
def test_they_wait_for_no_longer_than_the_last_writing_took(seconds, longest):
    @on_a_still_loop
    async def talk():
        room, connection = await after(4, seconds)
        loop = asyncio.get_running_loop()
        loop.now += 0.99 * longest
        room.broadcast(Message("Ann", "late"))
        await turns()
        assert len(connection.written) == (2 if longest else 3)
        loop.now += 0.02 * longest
        await turns()
        assert len(connection.written) == 3 and b"late" in connection.written[-1]
        loop.now += 1.01 * longest
        await turns()
        assert room.idle and not room.batch

    talk()


@in_a_loop
async def test_messages_too_long_to_gather_go_out_alone():
    async with serving(max_size=2**20) as server, joining(server.url) as ann, joining(server.url) as bob:
        contents = ["." * 3 * v4.MAX_BATCH, "short", "." * 2 * v4.MAX_BATCH]
        for content in contents:
            await ann.send(said(content))
        for client in (ann, bob):
            assert [(await heard(client))["content"] for _ in contents] == contents
        await until(lambda: server.room.idle)
        assert server.room.batch == [] and server.room.batch_bytes == 0


class serving:
    """`async with serving() as server`: v4 on this loop, without a limit."""

    def __init__(self, room=UNLIMITED, **options):
        self.server = Server(room, **options)

    async def __aenter__(self):
        return await self.server.start()

    async def __aexit__(self, *exc):
        await self.server.stop()
        assert self.server.errors == []


# ---------------------------------------------------------------- the bound


def test_whoever_does_not_read_is_evicted_and_counted_and_whoever_leaves_is_not():
    ann = talker("Ann", says=200, every=0.02, size=1000)
    room = UNLIMITED(buffer_size=10_000)
    people = [ann, frozen_client("Bob"), listener("Cy"), leaving("Di", leaves=1.0)]
    trace = simulate(room, Scenario(people, duration=10))
    assert trace.evicted().keys() == {"Bob"} and room.evicted == 1
    assert len(trace.heard("Cy")) == 200
    assert {event.who for event in trace.of("removed")} >= {"Bob", "Di"}


def test_whoever_reads_slowly_but_keeps_up_stays():
    people = [talker("Ann", says=60, every=0.1), slow_reader("Bob", 0.09)]
    room = UNLIMITED()
    trace = simulate(room, Scenario(people, duration=30))
    assert room.evicted == 0 and len(trace.heard("Bob")) == 60


@in_a_loop
async def test_on_real_sockets_a_frozen_client_costs_no_more_than_the_bound():
    room = UNLIMITED(buffer_size=100_000)
    size, most = 10_000, 0
    async with serving(room) as server, joining(server.url) as ann, frozen(server.url):
        await until(lambda: len(room.members()) == 2)
        victim = room.members()[1]
        while victim in room.members():
            await ann.send(said("." * size))
            await heard(ann)
            most = max(most, victim.transport.get_write_buffer_size())
        assert 50_000 < most <= room.buffer_size + v4.MAX_BATCH + size
        assert room.evicted == 1 and victim.transport.get_write_buffer_size() == 0
        await ann.send(said("still here"))
        assert await hears(ann, "still here")


# ---------------------------------------------------------------- the limit


def test_a_flood_is_refused_and_the_flooder_told_and_nobody_is_who_types():
    ty = typist("Ty", "hello", "so", "what is this", "ok", "yes", "no")
    crowd = Scenario([flooder("Flo", says=200, every=0.05), ty, listener("Cy")], duration=20)
    room = v4.Room()
    trace = simulate(room, crowd)
    passed = [message for message in trace.heard("Cy") if message.startswith("Flo")]
    assert 5 + 9 <= len(passed) <= 5 + 11  # ten seconds, one message a second, and the burst
    assert room.refused == len(trace.of("refused", who="Flo")) == 200 - len(passed)
    assert not trace.of("refused", who="Ty")


# ---------------------------------------------------------------- compression


def deflating(takeover: bool, **options):
    factory = ClientPerMessageDeflateFactory(server_no_context_takeover=not takeover, **options)
    return {"extensions": [factory]}


@in_a_loop
async def test_whoever_compresses_is_understood_and_equal_frames_are_made_once(monkeypatch):
    made = []
    encode = PerMessageDeflate.encode

    def counted(self, frame):
        if isinstance(frame.data, bytes) and b"hello" in bytes(frame.data):
            made.append(self.local_no_context_takeover)
        return encode(self, frame)

    options = {"extensions": [ServerPerMessageDeflateFactory()]}
    async with serving(**options) as server, joining(server.url) as plain:
        clients = [await joining(server.url, **deflating(False)) for _ in range(3)]
        clients += [await joining(server.url, **deflating(False, server_max_window_bits=10))]
        clients += [await joining(server.url, **deflating(True)) for _ in range(2)]
        monkeypatch.setattr(PerMessageDeflate, "encode", counted)
        contents = [f"hello {'a' * 200} {number}" for number in range(3)]
        for content in contents:
            await plain.send(said(content))
            for client in [plain, *clients]:
                assert (await heard(client))["content"] == content
        # One for the three that agreed on the same, one for who takes a smaller window; one each for who remembers.
        assert Counter(made) == {True: 2 * len(contents), False: 2 * len(contents)}
        for client in clients:
            await client.close()


@in_a_loop
async def test_a_refusal_is_understood_by_who_compresses():
    room = v4.Room(limit=0.1, burst=1)
    async with serving(room, compression="deflate") as server:
        async with joining(server.url, **deflating(True)) as ann:
            for content in ("one", "two", "three"):
                await ann.send(said(content))
            replies = [json.loads(await ann.recv()) for _ in range(3)]
            assert sorted(reply.get("refused") or reply["content"] for reply in replies) == ["one", "three", "two"]
