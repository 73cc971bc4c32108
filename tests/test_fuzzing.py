"""Malformed handshakes, frames and payloads, on every version: nobody else may notice.

The seed decides what is sent. More of it: `FUZZ=50000 TIMEOUT_FACTOR=10 .venv/bin/python -m pytest
tests/test_fuzzing.py`.

Every attacker ends its side of the connection or resets it, and reads until then. Some versions stall by design while a
client does neither (v1, v2, v3), and these tests are not about that.
"""

import asyncio
import contextlib
import json
import os
import random
import socket
import struct

import psutil
import pytest
from websockets.exceptions import ConnectionClosed

from chatroom_lib import Server, rooms
from chatroom_lib.message import MAX_SIZE
from tests.helpers import (
    HANDSHAKE,
    assert_nothing_was_printed,
    client_frame,
    every_version,
    in_a_loop,
    joining,
    said,
    until,
)  # fmt: skip

ATTACKS = int(os.environ.get("FUZZ", 2000))  # in all
BATCH = 25  # attackers at once
A_WORD = 0.02  # seconds
MAX_GROWTH = 100e6  # bytes by which this process may grow; v1 keeps the connections of all who have gone
HEADERS = HANDSHAKE.split(b"\r\n")[:-2]  # the request line first
NO_CLOSE_CODES = (0, 999, 1004, 1005, 1006, 1012, 1015, 2999, 5000, 65535)
BAD_JSON = ("", "[", "{}", "[]", "null", "1e999", "NaN", '"', "{]", "\x00", "\ufeff{}", '{"token": "Ann", ', "tru")
ODD_FIELDS = (None, 1, True, [], {}, [["x"]], "\ud800", "\x00", "\u202e", "x" * 1000)
ODD_HEADERS = (
    b"Origin: null", b"Origin: http://evil.example", b"Host: evil.example", b"Host:", b"Upgrade: h2c",
    b"Connection: close", b"Content-Length: 5", b"Content-Length: -1", b"Transfer-Encoding: chunked", b"no colon",
    b"Sec-WebSocket-Version: 12", b"Sec-WebSocket-Key: AAAA", b"Sec-WebSocket-Key: \xff", b"Sec-WebSocket-Protocol: ,,",
    b" folded: yes", b": nothing", b"Sec-WebSocket-Extensions: permessage-deflate; x=;;", b"X: " + b"y" * 9000,
    b"User-Agent: chatroom-client %ff%00%0a",
)  # fmt: skip
REQUEST_LINES = (
    b"POST /chatroom HTTP/1.1", b"HEAD / HTTP/1.1", b"GET /chatroom HTTP/1.0", b"GET /chatroom HTTP/2", b"GET", b"",
    b"GET /chatroom?%00 HTTP/1.1", b"GET /%2e%2e/ HTTP/1.1", b"GET http://evil.example/ HTTP/1.1",
    b"GET \xff HTTP/1.1", b"PRI * HTTP/2.0", b"\x16\x03\x01\x02\x00", b"GET /" + b"x" * 9000 + b" HTTP/1.1",
)  # fmt: skip


# ---------------------------------------------------------------- what is sent, a function of a random.Random each


def noise(chance: random.Random) -> bytes:
    return chance.randbytes(chance.choice((1, 2, 10, 200, 5000)))


def handshake_with_an_odd_line(chance: random.Random) -> bytes:
    lines = list(HEADERS)
    where = chance.randrange(len(lines))
    if where == 0:
        lines[0] = chance.choice(REQUEST_LINES)
    elif chance.random() < 0.5:
        del lines[where]
    else:
        lines[where:where] = chance.sample(ODD_HEADERS, 2)
    return chance.choice((b"\r\n", b"\r\n", b"\n", b"\r")).join([*lines, b"", b""])


