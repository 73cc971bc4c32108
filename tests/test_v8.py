"""v8: whoever gives no sign of life is cut off and nobody else is, and the return is spread."""

import asyncio
import time
from functools import partial

import pytest
from websockets.exceptions import InvalidStatus
from websockets.frames import Opcode

from chatroom_lib import (
    Kill,
    Scenario,
    commuter,
    frozen,
    late_joiner,
    listener,
    simulate,
    slow_reader,
    talker,
    unplugged,
)
from chatroom_lib.checker.guarantees import judge
from chatroom_lib.clients.player import reset
from chatroom_lib.history import History
from chatroom_lib.message import decode_position, told_to_come_back
from chatroom_lib.rooms import v8
from chatroom_lib.server.server import Server
from tests.helpers import (
    AT_MOST,
    HANDSHAKE,
    client_frame,
    frozen as frozen_client,
    heard,
    hears,
    in_a_loop,
    in_both_worlds,
    joining,
    said,
    until,
)

Hasty = partial(v8.Room, limit=None, deadline=2)
ASKING = "?since=:&last=0"


async def serve(**options) -> Server:
    return await Server(partial(v8.Room, **{"limit": None, **options})).start()


# ---------------------------------------------------------------- a silent death

SPEECH = {
    "idle": {"says": 0},
    "a little": {"says": 60, "every": 1, "size": 2000},
    "more than it takes": {"says": 400, "every": 0.15, "size": 8000},
}


@pytest.mark.parametrize("speech", SPEECH.values(), ids=SPEECH)
def test_whose_line_goes_dark_is_out_of_the_pool_at_the_deadline_however_full_the_buffers_are(speech):
    for seed in range(5):
        people = [talker("Ann", **speech), unplugged("Bob", dark=20), slow_reader("Dan", pause=0.2, dark=25)]
        trace = simulate(partial(v8.Room, limit=None), Scenario([*people, listener("Cy")], duration=70), seed)
        removed = {event.who: event.time for event in trace.of("removed")}
        assert set(removed) == {"Bob", "Dan"} and trace.in_pool() == ["Ann", "Cy"]
        assert 20 + 9 < removed["Bob"] <= 51 and 25 + 9 < removed["Dan"] <= 56
        assert len(trace.heard("Cy")) == speech["says"]


@in_both_worlds
def test_a_dark_line_and_a_program_that_hangs_are_noticed_and_the_others_hear_on(play):
    people = [talker("Ann", says=60, every=0.04, size=4000), unplugged("Bob", dark=0.5), frozen("Dan"), listener("Cy")]
    trace = play(Hasty, Scenario(people, duration=4))
    assert {event.who for event in trace.of("removed")} == {"Bob", "Dan"}
    assert len(trace.heard("Cy")) == 60 and trace.in_pool() == ["Ann", "Cy"]


def test_in_v7_they_stay():
    people = [talker("Ann", says=20), unplugged("Bob", dark=2), listener("Cy")]
    assert simulate("v7", Scenario(people, duration=300)).in_pool() == ["Ann", "Bob", "Cy"]


@in_a_loop
async def test_a_client_that_never_reads_is_cut_off_though_its_buffers_are_full():
    server = await serve(deadline=1)
    async with frozen_client(server.url), joining(server.url) as ann:
        await until(lambda: len(server.room.members()) == 2)
        for number in range(300):
            await ann.send(said(f"{number} ".ljust(4000, ".")))
        assert await hears(ann, "299 ".ljust(4000, "."))
        await until(lambda: len(server.room.members()) == 1)
        assert server.room.silent == 1 and ann.close_code is None
    await server.stop()


# ---------------------------------------------------------------- no false alarm


@pytest.mark.parametrize("pause", [0.25, 5], ids=["4 kB/s", "0.2 kB/s"])
def test_whoever_reads_slowly_stays_and_hears_everything(pause):
    people = [talker("Ann", says=150, every=0.1), slow_reader("Bob", pause=pause), listener("Cy")]
    for seed in range(3):
        trace = simulate(partial(v8.Room, limit=None), Scenario(people, duration=1000), seed)
        assert not trace.of("removed") and len(trace.heard("Bob")) == 150


