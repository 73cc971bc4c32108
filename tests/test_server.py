"""A server on real sockets: how it starts and stops, what it records, and what travels."""

import asyncio
import http.client
import re
import socket
import struct
import sys
import threading
import time
from contextlib import asynccontextmanager
from functools import partial

import pytest
from websockets.exceptions import InvalidStatus

from chatroom_lib import Server, ServerError, run, serve, stop_all
from chatroom_lib.clients.player import reset
from chatroom_lib.rooms import RoomError, v1, v3
from chatroom_lib.runtime.background import submit
from chatroom_lib.runtime.connection import MAX_UNREAD
from chatroom_lib.server.server import observed_server
from chatroom_lib.trace import Trace
from tests.helpers import (
    A_MOMENT,
    A_STOP,
    AT_MOST,
    PROMPT,
    assert_nothing_was_printed,
    client_frame,
    close_code,
    every_version,
    flooding,
    frozen,
    heard,
    hears,
    in_a_loop,
    joined_socket,
    joining,
    said,
    silence,
    until,
)  # fmt: skip

pytestmark = pytest.mark.real


@pytest.fixture(autouse=True)
def servers_stop_and_nothing_is_printed(capfd, caplog):
    yield
    run(stop_all(), timeout=AT_MOST)
    assert_nothing_was_printed(capfd, caplog)


def refuses(server) -> bool:
    try:
        socket.create_connection((server.host, server.port), timeout=AT_MOST).close()
    except ConnectionRefusedError:
        return True
    return False


async def stops(server: Server) -> None:
    """Stop it, and check what every stop owes."""
    start = time.monotonic()
    await server.stop()
    assert time.monotonic() - start < A_STOP
    assert list(server.tasks.visitors) == []
    assert refuses(server) and not server.running and "stopped" in repr(server)


async def echoes(server: Server) -> bool:
    async with joining(server.url) as ann:
        await ann.send(said("hello"))
        return await hears(ann, "hello")


# ---------------------------------------------------------------- starting


@pytest.mark.parametrize("room", ["v1", v1.Room, v1.Room(), v1.Room], ids=["name", "class", "object", "function"])
@in_a_loop
async def test_serve_takes_a_version_a_class_or_a_room(room):
    server = await serve(room)
    assert server.name == "v1" and await echoes(server)
    assert re.fullmatch(r"ws://127\.0\.0\.1:\d+/chatroom", server.url)
    assert repr(server) == f"<Server v1 at {server.url}, {len(server.room.members())} in the pool, no errors>"


async def later():
    return []


@pytest.mark.parametrize(
    "members, problem",
    [
        (lambda: 1 / 0, "raised ZeroDivisionError: division by zero"),
        (lambda: ["Ann"], "one of its items is 'Ann'"),
        (lambda: None, "returned None"),
        (lambda: later(), "is a coroutine: write def members(self), without async"),
    ],
)
@in_a_loop
async def test_a_server_whose_room_lists_no_members_says_so(members, problem):
    class Wrong(v1.Room):
        def members(self):
            return members()

    server = await serve(Wrong)
    assert repr(server) == (
        f"<Server Wrong at {server.url}, members() must list connections, and {problem}, no errors>"
    )


def test_a_script_can_serve_and_stop():
    server = run(serve("v1"))
    assert not refuses(server)
    run(stops(server))


class Remembering(v1.Room):
    async def handle(self, connection):
        self.thread = threading.current_thread()
        await super().handle(connection)


def test_a_server_runs_on_the_background_thread_and_outlives_the_loop_it_was_started_from():
    server = asyncio.run(serve(Remembering))
    assert asyncio.run(echoes(server))
    assert server.room.thread not in (threading.main_thread(), None) and server.room.thread.daemon
    asyncio.run(stops(server))


def test_a_server_goes_on_while_the_caller_computes():
    server = run(serve("v1"))
    page = http.client.HTTPConnection(server.host, server.port, timeout=AT_MOST)
    page.request("GET", "/")  # this thread blocks; only another one can answer
    assert page.getresponse().status == 200
    page.close()


@in_a_loop
async def test_serving_the_same_name_again_stops_the_first_server():
    first = await serve("v1")
    async with joining(first.url) as ann:
        second = await serve("v1")
        assert await close_code(ann) == 1001
    assert not first.running and (refuses(first) or first.port == second.port)
    assert await echoes(second)


