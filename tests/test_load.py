"""The load client against healthy rooms, stalled ones, and servers that are not rooms at all."""

import asyncio
import io
import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from contextlib import contextmanager

import pytest
from rich.console import Console
from websockets.sync.client import connect

from chatroom_lib.clients import load
from chatroom_lib.clients.load import LoadError, LoadRun, Result
from chatroom_lib.message import Gap, Message, Position, decode, encode, encode_position
from chatroom_lib.rooms import v1, v3_1, v3_2, v6, v7, v9
from chatroom_lib.runtime.background import background_loop, run
from chatroom_lib.server.serving import serve, stop_all
from tests.helpers import AT_MOST, process, wait_until

pytestmark = pytest.mark.real

SMALL = 4096  # bytes in each buffer of a server, so that a client that does not read stalls it soon


@pytest.fixture(autouse=True)
def servers_stop():
    yield
    run(stop_all(), timeout=AT_MOST)


@pytest.fixture(autouse=True)
def busy_machines_may_be_late(monkeypatch):
    monkeypatch.setattr(load, "OVERRUN", AT_MOST)


@pytest.fixture
def patient(monkeypatch):
    """For runs in which everything expected is heard: such a run ends then, and not before."""
    monkeypatch.setattr(load, "QUIET_PERIOD", AT_MOST)
    monkeypatch.setattr(load, "TIME_FOR_STRAGGLERS", AT_MOST)


def served(room, **options):
    return run(serve(room, **options), timeout=AT_MOST)


def loaded(server, clients=4, every=0.005, seconds=0.2, **options) -> Result:
    return load.run_load(server.url, clients, every, seconds, progress=False, **options)


class Recorder(v3_1.Room):
    """Counts what everybody says."""

    def __init__(self):
        super().__init__()
        self.frames = []
        self.speakers = Counter()

    def broadcast(self, message):
        self.speakers[message.token] += 1
        self.frames.append(message)
        super().broadcast(message)


class OneByOne:
    """A room without members: what it does with a visitor is up to `visit`."""

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        pass

    async def handle(self, connection):
        async for frame in connection:
            await self.answer(connection, frame)

    def members(self):
        return []


# ---------------------------------------------------------------- rooms


def test_in_a_healthy_room_everybody_hears_everything(patient):
    room = Recorder()
    result = loaded(served(room))
    assert (result.sent, result.unsent, result.refused) == (40, 0, 0)
    assert (result.expected, result.heard, result.losses) == (160, 160, 0)
    assert (result.lost_connections, result.malformed) == (0, 0)
    assert 0 < result.p50_ms <= result.p99_ms
    assert room.speakers == {"load-0": 10, "load-1": 10, "load-2": 10, "load-3": 10}


def test_it_runs_in_a_cell_too_beside_the_server(patient):
    async def cell():
        return loaded(served("v3"), clients=2)

    assert asyncio.run(cell()).losses == 0


def test_a_message_names_its_run_its_speaker_and_its_number(patient):
    room = Recorder()
    loaded(served(room), clients=2, every=0.01, seconds=0.1)
    runs, speakers, numbers = zip(*(message.content.split(" ")[:3] for message in room.frames), strict=True)
    assert len(set(runs)) == 1
    assert sorted(map(int, numbers)) == list(range(10))
    assert [f"load-{speaker}" for speaker in speakers] == [message.token for message in room.frames]
    assert {len(encode(message)) for message in room.frames} == {91}


def test_a_room_with_a_rate_limit_refuses(patient):
    result = loaded(served(v3_2.Room(limit=0.01)))
    assert (result.sent, result.refused) == (40, 36)  # everybody's first message passes
    assert (result.expected, result.heard, result.losses) == (16, 16, 0)


def test_what_a_room_swallows_is_lost():
    class Swallowing(v3_1.Room):
        def broadcast(self, message):
            if message.token != "load-0":
                super().broadcast(message)

    result = loaded(served(Swallowing()))
    assert (result.sent, result.expected) == (40, 160)
    assert 0 < result.heard <= 120
    assert result.losses == 160 - result.heard


def test_deaf_clients_stall_v1_and_the_run_ends_all_the_same():
    class Loud(v1.Room):
        """Passes on long messages, so that the kernel's 4 MB for each client are full sooner."""

        async def broadcast(self, message):
            await super().broadcast(Message(message.token, message.content * 1000))

    server = served(Loud(), write_limit=SMALL, max_queue=1)
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        server.listener.sockets[0].setsockopt(socket.SOL_SOCKET, option, SMALL)  # accepted ones inherit it
    result = loaded(server, clients=2, every=0.0003, seconds=0.3, deaf=True)
    assert result.sent > 0
    assert result.unsent > 0
    assert result.sent + result.unsent == 1000
    assert (result.expected, result.heard, result.losses) == (0, 0, 0)  # nobody listened
    assert (result.p50_ms, result.p99_ms) == (None, None)