@in_a_loop
async def test_a_slow_reader_stays_while_more_waits_for_it_than_it_reads_within_the_deadline():
    server = await serve(deadline=1.5)
    async with frozen_client(server.url) as bob, joining(server.url) as ann:
        bob.transport.resume_reading()
        for number in range(120):
            await ann.send(said(f"{number} ".ljust(4000, ".")))
        assert await hears(ann, "119 ".ljust(4000, "."))
        start = time.monotonic()
        for number in range(120):
            assert (await heard(bob))["content"].startswith(f"{number} ")
            await asyncio.sleep(start + 0.045 * (number + 1) - time.monotonic())  # on a busy machine he catches up
        assert time.monotonic() - start > 3 * 1.5
        assert server.room.silent == 0 and len(server.room.members()) == 2
    await server.stop()


async def raw_client(server: Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(HANDSHAKE)
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


@in_a_loop
async def test_any_byte_is_a_sign_of_life_also_one_in_the_middle_of_a_frame():
    server = await serve(deadline=0.6)
    reader, writer = await raw_client(server)
    frame = client_frame(Opcode.TEXT, said("." * 30).encode())
    for byte in frame[:-1]:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.03)
    assert len(frame) * 0.03 > 2 and server.room.silent == 0  # it answers no ping
    writer.write(frame[-1:])
    async with asyncio.timeout(AT_MOST):
        while b"....." not in await reader.read(4096):
            pass
    await until(lambda: server.room.silent == 1)
    writer.transport.abort()
    await server.stop()


@in_a_loop
async def test_whoever_the_room_does_not_read_from_is_not_taken_for_dead(monkeypatch):
    """While the disk is slow, what people say waits, and with it their pongs."""
    append, released = History.append, asyncio.Event()

    async def slow(*arguments, **options):
        await released.wait()
        return await append(*arguments, **options)

    monkeypatch.setattr(History, "append", slow)
    server = await serve(deadline=0.5)
    async with joining(server.url) as ann:
        for number in range(400):
            await ann.send(said(str(number)))
        await asyncio.sleep(2)
        assert ann.close_code is None and server.room.silent == 0
        released.set()
        assert await hears(ann, "399")
    await server.stop()


def test_while_the_room_itself_is_busy_nobody_is_taken_for_dead():
    """Their pongs may be waiting to be read."""
    come = [late_joiner(f"P{number}", 5 + 4 * number) for number in range(8)]
    scenario = Scenario([listener("Ann"), talker("Cy", says=8, every=5), *come], duration=50, handshake=3.5)
    for seed in range(5):
        trace = simulate(partial(v8.Room, deadline=2), scenario, seed)
        assert not trace.of("removed") and len(trace.heard("Ann")) == 8


@in_a_loop
async def test_clients_that_come_together_are_not_pinged_together():
    server = await serve(deadline=AT_MOST)
    clients = [await joining(server.url) for _ in range(20)]
    await until(lambda: len(server.room.members()) == 20)
    moments = [reader.next_ping for reader in server.room.readers.values()]
    assert max(moments) - min(moments) > AT_MOST / 8
    for client in clients:
        reset(client)
    await until(lambda: not server.room.members())
    await server.stop()


# ---------------------------------------------------------------- the return


@in_a_loop
async def test_a_room_that_stops_says_within_which_time_to_come_back():
    server = await serve(returns=2)
    clients = [await joining(server.url) for _ in range(3)]
    await until(lambda: len(server.room.members()) == 3)
    await server.stop()
    for client in clients:
        await client.wait_closed()
        assert (client.close_code, client.close_reason) == (1012, "come back within 3 s")  # one, and 3 / 2
        assert told_to_come_back(client.close_reason) == 3