@in_a_loop
async def test_a_cell_that_serves_on_a_fixed_port_can_be_run_again():
    port = (await serve("v3")).port  # one that is free
    for room in ("v3", "v3", "v1"):
        server = await serve(room, port=port)
        assert server.port == port and server.name == room and await echoes(server)


@in_a_loop
async def test_the_same_name_gets_the_same_port_again_while_it_is_free():
    first = await serve("v1", name="the same")
    second = await serve("v1", name="the same")
    assert second.port == first.port and not first.running and await echoes(second)
    await second.stop()
    with socket.create_server(("127.0.0.1", second.port)):
        third = await serve("v1", name="the same")
        assert third.port != second.port and await echoes(third)
    other = await serve("v1", name="another")
    assert other.port not in (second.port, third.port)


@in_a_loop
async def test_serving_one_name_twice_at_once_leaves_one_server():
    servers = await asyncio.gather(serve("v1", name="one"), serve("v1", name="one"), serve("v3", name="another"))
    assert [server.running for server in servers].count(True) == 2
    starting = asyncio.create_task(serve("v1", name="late"))
    await asyncio.sleep(0)
    await asyncio.gather(stop_all(), starting)
    await stop_all()
    assert all(refuses(server) and not server.running for server in (*servers, starting.result()))


@in_a_loop
async def test_servers_of_different_names_live_side_by_side():
    one, two, three = await serve("v1"), await serve("v3"), await serve("v1", name="another v1")
    assert three.name == "another v1"
    for server in (one, two, three):
        assert await echoes(server)


@in_a_loop
async def test_a_taken_port_is_one_clear_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=rf"^cannot listen on 127\.0\.0\.1 port {port}: .+; use another port"):
            await serve("v1", port=port)
    assert await echoes(await serve("v1", port=port))  # and once it is free


@pytest.mark.parametrize("where", [{"port": 99999}, {"port": -1}, {"host": "203.0.113.1"}, {"host": ".."}], ids=str)
@in_a_loop
async def test_an_address_that_cannot_be_had_is_one_clear_line(where):
    with pytest.raises(ServerError) as caught:
        await serve("v1", **where)
    message = str(caught.value)
    assert str(*where.values()) in message and "\n" not in message


@in_a_loop
async def test_no_host_is_not_every_host():
    with pytest.raises(ServerError, match="no host to listen on: use 127.0.0.1"):
        await serve("v1", host="")


@in_a_loop
async def test_an_unknown_room_is_a_room_error():
    with pytest.raises(RoomError, match="no room 'v99'.* v1, v1.1, "):
        await serve("v99")


class WithHub(v1.Room):
    async def __aenter__(self):
        self.hub = asyncio.create_task(self.run_hub())

    async def __aexit__(self, *exc):
        self.hub.cancel()

    async def run_hub(self):
        await asyncio.sleep(1000)


@in_a_loop
async def test_a_server_that_cannot_listen_leaves_no_hub_behind():
    room = WithHub()
    with pytest.raises(ServerError):
        await serve(room, port=99999)
    assert room.hub.done()


class NeverStarting(v1.Room):
    async def __aenter__(self):
        raise ValueError("no hub today")


@in_a_loop
async def test_a_room_that_does_not_start_is_a_server_error():
    with pytest.raises(ServerError, match="^the room does not start: ValueError: no hub today$"):
        await serve(NeverStarting)


class NeverStartingHub(WithHub):
    async def __aenter__(self):
        await super().__aenter__()
        await asyncio.sleep(0)
        sys.exit("no room today")


@in_a_loop
async def test_a_room_that_does_not_start_leaves_no_hub_behind():
    room = NeverStartingHub()
    with pytest.raises(ServerError, match="^the room does not start: SystemExit: no room today$"):
        await serve(room)
    assert room.hub.cancelled()


# ---------------------------------------------------------------- stopping


@every_version
@in_a_loop
async def test_stop_with_nobody_there_is_quick(room):
    await stops(await serve(room))


