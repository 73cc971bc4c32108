"""The load generator counts each message once, whatever a room adds, and says why a server could not be measured."""

import asyncio
import os
import random
import signal
import sys
from dataclasses import replace

import cloudpickle
import pytest
from websockets.exceptions import ConnectionClosed

from chatroom_lib import encode
from chatroom_lib.bench import BenchError, Measurement
from chatroom_lib.bench.load_generator import MARK, NUMBER, Job, numbered
from chatroom_lib.bench.measurement import generate_load, running_server
from chatroom_lib.bench.targets import Target
from chatroom_lib.bench.websocket_frames import Messages, NotAFrame, frame
from chatroom_lib.message import decode

pytestmark = pytest.mark.real
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # so that no server has to import this file for its rooms


class Plain:
    """A room to change: it sends to all, one after another."""

    def __init__(self):
        self.connections = {}
        self.said = 0

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        pass

    async def handle(self, connection):
        self.connections[connection] = None
        try:
            async for frame in connection:
                self.said += 1
                await self.say(decode(frame))
        except ConnectionClosed:
            pass
        finally:
            del self.connections[connection]

    async def say(self, message):
        for index, connection in enumerate(list(self.connections)):
            await self.send(connection, message, index)

    async def send(self, connection, message, index):
        await connection.send(encode(message))

    def members(self):
        return list(self.connections)


def load(room, clients: int = 3, **options) -> Measurement:
    """What the load generator says of `room`, without keeping any process on a core."""
    options = {"warm_up": 0.05, "seconds": 0.2, "timeout": 1.0, **options}
    with running_server(room, -1) as (url, pid, _):
        return generate_load(Job(url, clients, pid=pid, **options))


# ---------------------------------------------------------------- counting


def server_frame(payload: bytes, first: int = 0x81) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes([first, size]) + payload
    return bytes([first]) + (b"\x7e" + size.to_bytes(2) if size < 65536 else b"\x7f" + size.to_bytes(8)) + payload


def varying(number: int, chance: random.Random) -> bytes:
    return b"." * chance.randrange(60) + numbered(number) + b"." * chance.randrange(60)


def in_fragments(number: int, chance: random.Random) -> bytes:
    text = b"." * chance.randrange(60) + numbered(number)
    first, second = sorted((chance.randrange(len(text)), chance.randrange(len(text))))
    ping = server_frame(MARK, 0x89) if chance.random() < 0.5 else b""
    return (
        server_frame(text[:first], 0x01)
        + ping
        + server_frame(text[first:second], 0x00)
        + server_frame(text[second:], 0x80)
    )


MESSAGES = {
    "alike": lambda number, chance: server_frame(b"." * 30 + numbered(number) + b"." * 50),
    "varying": lambda number, chance: server_frame(varying(number, chance)),
    "long": lambda number, chance: server_frame(numbered(number) + b"." * 66_000),
    "twice in one message": lambda number, chance: server_frame(2 * numbered(number)),
    "in fragments": in_fragments,
}
OTHERS = {
    "a notice": lambda chance: server_frame(b"." * chance.randrange(200)),
    "a notice as long as a message": lambda chance: server_frame(b"." * (80 + len(numbered(0)))),
    "a ping": lambda chance: server_frame(numbered(1), 0x89),
}
KINDS = [["alike"], ["varying"], ["alike", "a notice as long as a message"], [*MESSAGES, *OTHERS]]


@pytest.mark.parametrize("kinds", KINDS, ids=["alike", "varying", "with notices", "all"])
def test_each_message_is_counted_once_wherever_the_stream_is_cut(kinds):
    buffer = bytearray(1 << 18)
    for seed in range(200):
        chance = random.Random(seed)
        stream, sent = b"", []
        for number in range(chance.randrange(30)):
            kind = chance.choice(kinds)
            if kind in MESSAGES:
                sent.append(number)
                stream += MESSAGES[kind](number, chance)
            else:
                stream += OTHERS[kind](chance)
        messages, heard = Messages(MARK), []
        while stream:
            size = chance.choice([1, 3, 50, 500, 5000, 100_000])
            data, stream = messages.unread + stream[:size], stream[size:]
            buffer[: len(data)] = data
            count, text, length = messages.take(buffer, len(data))
            numbers = [int(number) for number in NUMBER.findall(text, 0, length)]
            assert count == len(set(numbers))
            heard += dict.fromkeys(numbers)
        assert heard == sent and not messages.unread and not messages.closed