@in_a_loop
async def test_who_resumes_is_told_beforehand_and_again_when_many_more_have_come():
    server = await serve(returns=10, deadline=1)
    async with joining(server.url + ASKING) as ann:
        assert decode_position(await ann.recv()).return_within == 2
        others = [await joining(server.url) for _ in range(30)]
        told = decode_position(await ann.recv())
        assert 4 <= told.return_within <= 5  # one, and up to 31 / 10
        assert told.seq == 0 and told.gap is None
        await ann.send(said("hello"))
        assert (await heard(ann))["content"] == "hello"
        for other in others:
            reset(other)
    await server.stop()


@in_a_loop
async def test_who_knocks_when_too_many_come_is_refused_at_the_door_and_told_when_to_try_again():
    def work(connection, request, response):
        if response.status_code == 101:
            time.sleep(0.15)  # as much as a handshake may take that asks for a password

    server = await Server(partial(v8.Room, returns=2), process_response=work).start()
    answers = await asyncio.gather(*(joining(server.url) for _ in range(12)), return_exceptions=True)
    refused = [answer.response for answer in answers if isinstance(answer, InvalidStatus)]
    clients = [answer for answer in answers if not isinstance(answer, InvalidStatus)]
    assert len(clients) >= 2 and len(refused) == server.room.turned_away >= 3
    assert {response.status_code for response in refused} == {503}
    waits = [int(response.headers["Retry-After"]) for response in refused]
    assert min(waits) == 1 and max(waits) >= len(waits) // 2  # each has a turn of its own, two in a second
    clients.append(await joining(server.url))  # one alone is let in
    for client in clients:
        reset(client)
    await server.stop()


def test_after_a_kill_they_come_back_spread_and_nobody_is_left_out():
    crowd = [commuter(f"P{number}", resumes=True) for number in range(60)]
    scenario = Scenario([talker("Ann", says=5), *crowd], duration=30, kills=[Kill(5, back_after=0.5)])
    spans = {}
    for room in ("v7", partial(v8.Room, returns=20)):
        trace = simulate(room, scenario, seed=1)
        back = sorted(event.time for event in trace.of("joined") if event.time > 5)
        assert len(back) == 60 and judge(trace)["no-gap"].kept
        spans[room] = back[50] - back[10]
    quick, spread = spans.values()
    assert spread > 2 * quick


def test_a_room_that_fails_at_the_door_is_an_error_of_the_run():
    class Broken(v8.Room):
        def process_request(self, connection, request):
            raise ValueError("oops")

    trace = simulate(Broken, Scenario([listener("Ann")], duration=2))
    assert [str(error) for error in trace.errors] == ["oops"] and "500" in trace.of("shut out")[0].message


@in_a_loop
async def test_a_connection_that_is_lost_before_its_visit_begins_leaves_nothing_behind():
    class Late(v8.Room):
        async def handle(self, connection):
            connection.transport.abort()
            await connection.wait_closed()
            await super().handle(connection)

    server = await Server(Late).start()
    async with joining(server.url) as ann:
        await ann.wait_closed()
    await until(lambda: not server.tasks.visitors or not server.room.members())
    assert server.room.members() == [] and server.errors == []
    await server.stop()


@pytest.mark.parametrize("answer", ["no", 503, True])
def test_at_the_door_only_a_response_is_an_answer(answer):
    class Wrong(v8.Room):
        def process_request(self, connection, request):
            return answer

    trace = simulate(Wrong, Scenario([listener("Ann")], duration=2))
    assert "must return a Response or None" in str(trace.errors[0])


@pytest.mark.parametrize("goodbye", [None, "bye", (1012, "." * 200), (99, "bye"), ("1012", "bye")])
@in_a_loop
async def test_a_goodbye_that_cannot_be_said_is_an_error_and_the_server_stops_all_the_same(goodbye):
    class Wrong(v8.Room):
        def farewell(self):
            return goodbye

    server = await Server(Wrong).start()
    async with joining(server.url) as ann:
        await until(server.room.members)
        await server.stop()
        await ann.wait_closed()
        assert ann.close_code == 1001 and len(server.errors) == 1