@every_version
@in_a_loop
async def test_stop_says_goodbye_to_healthy_clients(room):
    server = await serve(room)
    async with joining(server.url) as ann, joining(server.url) as bob:
        await ann.send(said("hello"))
        assert await hears(ann, "hello")
        await stops(server)
        assert await close_code(ann) == await close_code(bob) == (1012 if hasattr(server.room, "farewell") else 1001)
    assert server.errors == []


def buffers_are_full(server: Server) -> bool:
    """Does somebody's connection hold more than it may, so that sending to it waits?"""
    return any(member.transport.get_write_buffer_size() > 4096 for member in server.room.members())


@every_version
@in_a_loop
async def test_stop_is_quick_with_a_client_that_never_reads_and_one_that_never_stops_talking(room):
    server = await serve(room, write_limit=4096)
    async with joining(server.url) as listener, frozen(server.url), flooding(server.url):
        reading = asyncio.create_task(close_code(listener))
        await until(lambda: buffers_are_full(server) or getattr(server.room, "evicted", 0))  # v4 puts it out
        await stops(server)
        assert await reading in (1001, 1006, 1012)  # in the end the crowd is disconnected
    assert server.errors == []


@asynccontextmanager
async def silent(server: Server, sent: bytes = b""):
    """Somebody who connects and never becomes a client. To stop, the server waits half a second for it."""
    with socket.create_connection((server.host, server.port), timeout=AT_MOST) as client:
        client.sendall(sent)
        await until(lambda: len(server.connections) == 1)
        yield client


@pytest.mark.parametrize("sent", [b"", b"GET /chatroom HTTP/1.1\r\nHost: x\r\n"], ids=["nothing", "half a request"])
@in_a_loop
async def test_stop_closes_a_connection_that_never_becomes_a_client(sent):
    server = await serve("v1")
    async with silent(server, sent) as client:
        await stops(server)
        try:
            assert client.recv(1) == b""
        except ConnectionResetError:
            pass


class Stubborn(v1.Room):
    async def handle(self, connection):
        self.connections.append(connection)
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            await asyncio.sleep(1000)


@in_a_loop
async def test_stop_ends_a_visit_that_does_not_end_and_swallows_one_cancellation():
    server = await serve(Stubborn)
    async with joining(server.url) as ann:
        await until(server.room.members)
        await stops(server)
        assert await close_code(ann) == 1001


class NeverLeaving(WithHub):
    async def __aexit__(self, *exc):
        await asyncio.sleep(1000)


@in_a_loop
async def test_stop_waits_for_no_room_that_does_not_let_go():
    await stops(await serve(NeverLeaving))


class Complaining(v1.Room):
    async def __aexit__(self, *exc):
        raise ValueError("I will not go")


@in_a_loop
async def test_an_error_on_leaving_the_room_is_recorded_and_stops_nothing():
    server = await serve(Complaining)
    await stops(server)
    assert [str(error) for error in server.errors] == ["I will not go"]


@pytest.mark.slow
@pytest.mark.parametrize("room", [partial(v3.Room, outbox_size=1), PROMPT["v2-rw"]], ids=["v3", "v2-rw"])
@in_a_loop
async def test_stop_is_quick_with_a_deadlocked_room(room):
    server = await serve(room, write_limit=4096)
    async with frozen(server.url) as bob, flooding(server.url, size=20_000) as ann:
        await until(lambda: buffers_are_full(server))
        if server.name == "v3":
            await silence(ann)
        reset(bob)
        await silence(ann)
        async with joining(server.url) as newcomer:
            await newcomer.send(said("is anybody here?"))
            with pytest.raises(TimeoutError):
                await heard(newcomer, A_MOMENT)
            await stops(server)
    assert server.errors == []


@in_a_loop
async def test_stop_may_be_called_twice_and_from_two_places_at_once():
    server = await serve("v1")
    async with silent(server):
        first, second = asyncio.create_task(server.stop()), asyncio.create_task(server.stop())
        await asyncio.wait([first, second], return_when=asyncio.FIRST_COMPLETED)
        await stops(server)
        await asyncio.gather(first, second)


@in_a_loop
async def test_a_stop_that_is_interrupted_goes_on():
    server = await serve("v1")
    async with silent(server):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(server.stop(), 0.1)
        await until(lambda: not server.running)
        await stops(server)