def damaged(data: bytes, chance: random.Random) -> bytes:
    """`data` with a byte changed, without its end, or with a part of it twice."""
    where = chance.randrange(len(data))
    return chance.choice((
        data[:where] + chance.randbytes(1) + data[where + 1 :],
        data[:where],
        data[:where] + data[where // 2 :],
    ))  # fmt: skip


def damaged_handshake(chance: random.Random) -> bytes:
    return damaged(HANDSHAKE, chance)


def odd_frame(chance: random.Random) -> bytes:
    """Any opcode, with any of FIN and the reserved bits."""
    return client_frame(0, chance.randbytes(chance.choice((0, 1, 125, 126, 70_000))), chance.randrange(256))


def unmasked_frame(_chance: random.Random) -> bytes:
    return b"\x81\x02hi"


def frame_of_a_wrong_length(chance: random.Random) -> bytes:
    sizes = b"\xfe\x00\x02", b"\xff" + bytes(7) + b"\x02", b"\xff" + b"\xff" * 8, b"\xff\x7f" + b"\xff" * 7
    size = chance.choice(sizes)
    return b"\x81" + size + bytes(4) + b"hi"


def odd_close(chance: random.Random) -> bytes:
    code = chance.choice(NO_CLOSE_CODES).to_bytes(2)
    return client_frame(8, chance.choice((b"\x03", code, code + b"why", b"\x03\xe8\xff\xfe", code + b"x" * 200)))


def odd_fragments(chance: random.Random) -> bytes:
    firsts = chance.choices((0x00, 0x01, 0x02, 0x80, 0x81, 0x82, 0x89, 0x09), k=chance.randrange(2, 8))
    return b"".join(client_frame(0, chance.randbytes(3), first) for first in firsts)


def no_text(chance: random.Random) -> bytes:
    return client_frame(1, chance.choice((b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"{\xe2\x82")))


def no_json(chance: random.Random) -> bytes:
    deep = chance.choice(("[", '{"token":', "9")) * chance.choice((10, 2000, 7000))
    return client_frame(1, chance.choice((*BAD_JSON, deep)).encode())


def no_message(chance: random.Random) -> bytes:
    fields = {name: chance.choice(ODD_FIELDS) for name in chance.sample(("token", "content", "refused", "x"), 3)}
    return client_frame(chance.choice((1, 1, 2)), json.dumps(fields).encode())


def damaged_message(chance: random.Random) -> bytes:
    return client_frame(1, damaged(said("hello").encode(), chance))


def too_long_message(chance: random.Random) -> bytes:
    return client_frame(1, said("x" * chance.choice((MAX_SIZE - 100, MAX_SIZE, 2 * MAX_SIZE))).encode())


HANDSHAKES = noise, handshake_with_an_odd_line, damaged_handshake
FRAMES = (
    noise, odd_frame, unmasked_frame, frame_of_a_wrong_length, odd_close, odd_fragments, no_text, no_json, no_message,
    damaged_message, too_long_message,
)  # fmt: skip


# ---------------------------------------------------------------- who sends it


async def attack(port: int, chance: random.Random) -> tuple[int | None, list[int]]:
    """Send one malformed thing; returns the status of the answer and the codes of the close frames, if any."""
    joins = chance.random() < 0.7
    data = chance.choice(FRAMES if joins else HANDSHAKES)(chance)
    split, resets = chance.randrange(len(data) + 1), chance.random() < 0.2
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        if joins:
            writer.write(HANDSHAKE)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        for part in (data[:split], data[split:]):
            writer.write(part)
            await asyncio.sleep(0)
        if resets:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            return None, []
        return understood(await everything(reader, writer), joins)
    finally:
        writer.transport.abort()


async def everything(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """What comes until the server hangs up. It has a moment to say what it has to say, then we end our side."""
    received = bytearray()
    reading = asyncio.create_task(read_into(received, reader))
    await asyncio.wait([reading], timeout=A_WORD)
    with contextlib.suppress(ConnectionError):
        writer.write_eof()
    await reading
    return bytes(received)


async def read_into(received: bytearray, reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionError):  # it hangs up with a reset if it has not read all
        while data := await reader.read(65536):
            received += data


def understood(answer: bytes, joined: bool) -> tuple[int | None, list[int]]:
    status = None
    if not joined and answer.startswith(b"HTTP/1.1 "):
        head, _, answer = answer.partition(b"\r\n\r\n")
        status = int(head.split(b" ")[1])
    return status, close_codes(answer) if joined or status == 101 else []


def close_codes(frames: bytes) -> list[int]:
    codes = []
    while len(frames) >= 2:
        opcode, size, start = frames[0] & 15, frames[1], 2
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(frames[2:start])
        if opcode == 8:
            codes.append(int.from_bytes(frames[start : start + 2]))
        frames = frames[start + size :]
    return codes


# ---------------------------------------------------------------- and who must not notice


@pytest.fixture(autouse=True)
def nothing_is_printed(capfd, caplog):
    yield
    assert_nothing_was_printed(capfd, caplog)


class Pair:
    """`async with Pair(server) as pair`: two healthy clients, which read all the time."""

    def __init__(self, server: Server):
        self.clients = [joining(server.url), joining(server.url)]
        self.heard = [set(), set()]

    async def __aenter__(self):
        self.clients = [await client for client in self.clients]
        self.reading = [asyncio.create_task(self.read(*pair)) for pair in zip(self.clients, self.heard)]
        return self

    async def read(self, client, heard: set[str]) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for frame in client:
                heard.add(json.loads(frame)["content"])

    async def talk(self, text: str) -> None:
        for client, name in zip(self.clients, ("Ann", "Bob")):
            await client.send(said(f"{text} {name}", name))
        await until(lambda: all({f"{text} Ann", f"{text} Bob"} <= heard for heard in self.heard))

    async def __aexit__(self, *exc):
        for client in self.clients:
            await client.close()
        await asyncio.gather(*self.reading)


@every_version
@in_a_loop
async def test_nobody_notices_what_is_malformed(room):
    server = await Server(room).start()
    chance = random.Random(f"fuzzing {server.name}")
    before = psutil.Process().memory_info().rss
    async with Pair(server) as pair:
        for batch in range(max(1, ATTACKS // len(rooms.VERSIONS) // BATCH)):
            attackers = [random.Random(chance.random()) for _ in range(BATCH)]
            for status, codes in await asyncio.gather(*(attack(server.port, attacker) for attacker in attackers)):
                assert status != 500 and 1011 not in codes
            if server.name == "v2-rw":  # its lesson: the first client that goes deadlocks it, and nobody hears anybody
                async with joining(server.url):
                    pass
            else:
                await pair.talk(f"still here after {batch}")
    assert server.errors == []
    assert psutil.Process().memory_info().rss - before < MAX_GROWTH
    await server.stop()


def test_the_attacks_are_many_and_the_seed_decides_them():
    for make in {*HANDSHAKES, *FRAMES}:
        sent = [make(random.Random(seed)) for seed in range(50)]
        assert sent == [make(random.Random(seed)) for seed in range(50)]
        assert len(set(sent)) > 1 or make is unmasked_frame