@pytest.mark.parametrize(
    "stream",
    [b"HTTP/1.1 200 OK", b"\x81\x85masked", frame(b"of a client"), b"\x80\x00", b"\x01\x00\x81\x00", b"\xc1\x00"],
)
def test_what_a_server_may_not_send_is_an_error(stream):
    with pytest.raises(NotAFrame, match="the server sent"):
        Messages(MARK).take(bytearray(stream), len(stream))


class WithMoreFields(Plain):
    """Numbers that grow from 7 on, and ids of any length."""

    async def send(self, connection, message, index):
        identity = "x" * random.randrange(40)
        more = f'{{"id":"{identity}","seq":{6 + self.said},'
        await connection.send(more + encode(message)[1:])


class InFragments(Plain):
    """In frames that break the number of the message, with a ping between two messages."""

    async def send(self, connection, message, index):
        text = encode(message)
        at = text.index("load#") + 3
        await connection.send(iter([text[:at], text[at : at + 5], text[at + 5 :]]))
        if self.said % 10 == 0:
            await connection.ping()


class Chatty(Plain):
    """After each message comes a notice that is as long."""

    async def send(self, connection, message, index):
        await connection.send(encode(message))
        await connection.send(encode(replace(message, content="." * len(message.content))))


@pytest.mark.parametrize("room", [WithMoreFields, InFragments, Chatty])
def test_whatever_a_room_adds_every_message_is_counted(room):
    result = load(room, clients=7, in_flight=3, seconds=0.5)
    assert result.lost == result.doubled == 0 and result.messages > 20
    assert abs(result.deliveries - 7 * result.messages) <= 2 * 7 * 3  # what was in flight at either end
    assert 0 < result.p50_ms <= result.p99_ms < 1000


class Careless(Plain):
    """Of every five messages, two clients miss the third, and two hear the fourth twice. One of each reads numbers."""

    async def send(self, connection, message, index):
        loses, doubles = index in (0, 1) and self.said % 5 == 3, index in (0, 2) and self.said % 5 == 4
        for _ in range(1 - loses + doubles):
            await connection.send(encode(message))


@pytest.mark.slow
@pytest.mark.parametrize("clients", [3, 60])  # of 60 clients every third reads numbers; of three, all do
def test_what_is_lost_and_what_comes_twice_is_counted_exactly(clients):
    result = load(Careless, clients, rate=200, warm_up=0, seconds=0.4)
    numbers = range(1, result.messages + 2)  # with the one that is sent before the run
    assert result.messages > 20
    assert result.lost == 2 * sum(number % 5 == 3 for number in numbers)
    assert result.doubled == 2 * sum(number % 5 == 4 for number in numbers)
    assert result.p99_ms >= 1000  # as long as the generator waited for what was lost


class Forgetful(Plain):
    """It forgets the second client after the first message."""

    async def send(self, connection, message, index):
        if index != 1 or self.said == 1:
            await connection.send(encode(message))


@pytest.mark.slow
def test_what_does_not_arrive_is_counted():
    result = load(Forgetful, rate=300)
    assert result.lost >= result.messages > 20 and result.p99_ms >= 1000


# ---------------------------------------------------------------- servers that fail


class AtOnce(Plain):
    """It fails at the first message; `FAILURES` says how."""

    fails_at = 1

    async def say(self, message):
        if self.said >= self.fails_at:
            await self.fail()
        else:
            await super().say(message)


class Later(AtOnce):
    fails_at = 20


class Mute:
    async def fail(self):
        pass


class Stalls:
    async def fail(self):
        await asyncio.sleep(3600)


class Dies:
    async def fail(self):
        os.kill(os.getpid(), signal.SIGKILL)


class Exits:
    async def fail(self):
        print("the disk is on fire", file=sys.stderr)
        os._exit(7)


class Closes:
    async def fail(self):
        for connection in self.connections:
            await connection.close()


class Resets:
    async def fail(self):
        for connection in self.connections:
            connection.transport.abort()


class Raises:
    async def fail(self):
        raise ZeroDivisionError("too quiet")


class Garbles:
    async def fail(self):
        for connection in self.connections:
            connection.transport.write(b"\r\n-- garbage --\r\n" * 10)