@in_a_loop
async def test_stop_all_stops_all():
    servers = [await serve("v1"), await serve("v3"), await serve("v1", name="another")]
    await stop_all()
    assert not any(server.running for server in servers) and all(refuses(server) for server in servers)
    await stop_all()


# ---------------------------------------------------------------- errors


async def fail(*_):
    raise ValueError("boom")


class FailsInHandle(v1.Room):
    handle = staticmethod(fail)


class FailsInATask(v1.Room):
    async def handle(self, connection):
        task = asyncio.create_task(fail())
        await connection.wait_closed()
        del task


class FailsInTheHub(WithHub):
    run_hub = staticmethod(fail)


class FailsOnExit(v1.Room):
    async def handle(self, connection):
        sys.exit("boom")


@pytest.mark.parametrize("room", [FailsInHandle, FailsInATask, FailsInTheHub, FailsOnExit])
@in_a_loop
async def test_an_error_in_a_room_is_recorded_once_and_reported(room):
    reported = []
    server = await serve(room, on_error=reported.append)
    async with joining(server.url):
        await until(lambda: server.errors)
        await asyncio.sleep(0.1)
    assert [str(error) for error in server.errors] == ["boom"] and server.error_count == 1
    assert reported == server.errors
    assert f"1 error>\n  {type(server.errors[0]).__name__}: boom" in repr(server)
    await stops(server)
    assert server.error_count == 1


class FailsAtLength(v1.Room):
    async def handle(self, connection):
        raise ValueError("\x1b[2J\n" + 1000 * "x")


@in_a_loop
async def test_an_error_takes_one_printable_line_however_long_it_is():
    server = await serve(FailsAtLength)
    async with joining(server.url) as ann:
        await close_code(ann)
    _, line = repr(server).split("\n")
    assert line.isprintable() and line.startswith("  ValueError: \ufffd[2J xxx") and len(line) == 202


class FailsOften(v1.Room):
    async def handle(self, connection):
        for _ in range(120):
            asyncio.create_task(fail())
            await asyncio.sleep(0)


@in_a_loop
async def test_the_first_hundred_errors_are_kept_and_all_are_counted():
    server = await serve(FailsOften)
    async with joining(server.url):
        await until(lambda: server.error_count == 120)
    assert len(server.errors) == 100 and "120 errors>" in repr(server)


class Careful(v1.Room):
    """Every failure in it is seen by somebody."""

    async def handle(self, connection):
        self.seen = await asyncio.gather(fail(), fail(), return_exceptions=True)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(fail())
        except* ValueError as group:
            self.seen += group.exceptions
        task = asyncio.create_task(fail())
        try:
            await task
        except ValueError as error:
            self.seen.append(error)
        await super().handle(connection)


@in_a_loop
async def test_an_error_that_somebody_awaited_is_none():
    server = await serve(Careful)
    assert await echoes(server)
    await asyncio.sleep(0.1)
    assert [str(error) for error in server.room.seen] == 4 * ["boom"]
    assert server.errors == [] and server.error_count == 0


class Careless(v1.Room):
    async def handle(self, connection):
        self.connections.append(connection)
        while True:
            await connection.recv()


class CarelessInAGroup(v1.Room):
    async def handle(self, connection):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(Careless.handle(self, connection))


@pytest.mark.parametrize("room", [Careless, CarelessInAGroup])
@in_a_loop
async def test_the_end_of_a_connection_is_no_error(room):
    server = await serve(room)
    async with joining(server.url):
        pass
    async with joining(server.url) as ann:
        reset(ann)
    await until(lambda: len(server.room.members()) == 2 and not visitors(server))
    assert server.errors == []


def visitors(server: Server) -> list[str]:
    return [name for name in list(server.tasks.visitors.values()) if name]


# ---------------------------------------------------------------- HTTP


def get(server: Server, path: str, **headers) -> tuple[http.client.HTTPResponse, str]:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=AT_MOST)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response, response.read().decode()
    finally:
        connection.close()


def test_the_page_comes_with_a_policy():
    server = run(serve("v1"))
    for path in ("/", "/?name=Ann"):
        response, page = get(server, path)
        assert response.status == 200 and "<title>Chat room</title>" in page
        assert response.headers["Content-Type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/chat", "/chatroom/", "/favicon.ico", "/../server.py", "//"])