def test_what_a_stalled_room_took_and_nobody_heard_is_lost():
    class Stalling(v1.Room):
        async def broadcast(self, message):
            if int(message.content.split(" ")[2]) >= 8:
                await asyncio.Event().wait()
            await super().broadcast(message)

    result = loaded(served(Stalling()), clients=2)
    assert (result.sent, result.unsent, result.expected) == (40, 0, 80)
    assert 0 < result.heard <= 16
    assert result.losses == 80 - result.heard


def test_a_schedule_that_this_machine_cannot_keep_is_cut_off(monkeypatch):
    monkeypatch.setattr(load, "OVERRUN", 0.1)
    result = loaded(served("v1"), clients=1, every=1e-7, seconds=0.2)
    assert result.sent + result.unsent == 2_000_000
    assert result.unsent > 0


def test_latency_counts_from_the_moment_a_message_was_due():
    class Stuck:
        """A connection that passes each message on at once, and then lets its speaker wait."""

        async def send(self, frame):
            talk.hear(0, frame)
            await asyncio.sleep(0.02)

    async def speak():
        talk.start = time.monotonic()
        for number in range(10):
            talk.queues[0].put_nowait(number)
        speaking = asyncio.create_task(talk.speak(0, Stuck()))
        while talk.sent < 10:
            await asyncio.sleep(0.01)
        speaking.cancel()

    talk = LoadRun([""], clients=1, every=0.001, seconds=0.01, deaf=False)
    asyncio.run(speak())
    assert talk.latencies[-1] > 0.16  # seconds; due after 0.009, and nine waits came before it


# ---------------------------------------------------------------- ids and numbers


def test_in_a_room_with_ids_each_message_is_acknowledged(patient):
    result = loaded(served(v6.Room(limit=None)))
    assert (result.sent, result.acknowledged, result.heard, result.heard_twice, result.losses) == (40, 40, 160, 0, 0)


def test_a_room_that_knows_no_ids_is_soon_sent_none(patient):
    class Forgetful(OneByOne):
        frames = []

        async def answer(self, connection, frame):
            self.frames.append(json.loads(frame))
            await connection.send(encode(decode(frame)))

    result = loaded(served(Forgetful()), clients=1, every=0.02, seconds=1)
    assert (result.sent, result.heard, result.losses, result.acknowledged) == (50, 50, 0, None)
    assert "id" in Forgetful.frames[0] and "id" not in Forgetful.frames[-1]


def test_an_acknowledgement_that_is_missing_is_not_made_up(patient):
    class Mute(OneByOne):
        async def answer(self, connection, frame):
            message = json.loads(frame)
            if message["content"].split(" ")[2] == "7":
                message["id"] = "another"
            await connection.send(json.dumps(message))

    result = loaded(served(Mute()), clients=1, every=0.02, seconds=0.2)
    assert (result.sent, result.heard, result.acknowledged) == (10, 10, 9)


def test_what_is_heard_twice_hides_no_loss():
    class Uneven(OneByOne):
        async def answer(self, connection, frame):
            number = int(json.loads(frame)["content"].split(" ")[2])
            for _ in range(2 * (number % 2)):  # one is lost, the next comes twice
                await connection.send(json.dumps({**json.loads(frame), "seq": number + 1}))

    result = loaded(served(Uneven()), clients=1, every=0.01, seconds=0.2)
    assert (result.sent, result.heard, result.heard_twice, result.losses) == (20, 10, 10, 10)


def test_numbers_may_come_late_and_be_odd():
    numbers = load.Numbers()
    assert [numbers.add(seq) for seq in (3, 4, 7, 6, 7, 6, 5, 5, 4)] == 3 * [True] + [True, False, False, True] + 2 * [
        False
    ]
    assert numbers.add(10**18) and numbers.add(10**18 + 2) and numbers.add(10**18 + 1)
    assert not numbers.add(10**18 + 1) and len(numbers.missing) == 0


# ---------------------------------------------------------------- coming back