class Rewrites:
    async def fail(self):
        for connection in self.connections:
            await connection.send('{"token": "load", "content": "load#99999999 never sent"}')


FAILURES = {
    Mute: ("no answer within 1 s", "nothing was delivered in the 0.2 s"),
    Stalls: ("no answer within 1 s", "nothing was delivered in the 0.2 s"),
    Dies: (r"a connection before the run.*exit code -9", r"a connection during the run.*exit code -9"),
    Exits: ("before the run.*exit code 7: the disk is on fire", "during the run.*exit code 7: the disk is on fire"),
    Closes: ("closed a connection before the run", "closed a connection during the run"),
    Resets: ("closed a connection before the run", "closed a connection during the run"),
    Raises: ("closed a connection before the run .*too quiet", "closed a connection during the run .*too quiet"),
    Garbles: ("is not a WebSocket frame", "is not a WebSocket frame"),
    Rewrites: 2 * ("99999999, which was never sent|nothing was delivered",),
}
CASES = [(how, when, problem) for how in FAILURES for when, problem in zip((AtOnce, Later), FAILURES[how])]


@pytest.mark.parametrize("how, when, problem", CASES, ids=lambda value: getattr(value, "__name__", ""))
def test_an_error_says_how_a_server_failed(how, when, problem):
    room = type("Failing", (how, when), {})
    with pytest.raises(BenchError, match=problem) as error:
        load(room, clients=3, in_flight=3, warm_up=0.3)
    assert "\n" not in str(error.value)


class Alters:
    async def fail(self):
        for connection in self.connections:
            await connection.send('{"token": "load", "content": "load#one"}')


def test_another_content_is_an_error():
    with pytest.raises(BenchError, match="came back with another content"):
        load(type("Failing", (Alters, Later), {}), rate=100, warm_up=0, seconds=0.4)


def test_a_number_that_was_never_sent_is_an_error():
    with pytest.raises(BenchError, match="99999999, which was never sent"):
        load(type("Failing", (Rewrites, Later), {}), rate=100, warm_up=0, seconds=0.4)


@pytest.mark.slow
@pytest.mark.parametrize("how", [Mute, Stalls])
def test_a_server_that_stalls_while_it_is_measured_has_lost_what_it_did_not_deliver(how):
    result = load(type("Failing", (how, Later), {}), rate=100, warm_up=0, seconds=0.8)
    assert result.deliveries == 3 * 18  # the 20th is the first not to come, and one was sent before the run
    assert result.lost == 3 * (result.messages - 18) > 0 and result.p99_ms >= 1000


class Talkative(Plain):
    """It prints a kilobyte for every message, and does not mind who reads that."""

    async def say(self, message):
        print("." * 1000, flush=True)
        await super().say(message)


def test_a_room_that_prints_is_measured_like_any_other():
    result = load(Talkative, clients=3, in_flight=3, seconds=0.5)
    assert result.messages > 100 and result.lost == 0


class NotForMany(Plain):
    """It fails when the 130th client joins."""

    async def handle(self, connection):
        if len(self.connections) == 129:
            await self.fail()
        await super().handle(connection)


@pytest.mark.parametrize(
    "how, problem",
    [(Dies, "exit code -9"), (Closes, "closed a connection"), (Resets, "closed a connection"), (Exits, "exit code 7")],
)
def test_an_error_says_how_a_server_of_idle_connections_failed(how, problem):
    with pytest.raises(BenchError, match=problem):
        load(type("Failing", (how, NotForMany), {}), clients=100)


ANSWERS = {
    "not HTTP at all": b"220 smtp.example ESMTP\r\n\r\n",
    "an empty answer": b"\r\n\r\n",
    "a refusal": b"HTTP/1.1 503 Busy\r\n\r\n",
    "without an end": b"x" * 100_000,
}
RAW_SERVER = """
from chatroom_lib.bench.process import listen
listener = listen()
while True:
    client, _ = listener.accept()
    client.sendall({answer!r})
    client.recv(10_000)
"""


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_an_answer_that_is_no_handshake_is_shown(answer, tmp_path):
    (tmp_path / "raw.py").write_text(RAW_SERVER.format(answer=answer))
    with pytest.raises(BenchError, match="no WebSocket at ws://127.0.0.1:") as error:
        load(Target("raw", (str(tmp_path / "raw.py"),)), in_flight=1)
    assert repr(answer.partition(b"\r")[0][:60]) in str(error.value)