def test_other_paths_are_not_found(path):
    assert get(run(serve("v1")), path)[0].status == 404


def test_the_room_asks_a_plain_request_to_upgrade():
    response, text = get(run(serve("v1")), "/chatroom")
    assert response.status == 426 and response.headers["Upgrade"] == "websocket"
    assert "Traceback" not in text


@in_a_loop
async def test_the_room_can_be_joined_with_a_query():
    server = await serve("v1")
    async with joining(server.url + "?x=y") as ann:
        await ann.send(said("hello"))
        assert await hears(ann, "hello")


async def status_for(server: Server, *headers: tuple[str, str]) -> int:
    try:
        async with joining(server.url, additional_headers=headers, user_agent_header=None):
            return 101
    except InvalidStatus as error:
        return error.response.status_code


@in_a_loop
async def test_pages_of_this_machine_may_join():
    server = await serve("v1")
    for origin in [None, server.page.rstrip("/"), "http://localhost:8888", "https://127.0.0.1", "http://[::1]:80"]:
        headers = [("Origin", origin)] if origin else []
        assert await status_for(server, *headers) == 101, origin


@in_a_loop
async def test_pages_of_other_sites_may_not_join():
    server = await serve("v1")
    others = ["https://example.com", "http://localhost.example.com", "http://127.0.0.1@example.com"]
    odd = [
        "http://x@127.0.0.1",
        "x@127.0.0.1",
        "foo://localhost",
        "localhost",
        "http://[",
        "nonsense",
        "about:blank",
        "",
    ]
    for origin in [*others, f"http://example.com:{server.port}", *odd]:
        assert await status_for(server, ("Origin", origin)) == 403, origin
    assert server.room.members() == [] and server.errors == []


@in_a_loop
async def test_pages_opened_as_files_may_join_only_if_they_are_allowed_to():
    notices = []
    strict, open_to_files = await serve("v1", on_notice=notices.append), await serve("v3", allow_null_origin=True)
    for origin in ("null", "file://"):
        assert await status_for(strict, ("Origin", origin)) == 403
        assert await status_for(open_to_files, ("Origin", origin)) == 101
    assert len(notices) == 1 and "--allow-null-origin" in notices[0]
    assert await status_for(open_to_files, ("Origin", "https://example.com")) == 403