@pytest.mark.parametrize("version", ["v7", "v8"])
def test_after_a_kill_all_come_back_and_hear_what_they_have_missed(version, patient, tmp_path):
    options = "--unlimited", "--data", str(tmp_path / "chat.db")
    told, over = [], threading.Event()

    def kill_and_start_again():
        with process(version, "--port", "0", *options) as (port, server):
            url = f"ws://127.0.0.1:{port}/chatroom"
            with connect(url, compression=None, proxy=None) as listener:
                told.append(url)
                for _ in range(20):
                    listener.recv(timeout=AT_MOST)
                server.kill()
        with process(version, "--port", str(port), *options):
            over.wait(4 * AT_MOST)

    thread = threading.Thread(target=kill_and_start_again, daemon=True)
    thread.start()
    try:
        wait_until(lambda: told)
        result = load.run_load(told[0], clients=4, every=0.01, seconds=1, progress=False)
    finally:
        over.set()
        thread.join(AT_MOST)
    assert (result.sent, result.unsent, result.acknowledged) == (100, 0, 100)
    assert (result.expected, result.heard, result.losses) == (400, 400, 0)
    assert (result.lost_connections, result.returns) == (4, 4)


class Counts(v9.Room):
    """How many are there when something is said."""

    def __init__(self, path):
        super().__init__(path, limit=None)
        self.most = 0

    def broadcast(self, messages):
        super().broadcast(messages)
        self.most = max(self.most, len(self.readers))


def test_the_clients_come_to_several_servers_in_turn_and_each_hears_everything(patient, tmp_path):
    path = str(tmp_path / "chat.db")
    servers = [served(Counts(path), name=f"server {number}") for number in range(3)]
    urls = [server.url for server in servers]
    result = load.run_load(urls, clients=5, every=0.01, seconds=0.3, progress=False)
    assert [server.room.most for server in servers] == [2, 2, 1]
    assert (result.sent, result.acknowledged, result.heard, result.losses) == (30, 30, 150, 0)
    assert (result.lost_connections, result.returns, result.heard_twice) == (0, 0, 0)
    assert result.url == " ".join(urls)


def test_those_whose_server_is_gone_go_on_at_the_next_one_and_nothing_is_lost(patient, tmp_path):
    path = str(tmp_path / "chat.db")
    one, other = [served(v9.Room(path, limit=None), name=f"server {number}") for number in range(2)]

    def stop_one():
        wait_until(lambda: one.room.last >= 10)
        run(one.stop(), timeout=AT_MOST)

    thread = threading.Thread(target=stop_one)
    thread.start()
    result = load.run_load([one.url, other.url], clients=4, every=0.01, seconds=0.6, progress=False)
    thread.join()
    assert (result.sent, result.acknowledged, result.heard, result.losses) == (60, 60, 240, 0)
    assert (result.lost_connections, result.returns) == (2, 2)


def test_one_of_several_addresses_that_is_wrong_is_named():
    with pytest.raises(LoadError, match="there is no address: use one like ws://"):
        load.run_load([])
    with pytest.raises(LoadError, match="'http://127.0.0.1/' is not the URL of a room"):
        load.run_load(["ws://127.0.0.1:1/chatroom", "http://127.0.0.1/"])


def test_who_is_let_go_now_and_then_comes_back_and_hears_everything(patient):
    class Bouncer(v7.Room):
        bounced = 0

        def broadcast(self, messages):
            super().broadcast(messages)
            if self.last > 10 * (self.bounced + 1):
                self.bounced += 1
                list(self.readers)[-1].transport.abort()

    result = loaded(served(Bouncer(limit=None)), clients=3, every=0.01, seconds=0.6)
    assert (result.sent, result.acknowledged, result.heard, result.losses) == (60, 60, 180, 0)
    assert result.returns == result.lost_connections > 0


def test_a_room_that_does_not_want_somebody_back_is_left_alone():
    class Strict(v7.Room):
        async def read(self, connection):
            await connection.recv()
            await connection.close(1008, "No.")

    result = loaded(served(Strict()), clients=2)
    assert (result.lost_connections, result.returns, result.heard) == (2, 0, 0)


def test_what_a_client_knows_of_a_history_ends_with_it():
    talk = LoadRun([""], clients=1, every=1, seconds=1, deaf=False)
    talk.start = time.monotonic()
    assert talk.position(0) is None
    for epoch, seq in (("a", 7), ("b", 2)):
        talk.unheard[0] = {talk.id_of(0): "said", "refused": "too"}
        talk.hear(0, encode_position(Position(epoch, seq - 2)))
        assert talk.position(0) == Position(epoch, seq - 2)
        talk.hear(0, encode(Message("load-0", f"{talk.run_id} 0 0 .", id=talk.id_of(0), seq=seq)))
        assert talk.position(0) == Position(epoch, seq)
        talk.hear(0, encode(Message("chatroom", "No.", refused="too", id="refused")))
        assert talk.unheard == [{}]
        talk.hear(0, encode_position(Position(epoch, seq + 3, Gap(seq + 1, seq + 3))))
        assert talk.position(0).seq == seq + 3
    assert (len(talk.latencies), talk.heard_twice, talk.malformed) == (2, 0, 0)


# ---------------------------------------------------------------- servers that misbehave


def test_frames_that_are_not_messages_are_counted(patient):
    class Junk(OneByOne):
        async def answer(self, connection, frame):
            run, speaker, number, _ = json.loads(frame)["content"].split(" ")
            for junk in (b"\x00", "", "[", "[]", "{}", '{"token": 1, "content": ""}', frame[:-1], "[" * 60_000):
                await connection.send(junk)
            for content in (f"{run} ", f"{run} {speaker} x .", f"{run} {speaker} -1 .", f"{run} 0 {9**99} ."):
                await connection.send(json.dumps({"token": "load-0", "content": content}))
            await connection.send(frame)

    result = loaded(served(Junk()), clients=1, every=0.01, seconds=0.1)
    assert (result.sent, result.malformed) == (10, 120)
    assert (result.heard, result.lost_connections) == (10, 0)


def test_a_refusal_that_is_not_text_is_malformed():
    class Odd(OneByOne):
        async def answer(self, connection, frame):
            await connection.send('{"token": "", "content": "", "refused": [1]}')

    result = loaded(served(Odd()), clients=1, every=0.01, seconds=0.1)
    assert (result.malformed, result.refused) == (10, 0)


def test_what_others_say_is_ignored(patient):
    class Busy(OneByOne):
        async def answer(self, connection, frame):
            for content in ("hello", "0a1b2c3d 0 0 ...", ""):
                await connection.send(json.dumps({"token": "load-0", "content": content}))
            await connection.send(frame)

    result = loaded(served(Busy()), clients=1, every=0.01, seconds=0.1)
    assert (result.heard, result.expected, result.malformed) == (10, 10, 0)


@pytest.mark.parametrize("junk", [b"\x81\x02\xff\xfe", b"\xff\xff\xff\xff"], ids=["not UTF-8", "not a frame"])
def test_a_broken_protocol_loses_the_connection_and_not_the_run(junk):
    class Broken(OneByOne):
        async def answer(self, connection, frame):
            if "load-0" in frame:
                connection.transport.write(junk)
            else:
                await connection.send(frame)

    result = loaded(served(Broken()), clients=2)
    assert (result.lost_connections, result.malformed) == (1, 1)
    assert result.heard > 10  # the other one goes on


def test_a_server_that_stops_midway_loses_all_connections():
    room = Recorder()
    server = served(room)

    async def stop_midway():
        while len(room.frames) < 10:
            await asyncio.sleep(0.01)
        await server.stop()

    stopped = asyncio.run_coroutine_threadsafe(stop_midway(), background_loop())
    result = loaded(server, every=0.007, seconds=0.7)
    stopped.result(AT_MOST)
    assert (result.lost_connections, result.returns) == (4, 0)
    assert 10 <= result.sent < 100
    assert result.sent + result.unsent == 100
    assert 0 < result.heard <= result.expected


def test_one_client_that_is_disconnected_is_one_lost_connection():
    class Bouncer(v3_1.Room):
        bounced = False

        def broadcast(self, message):
            super().broadcast(message)
            if message.token == "load-1" and not self.bounced:
                self.bounced = True
                self.clients[1].connection.transport.abort()

    result = loaded(served(Bouncer()), clients=3, every=0.015, seconds=0.45)
    assert result.lost_connections == 1
    assert result.sent > 5
    assert result.losses < result.sent / 2  # nobody expects the lost one to hear the others


# ---------------------------------------------------------------- runs that cannot begin


def problem(url, **options) -> str:
    with pytest.raises(LoadError) as caught:
        load.run_load(url, **{"seconds": 0.1, "progress": False, **options})
    assert "\n" not in str(caught.value)
    return str(caught.value)


NOWHERE = "ws://127.0.0.1:1"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"clients": 0}, "the number of clients must be 1 or more, not 0"),
        ({"every": 0}, "every must be more than 0 seconds (0 is not allowed), not 0: 0.001, for example"),
        ({"every": -0.5}, "(0 is not allowed), not -0.5"),
        ({"every": float("nan")}, "not nan"),
        ({"seconds": 0}, "seconds must be more than 0, not 0: 5, for example"),
        ({"seconds": float("inf")}, "not inf"),
    ],
    ids=str,
)
def test_impossible_numbers(options, text):
    assert text in problem(NOWHERE, **options)


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8081", "http://127.0.0.1/", "ws://", "ws:///chatroom", "ws://[::1", "ws://127.0.0.1:x"]
)
def test_a_text_that_is_not_a_url_of_a_room(url):
    assert problem(url).startswith(repr(url))
    assert "ws://127.0.0.1:8081/chatroom" in problem(url)