def ask(server: Server, request: str) -> tuple[int, dict[str, str], str]:
    """Send a request as it stands; returns the answer's status, headers and body."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=AT_MOST) as client:
        client.sendall(request.replace("\n", "\r\n").encode())
        response = http.client.HTTPResponse(client)
        response.begin()
        head = {name.lower(): value for name, value in response.headers.items()}
        body = b""
        while data := client.recv(65536):
            body += data
        return response.status, head, (response.fp.peek() + body).decode()


JOIN = "Upgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\nSec-WebSocket-Version: 13"


@pytest.mark.parametrize("path", ["/", "/chatroom"])
def test_whoever_calls_a_local_server_by_another_name_is_refused(path):
    server = run(serve("v1"))
    for host in ("evil.example", "localhost.evil.example", "x@127.0.0.1", "203.0.113.1", "127.0.0.1:80:80", "[", ""):
        origin = f"Origin: http://{host}\n"  # as of a page whose name has been made to lead here
        status, _, text = ask(server, f"GET {path} HTTP/1.1\nHost: {host}\n{origin}{JOIN}\n\n")
        assert status == 403 and server.page in text and text.count("\n") == 1, host
    assert server.room.members() == [] and server.errors == []


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8081", "127.8.8.8", "[::1]:8081"])
def test_a_local_server_is_called_by_any_local_name(host):
    assert ask(run(serve("v1")), f"GET / HTTP/1.1\nHost: {host}\n\n")[0] == 200


def test_a_server_answers_to_the_name_that_it_was_given():
    server = run(serve("v1", host="127.1"))
    assert ask(server, "GET / HTTP/1.1\nHost: 127.1:80\n\n")[0] == 200
    assert server.on_loopback


def test_a_server_for_everybody_answers_to_every_name():
    server = run(serve("v1", host="0.0.0.0"))
    assert ask(server, "GET / HTTP/1.1\nHost: chat.example.com\n\n")[0] == 200
    assert not server.on_loopback


@pytest.mark.parametrize("path", ["/", "/chatroom"])
def test_a_request_without_a_host_is_refused(path):
    assert ask(run(serve("v1")), f"GET {path} HTTP/1.1\n{JOIN}\n\n")[0] == 400


def test_head_gets_the_headers_of_the_page_and_no_body():
    server = run(serve("v1"))
    status, headers, body = ask(server, "HEAD / HTTP/1.1\nHost: localhost\n\n")
    assert status == 200 and int(headers["content-length"]) > 1000 and body == ""
    assert ask(server, "HEAD /nowhere HTTP/1.1\nHost: localhost\n\n")[::2] == (404, "")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "get"])
def test_other_methods_are_not_allowed(method):
    server = run(serve("v1"))
    for path, allowed in (("/", "GET, HEAD"), ("/chatroom", "GET")):
        status, headers, _ = ask(server, f"{method} {path} HTTP/1.1\nHost: localhost\n\n")
        assert (status, headers["allow"]) == (405, allowed)


@pytest.mark.parametrize("request_line", ["GET /nowhere", "POST /", "GET /chatroom"])
def test_no_browser_guesses_what_an_error_is(request_line):
    _, headers, _ = ask(run(serve("v1")), f"{request_line} HTTP/1.1\nHost: localhost\n\n")
    assert headers["x-content-type-options"] == "nosniff"


@in_a_loop
async def test_a_handshake_with_a_repeated_header_is_refused():
    server = await serve("v1")
    for name in ("Origin", "User-Agent", "Host"):
        assert await status_for(server, (name, "localhost"), (name, "localhost")) == 400, name
    assert server.errors == []


NO_HTTP = {
    "nothing": b"",
    "TLS": b"\x16\x03\x01\x02\x00\x01",
    "a greeting": b"hello?\r\n\r\n",
    "half a request": b"GET / HTTP/1.1\r\nHo",
    "a long line": b"\xff" * 20_000,
}


@pytest.mark.parametrize("sent", NO_HTTP.values(), ids=NO_HTTP)
@in_a_loop
async def test_whoever_speaks_no_http_and_goes_leaves_no_trace(sent):
    server = await serve("v1")
    for linger in (struct.pack("ii", 0, 0), struct.pack("ii", 1, 0)):  # the latter ends the connection with a reset
        with socket.create_connection((server.host, server.port), timeout=AT_MOST) as client:
            client.sendall(sent)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    await until(lambda: not server.tasks.visitors)
    assert await echoes(server) and server.errors == []


# ---------------------------------------------------------------- who never reads


def ping_without_reading(port: int) -> bool:
    """Ping until the server cuts us off, but at most 64 MB. Has it?"""
    with joined_socket(port) as client:
        try:
            for _ in range(1000):
                client.sendall(client_frame(9, b"p" * 125) * 500)
        except OSError:
            return True
    return False


@pytest.mark.parametrize("make", [Server, partial(observed_server, trace=Trace("", ()))], ids=["plain", "observed"])
@pytest.mark.parametrize("room", ["v1", "v4"])
@in_a_loop
async def test_a_client_that_pings_and_never_reads_is_cut_off(room, make):
    server = await submit(make(PROMPT.get(room, room)).start())
    async with joining(server.url) as ann, joining(server.url) as bob:
        flood = asyncio.create_task(asyncio.to_thread(ping_without_reading, server.port))
        unread = [0]
        while not flood.done():
            unread += [connection.transport.get_write_buffer_size() for connection in list(server.connections)]
            await asyncio.sleep(0.01)
        assert await flood and max(unread) < MAX_UNREAD + 2**20
        await ann.send(said("still here"))
        assert await hears(bob, "still here")
    assert server.errors == []
    await server.stop()


# ---------------------------------------------------------------- what travels

BAD = {
    "binary": said("hi").encode(),
    "nothing": "",
    "no JSON": "hello",
    "half JSON": '{"token": "Ann", ',
    "too deep": "[" * 60_000,
    "a list": "[]",
    "a number": "1",
    "null": "null",
    "no content": '{"token": "Ann"}',
    "no token": '{"content": "hi"}',
    "content null": '{"token": "Ann", "content": null}',
    "token a number": '{"token": 1, "content": "hi"}',
    "content an object": '{"token": "Ann", "content": {}}',
    "an unpaired surrogate": r'{"token": "Ann", "content": "\ud800"}',
}


def without_number(message: dict) -> dict:
    return {name: value for name, value in message.items() if name != "seq"}  # from v5 on


@every_version
@in_a_loop
async def test_everybody_hears_everything(room):
    server = await serve(room)
    async with joining(server.url) as ann, joining(server.url) as bob:
        await until(lambda: len(server.room.members()) == 2)
        for text in ["hello", "", "héllo, 世界 👋🏽 \u2028\x00", '"<b>\\', "x" * 60_000]:
            await ann.send(said(text, token="Ann ✓", color="blue", refused="no", nested={"a": [1]}))
            for client in (ann, bob):
                assert without_number(await heard(client)) == {"token": "Ann ✓", "content": text}
        await bob.send(said("bye", token="Bob"))
        for client in (ann, bob):
            assert without_number(await heard(client)) == {"token": "Bob", "content": "bye"}
    assert server.errors == []


@every_version
@in_a_loop
async def test_a_bad_message_ends_its_speakers_visit_and_nobody_elses(room):
    server = await serve(room)
    async with joining(server.url) as ann:
        await until(server.room.members)
        for kind, frame in BAD.items():
            async with joining(server.url) as speaker:
                await speaker.send(frame)
                assert await close_code(speaker) == 1007, kind
                assert speaker.close_reason, kind
        async with joining(server.url) as speaker:
            await speaker.send(b"\xff\xfe", text=True)  # not UTF-8; `websockets` itself notices
            assert await close_code(speaker) == 1007
        async with joining(server.url) as speaker:
            await speaker.send(said("x" * 2**16))
            assert await close_code(speaker) == 1009
        await ann.send(said("still here"))
        assert await hears(ann, "still here")
    assert server.errors == []


def answer_to(server: Server, frames: bytes) -> bytes:
    """What somebody gets who joins, sends that, and reads until the server hangs up."""
    received = b""
    with joined_socket(server.port) as client:
        client.sendall(frames)
        while data := client.recv(65536):
            received += data
    return received


def test_a_message_in_too_many_fragments_ends_the_visit():
    server = run(serve("v1"))
    frames = client_frame(1, b"", first_byte=0x01) + 5000 * client_frame(0, b"", first_byte=0x00)
    assert answer_to(server, frames).startswith(b"\x88\x14\x03\xf1too many fragments")  # 1009
    assert server.errors == []


@every_version
@in_a_loop
async def test_a_reset_in_the_middle_leaves_no_trace(room):
    server = await serve(room)
    for _ in range(5):
        async with joining(server.url) as ann:
            await ann.send(said("hello"))
            reset(ann)
    await asyncio.sleep(0.1)
    assert server.errors == []


# ---------------------------------------------------------------- the background thread


class Work:
    """A coroutine that takes long, and tells what becomes of it."""

    def __init__(self):
        self.started = self.cancelled = False

    async def __call__(self):
        self.started = True
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            self.cancelled = True
            raise


@in_a_loop
async def test_interrupting_a_cell_cancels_what_it_awaits():
    work = Work()
    cell = asyncio.ensure_future(submit(work()))
    await until(lambda: work.started)
    cell.cancel()
    await until(lambda: work.cancelled)
    assert cell.cancelled()


def test_run_gives_up_after_its_timeout_and_leaves_nothing_running():
    work = Work()
    with pytest.raises(TimeoutError):
        run(work(), timeout=0.1)
    asyncio.run(until(lambda: work.cancelled))


def test_run_on_the_background_thread_says_so_and_does_not_hang():
    async def cell():
        return run(asyncio.sleep(0))

    with pytest.raises(RuntimeError, match="use await"):
        run(cell(), timeout=AT_MOST)


@in_a_loop
async def test_hand_over_works_on_the_background_thread_too():
    async def threads():
        return threading.current_thread(), await submit(current())

    async def current():
        return threading.current_thread()

    outer, inner = await submit(threads())
    assert outer is inner is not threading.main_thread()