@pytest.mark.parametrize(
    "host", ["example.com", "192.0.2.1", "0.0.0.0", "127.0.0.1.example.com", "127.0.0.1@192.0.2.1", "[2001:db8::1]"]
)
def test_a_load_test_goes_to_this_machine_only(host):
    assert "may only go to your own: use 127.0.0.1" in problem(f"ws://{host}/chatroom")


@pytest.mark.parametrize(
    ("url", "completed"),
    [
        ("ws://127.0.0.1:8081", "ws://127.0.0.1:8081/chatroom"),
        ("wss://localhost", "wss://localhost/chatroom"),
        ("ws://[::1]:8081/", "ws://[::1]:8081/"),
        ("ws://127.1.2.3/other?room=1", "ws://127.1.2.3/other?room=1"),
    ],
)
def test_only_a_missing_path_is_filled_in(url, completed):
    assert load.room_url(url) == completed


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_nobody_listens(host):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and it does not listen
        url = f"ws://{host}:{taken.getsockname()[1]}"
        assert problem(url) == f"nobody listens at {url}/chatroom: start a room with `chatroom serve v1`"


def test_a_path_that_does_not_lead_to_a_room():
    url = served("v1").url.replace("/chatroom", "/nowhere")
    assert problem(url).startswith(f"cannot join {url}: server rejected WebSocket connection: HTTP 404; use")


@contextmanager
def answering(answer: bytes):
    """A server that gives its only client that answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def work():
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/chatroom"
        thread.join(AT_MOST)


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"])
def test_a_server_that_is_not_a_room(answer):
    with answering(answer) as url:
        assert problem(url).startswith(f"cannot join {url}: ")


def test_a_redirect_leads_to_no_other_machine():
    with answering(b"HTTP/1.1 302 Found\r\nLocation: ws://192.0.2.1/chatroom\r\nContent-Length: 0\r\n\r\n") as url:
        assert problem(url).startswith(f"cannot join {url}: cannot follow cross-origin redirect")


def test_a_server_that_never_answers(monkeypatch):
    monkeypatch.setattr(load, "TIME_TO_JOIN", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}/chatroom"
        assert problem(url).startswith(f"only 0 of 10 clients joined {url} within 0.2 s: use fewer clients")


# ---------------------------------------------------------------- interrupts, and what is shown


def test_an_interrupted_run_leaves_no_client_connected():
    room = Recorder()
    server = served(room)

    def interrupt():
        wait_until(lambda: len(room.frames) > 5)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        loaded(server, seconds=AT_MOST)
    thread.join(AT_MOST)
    wait_until(lambda: room.members() == [])


RESULT = Result("ws://[::1]:1/chatroom", 10, 5.0, False, 4990, 10, 0, 49_900, 49_900, 0, 1.25, 1234.5, 0, 0)


def test_the_table_shows_every_number():
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(RESULT.table())
    text = console.export_text()
    assert "10 clients talk for 5 s at ws://[::1]:1/chatroom" in text
    for name in ("sent", "unsent", "refused", "expected", "heard", "losses", "lost connections", "malformed"):
        assert f"│ {name} " in text
    assert "│ acknowledged " in text and " no ids │" in text and "│ heard twice " in text and "│ returns " in text
    for number in ("4,990", "49,900", "1.25", "1,234.50"):
        assert f" {number} " in text
    assert len(text.splitlines()) == 18  # no row takes two lines


def test_a_result_is_json():
    assert Result(**json.loads(json.dumps(RESULT.as_dict()))) == RESULT


@pytest.mark.parametrize("progress", [True, False])
def test_nothing_is_drawn_unless_for_a_terminal(progress, monkeypatch, capfd):
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    load.run_load(served("v1").url, clients=1, every=0.01, seconds=0.1, progress=progress)
    assert capfd.readouterr() == ("", "")


def test_progress_is_drawn_on_a_terminal(monkeypatch, capfd):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes anything for a terminal
    monkeypatch.setenv("TERM", "xterm")
    load.run_load(served("v1").url, clients=1, every=0.01, seconds=0.1)
    out, err = capfd.readouterr()
    assert out == ""
    assert "1 clients talk" in err
