"""An ASGI application stands where a room can, and is treated as uvicorn treats it."""

import asyncio
import contextlib
import importlib.util
import json
import subprocess
import sys
import textwrap
import threading
from contextvars import ContextVar

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from chatroom_lib import (
    Scenario,
    asgi,
    check,
    frozen,
    leaving,
    listener,
    live,
    run,
    serve,
    simulate,
    talker,
    vanishing,
)
from chatroom_lib.checker.guarantees import judge
from chatroom_lib.checker.scenarios import SCENARIOS
from chatroom_lib.reference_rooms import FastAPIManager
from chatroom_lib.rooms import RoomError
from chatroom_lib.rooms.asgi.imports import imported
from chatroom_lib.rooms.asgi.routes import fits
from chatroom_lib.server.server import ServerError
from tests.helpers import AT_MOST, STORM, heard, in_a_loop, joining, said, until, wait_until, without
from tests.test_command_line import outcome, serving

WIRE = {"compression": None, "ping_interval": None, "proxy": None, "close_timeout": 1}
meeting = Scenario([talker("Ann", says=3), listener("Bob"), leaving("Cy", 0.35)], duration=30)
quiet_check = {"progress": False, "processes": 2}


def needs(package: str):
    """Skip a test where a package is not installed."""
    if not importlib.util.find_spec(package):
        without(package, "make extras")


MANAGER = '''
    """Everybody hears everybody: the example with a manager of connections, as FastAPI's documentation explains it."""

    from fastapi import FastAPI, WebSocket, WebSocketDisconnect

    app = FastAPI()


    class Manager:
        def __init__(self):
            self.connections = []

        async def welcome(self, websocket: WebSocket):
            await websocket.accept()
            self.connections.append(websocket)

        def forget(self, websocket: WebSocket):
            self.connections.remove(websocket)

        async def tell_all(self, text: str):
            for websocket in self.connections:
                await websocket.send_text(text)


    manager = Manager()


    @app.websocket("/ws/{client_id}")
    async def chat(websocket: WebSocket, client_id: int):
        await manager.welcome(websocket)
        try:
            while True:
                await manager.tell_all(await websocket.receive_text())
        except WebSocketDisconnect:
            manager.forget(websocket)
            await manager.tell_all(f"Number {client_id} has left.")
'''

GOOD = '''
    """A queue for each client, of which one task sends; whoever lets it overflow is evicted. At most one message a
    second is accepted of each, on average, and the rest is refused."""

    import asyncio
    import contextlib
    import json
    import time

    from starlette.applications import Starlette
    from starlette.routing import WebSocketRoute
    from starlette.websockets import WebSocketDisconnect

    people = {}


    async def chat(websocket):
        await websocket.accept()
        queue = people[websocket] = asyncio.Queue(100)
        tasks = [asyncio.create_task(read(websocket)), asyncio.create_task(write(websocket, queue))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            people.pop(websocket, None)
            for task in tasks:
                task.cancel()


    async def read(websocket):
        tokens, since = 5.0, time.monotonic()
        try:
            while True:
                text = await websocket.receive_text()
                now = time.monotonic()
                tokens, since = min(5.0, tokens + (now - since)), now
                if tokens < 1:
                    message = json.loads(text)
                    refusal = {"token": "chatroom", "content": "Not sent: slow down.", "refused": message["content"]}
                    put(websocket, json.dumps(refusal))
                    continue
                tokens -= 1
                for other in list(people):
                    put(other, text)
        except WebSocketDisconnect:
            pass


    def put(websocket, text):
        try:
            people[websocket].put_nowait(text)
        except asyncio.QueueFull:
            people.pop(websocket)
            late.append(asyncio.create_task(evict(websocket)))
        except KeyError:
            pass


    late = []


    async def evict(websocket):
        with contextlib.suppress(WebSocketDisconnect):
            await websocket.close(1013)


    async def write(websocket, queue):
        try:
            while True:
                await websocket.send_text(await queue.get())
        except (WebSocketDisconnect, RuntimeError):
            pass


    app = Starlette(routes=[WebSocketRoute("/ws", chat)])
'''


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module of that name into the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name: str, text: str) -> str:
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text).lstrip(), encoding="utf-8")
        return f"{name}:app"

    yield write
    imported.forget()


# ---------------------------------------------------------------- applications without a framework

people = {}  # send -> None


async def plain(scope, receive, send):
    """The books are a global."""
    if scope["type"] != "websocket":
        raise NotImplementedError
    await receive()
    await send({"type": "websocket.accept"})
    people[send] = None
    try:
        while (message := await receive())["type"] == "websocket.receive":
            for other in list(people):
                await other({"type": "websocket.send", "text": message["text"]})
    except OSError:
        pass
    finally:
        del people[send]


def make_plain():
    there = []

    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        there.append(send)
        with contextlib.suppress(OSError):
            while (message := await receive())["type"] == "websocket.receive":
                for other in there:
                    await other({"type": "websocket.send", "text": message["text"]})
        there.remove(send)

    return app


class Books:
    """An application that notes what it is told."""

    def __init__(self, visit=None):
        self.events, self.scopes, self.visit = [], [], visit

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            return await self.live(receive, send)
        self.scopes.append(scope)
        await (self.visit or self.echo)(scope, self.noted(receive), send)

    def noted(self, receive):
        async def received():
            message = await receive()
            self.events.append(message)
            return message

        return received

    async def live(self, receive, send):
        for what in ("startup", "shutdown"):
            self.events.append(await receive())
            await send({"type": f"lifespan.{what}.complete"})

    async def echo(self, scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({**message, "type": "websocket.send"})


def of(books: Books):
    """A room around these books, which are to be looked at: no copy."""
    return asgi(lambda: books)


@pytest.mark.parametrize("app", [plain, make_plain], ids=["an application", "what makes one"])
def test_it_is_played_in_virtual_time_and_on_real_sockets(app):
    trace = simulate(asgi(app), meeting, seed=1)
    assert trace.heard("Bob") == ["Ann 1", "Ann 2", "Ann 3"] and not trace.errors and trace.in_pool() == ["Ann", "Bob"]
    assert simulate(asgi(app), meeting, seed=1).digest() == trace.digest() != simulate(asgi(app), meeting, 2).digest()


@pytest.mark.real
def test_it_is_played_on_real_sockets():
    brief = Scenario([talker("Ann", says=3, every=0.05), listener("Bob")], duration=1)
    assert run(live(asgi(plain), brief)).heard("Bob") == ["Ann 1", "Ann 2", "Ann 3"]


@in_a_loop
async def test_it_is_served_to_real_clients():
    server = await serve(asgi(plain))
    async with joining(server.url) as ann, joining(server.url + "?x=1") as bob:
        await until(lambda: len(server.room.members()) == 2)
        await ann.send(said("hello"))
        assert (await heard(bob))["content"] == (await heard(ann))["content"] == "hello"
    await until(lambda: server.room.members() == [])
    assert "plain" in repr(server) and server.errors == []
    await server.stop()


def test_each_run_has_a_new_application_whatever_it_is_made_of(module):
    spec = module(
        "counting",
        """
        from neighbour import visits

        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                raise NotImplementedError
            import late_neighbour
            visits.append(scope)
            late_neighbour.visits.append(scope)
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "text": f"{len(visits)} {len(late_neighbour.visits)}"})
            while (await receive())["type"] != "websocket.disconnect":
                pass

        def make():
            return app
        """,
    )
    module("neighbour", "visits = []")
    module("late_neighbour", "visits = []")
    import counting
    import neighbour

    one = Scenario([listener("Ann"), listener("Bob")], duration=5)
    for what in (spec, "counting.py:app", "counting:make"):
        for _ in range(2):
            trace = simulate(asgi(what), one)
            assert [event.message for event in trace.of("garbled")] == ["1 1", "2 2"], what
            assert sys.modules["counting"] is counting and sys.modules["neighbour"] is neighbour
    for _ in range(2):
        assert [event.message[0] for event in simulate(asgi(counting.app), one).of("garbled")] == ["1", "2"]
    assert neighbour.visits == []


def test_a_function_that_makes_nothing_new_is_told_so():
    room = asgi(lambda: plain)
    people["a connection of an earlier run"] = None
    try:
        simulate(room, Scenario([frozen("Ann")], duration=1))
        with pytest.raises(RoomError, match="has 1 connections of an earlier run"):
            for _ in range(2):
                simulate(asgi(lambda: kept), Scenario([frozen("Ann")], duration=1))
    finally:
        people.clear()


class Kept:
    def __init__(self):
        self.sends = []

    async def __call__(self, scope, receive, send):
        self.sends.append(send)
        await send({"type": "websocket.accept"})
        await receive()
        await receive()


kept = Kept()


def test_an_object_that_cannot_be_copied_comes_from_its_module_anew(module, tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    module(
        "package/main",
        """
        from contextvars import ContextVar

        from . import neighbour

        async def app(scope, receive, send, variable=ContextVar("name")):
            await send({"type": "websocket.accept"})
            neighbour.count += 1
            await send({"type": "websocket.send", "text": str(neighbour.count)})
            await receive()
            await receive()
        """,
    )
    module("package/neighbour", "count = 0")
    from package import main, neighbour

    for what in (main.app, "package.main:app"):
        for _ in range(2):
            trace = simulate(asgi(what), Scenario([listener("Ann")], duration=2))
            assert [event.message for event in trace.of("garbled")] == ["1"]
    assert neighbour.count == 0 and sys.modules["package.main"] is main


def test_what_cannot_be_copied_is_told_what_to_write_instead():
    app = Books()
    app.variable = ContextVar("name")
    with pytest.raises(RoomError, match="cannot be copied for each run.*pickle.*module:app"):
        asgi(app)


@pytest.mark.parametrize(
    ("app", "why"),
    [
        (3, "no ASGI application"),
        (Books, "what Books makes is|no ASGI application"),
        (lambda: 3, "is no ASGI application, but 3"),
        ("main", "names no ASGI application"),
        ("no_such_module:app", "no module 'no_such_module'"),
        ("no_such_file.py:app", "no file"),
        ("json:nothing", "there is no 'nothing' in json"),
        ("json:loads", "no ASGI application"),
    ],
)
def test_what_is_no_application_is_told_so(app, why):
    with pytest.raises(RoomError, match=why):
        simulate(asgi(app), meeting)


def test_the_path_must_be_one():
    with pytest.raises(RoomError, match="begins with a slash"):
        asgi(plain, "ws")


# ---------------------------------------------------------------- what it sees


def test_it_sees_its_own_path_with_the_queries_of_both():
    books = Books()
    people = [listener("Ann", path="/chatroom?since=:"), listener("J\N{LATIN SMALL LETTER O WITH DIAERESIS}/rg")]
    simulate(asgi(lambda: books, "/a room/{n}/{name}?token=%20x"), Scenario(people, duration=2))
    first, second = books.scopes
    assert (first["path"], first["raw_path"]) == ("/a room/1/Ann", b"/a%20room/1/Ann")
    assert (first["query_string"], second["query_string"]) == (b"token=%20x&since=:", b"token=%20x")
    assert second["raw_path"] == b"/a%20room/2/J%C3%B6%2Frg" and second["path"] == "/a room/2/J\xf6/rg"
    assert (b"user-agent", b"chatroom-client Ann") in first["headers"] and first["client"] != second["client"]


def test_the_lifespan_is_around_all_visits_and_its_state_is_in_their_scopes():
    seen = []

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            seen.append("startup")
            scope["state"]["name"] = "state"
            await send({"type": "lifespan.startup.complete"})
            await receive()
            seen.append("shutdown")
            await send({"type": "lifespan.shutdown.complete"})
        else:
            seen.append(scope["state"].copy())
            scope["state"]["own"] = True
            await send({"type": "websocket.accept"})
            await receive()
            seen.append((await receive())["type"])

    simulate(asgi(lambda: app), Scenario([leaving("Ann", 0.5), leaving("Bob", 0.5)], duration=5))
    state = {"name": "state"}
    assert seen == ["startup", state, state, "websocket.disconnect", "websocket.disconnect", "shutdown"]


def failing(what):
    async def app(scope, receive, send):
        assert scope["type"] == "lifespan"
        await receive()
        if what == "startup":
            await send({"type": "lifespan.startup.failed", "message": "Traceback\n  line 3\nOSError: no disk"})
            raise OSError("no disk")
        if what == "nothing":
            await asyncio.Event().wait()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if what == "shutdown":
            await send({"type": "lifespan.shutdown.failed", "message": "no way"})
        if what == "the end":
            raise ValueError("bad end")
        if what == "shutdown without an end":
            await asyncio.Event().wait()

    return app


def test_what_fails_at_startup_does_not_start_and_says_why():
    with pytest.raises(
        ServerError, match="does not start: RuntimeError: its lifespan.startup has failed: OSError: no disk"
    ):
        simulate(asgi(lambda: failing("startup")), meeting)
    with pytest.raises(RuntimeError, match="__aenter__ does not return"):
        simulate(asgi(lambda: failing("nothing")), meeting)


def test_what_fails_at_shutdown_is_noted():
    def trace(what):
        return simulate(asgi(lambda: failing(what)), Scenario([], duration=1))

    assert "shutdown has failed: no way" in str(trace("shutdown").exit_error)
    assert "does not return" in str(trace("shutdown without an end").exit_error)
    assert trace("nothing of that").exit_error is None


# ---------------------------------------------------------------- the same as with uvicorn


async def door(scope, receive, send):
    """One application with many ways to behave, by its path."""
    if scope["type"] == "lifespan":
        raise NotImplementedError
    how = scope["path"].strip("/")
    if how == "raise early":
        raise ValueError(how)
    if how == "return early":
        return
    await receive()
    if how == "deny":
        return await send({"type": "websocket.close", "code": 4000})
    if how == "respond":
        headers = [(b"x-why", b"tea"), (b"content-type", b"text/tea")]
        await send({"type": "websocket.http.response.start", "status": 418, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": b"short ", "more_body": True})
        return await send({"type": "websocket.http.response.body", "body": b"and stout"})
    if how == "send early":
        return await send({"type": "websocket.send", "text": "no"})
    chosen = scope["subprotocols"][-1] if scope["subprotocols"] else None
    await send({"type": "websocket.accept", "subprotocol": chosen, "headers": [(b"x-room", b"1")]})
    if how == "raise":
        raise ValueError(how)
    if how == "return":
        return
    if how == "close":
        await send({"type": "websocket.close", "code": 4001, "reason": "enough"})
        await receive()
    if how == "close twice":
        await send({"type": "websocket.close"})
        await send({"type": "websocket.close"})
    if how == "send after close":
        await send({"type": "websocket.close", "code": 4002})
        await send({"type": "websocket.send", "text": "too late"})
    if how == "accept twice":
        await send({"type": "websocket.accept"})
    if how == "close without a reason":
        await send({"type": "websocket.close", "reason": None})
    if how in ("echo", "send after the end"):
        while (message := await receive())["type"] == "websocket.receive":
            await send({**message, "type": "websocket.send"})
        if how == "send after the end":
            await asyncio.sleep(0.2)
            await send({"type": "websocket.send", "text": "anybody?"})


class Observed:
    """An application, and what becomes of its calls."""

    def __init__(self, app):
        self.app, self.scopes, self.ended, self.told = app, [], [], []

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)

        async def received():
            message = await receive()
            if message["type"] != "websocket.receive":
                self.told.append({**message, "reason": message.get("reason") or ""})
            return message

        self.scopes.append(scope)
        try:
            await self.app(scope, received, send)
        except BaseException as error:
            self.ended.append(next(kind.__name__ for kind in (OSError, type(error)) if isinstance(error, kind)))
            raise
        self.ended.append("returned")


@contextlib.asynccontextmanager
async def by_us(app, path):
    server = await serve(asgi(lambda: app, path), name=f"for {path}")
    try:
        yield server.url
    finally:
        await server.stop()


@contextlib.asynccontextmanager
async def by_uvicorn(app, path):
    needs("uvicorn")
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", ws_per_message_deflate=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    await until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"ws://127.0.0.1:{port}{path}"
    finally:
        server.should_exit = True
        await asyncio.to_thread(thread.join)


async def what_happens(served, how: str, act) -> dict:
    app = Observed(door)
    async with served(app, f"/{how.replace(' ', '%20')}?q=%20") as url:
        result = await act(url)
        await until(lambda: app.ended)
    (scope,) = app.scopes
    scope["headers"] = [pair for pair in scope["headers"] if pair[0] not in (b"host", b"sec-websocket-key")]
    for end in ("client", "server"):
        host, port = scope.pop(end)
        assert host == "127.0.0.1" and isinstance(port, int)
    assert scope.pop("asgi")["version"] == "3.0"
    return {"client": result, "app": app.ended, "told": app.told, "scope": scope}


async def visit(url: str, *frames, subprotocols=None, code: int | None = None):
    """What a client sees that says these, and closes with this code once it has heard them."""
    try:
        async with asyncio.timeout(AT_MOST):
            client = await connect(url, subprotocols=subprotocols, **WIRE)
    except InvalidStatus as error:
        response = error.response
        wanted = {name: response.headers.get(name) for name in ("Content-Type", "X-Why", "Content-Length")}
        return response.status_code, bytes(response.body), wanted
    heard = []
    with contextlib.suppress(ConnectionClosed):
        for frame in frames:
            await client.send(frame)
            heard.append(await client.recv())
        if code:
            await client.close(code, "my reason")
        async with asyncio.timeout(AT_MOST):
            heard.append(await client.recv())
    return client.subprotocol, client.response.headers["X-Room"], heard, client.close_code, client.close_reason


WAYS = {
    **dict.fromkeys(("raise early", "return early", "deny", "respond", "send early", "raise", "return"), visit),
    **dict.fromkeys(("close", "close twice", "send after close", "accept twice", "close without a reason"), visit),
    "echo": lambda url: visit(url, "text", b"\x00\xff", "", subprotocols=["a", "b"], code=4123),
    "send after the end": lambda url: visit(url, code=1000),
}


@pytest.mark.parametrize("how", WAYS)
@in_a_loop
async def test_client_and_application_see_what_they_see_with_uvicorn(how):
    ours, real = [await what_happens(served, how, WAYS[how]) for served in (by_us, by_uvicorn)]
    assert ours == real


def test_an_application_that_refuses_shuts_out_and_one_that_fails_is_blamed():
    def shut_out(how):
        trace = simulate(asgi(lambda: door, f"/{how}"), Scenario([listener("Ann")], duration=5))
        return [event.message for event in trace.of("shut out")], [str(error) for error in trace.errors]

    assert shut_out("deny") == (["InvalidStatus: server rejected WebSocket connection: HTTP 403"], [])
    (why,), errors = shut_out("respond")
    assert why.endswith("HTTP 418: short and stout") and errors == []
    (why,), errors = shut_out("raise early")
    assert "HTTP 500: Internal Server Error" in why and errors == ["raise early"]


def test_an_exception_is_an_error_of_the_room_and_ends_the_visit_without_a_word():
    trace = simulate(asgi(lambda: door, "/raise"), Scenario([listener("Ann")], duration=5))
    assert [type(error) for error in trace.errors] == [ValueError] and trace.in_pool() == []
    assert [event.message for event in trace.of("lost", who="Ann")] == [""]


def test_whoever_waits_for_a_message_learns_at_once_that_the_application_has_closed():
    seen = []

    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        clock = asyncio.get_running_loop().time

        async def close():
            await asyncio.sleep(1)
            await send({"type": "websocket.close", "code": 4000, "reason": "late"})
            seen.append(("closed", round(clock(), 2)))

        closing = asyncio.create_task(close())
        seen.append((await receive(), round(clock(), 2)))
        await closing

    simulate(asgi(lambda: app), Scenario([frozen("Ann")], duration=60))
    gone = {"type": "websocket.disconnect", "code": 4000, "reason": "late"}
    assert seen == [("closed", 1.0), (gone, 1.0)]


def test_a_send_waits_for_a_client_that_does_not_read_before_it_writes():
    seen = []

    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        for _ in range(100):
            try:
                async with asyncio.timeout(0.1):
                    await send({"type": "websocket.send", "text": "x" * 1000})
                seen.append("sent")
            except TimeoutError:
                seen.append("not sent")
        await receive()

    trace = simulate(asgi(lambda: app), Scenario([frozen("Ann")], duration=60), keepalive=0)
    assert 5 < seen.count("sent") < 60 and seen[-30:] == ["not sent"] * 30
    assert trace.writes["Ann"] == seen.count("sent") + 1  # the one that filled the buffer


def test_a_client_that_vanishes_in_the_handshake_is_told_to_the_application():
    books = Books()

    async def slow(scope, receive, send):
        await receive()
        await asyncio.sleep(1)
        with pytest.raises(OSError):
            await send({"type": "websocket.accept"})
        assert (await receive())["code"] == 1006

    books.visit = slow
    trace = simulate(of(books), Scenario([vanishing("Ann", vanishes=0.5)], duration=5))
    assert [event["type"] for event in books.events][-2:] == ["websocket.disconnect", "lifespan.shutdown"]
    assert not trace.errors and trace.in_pool() == []


@pytest.mark.parametrize("how", ["receive", "send", "close"])
def test_whoever_the_application_knows_to_be_gone_is_no_member_any_more(how):
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await asyncio.sleep(10)
        with contextlib.suppress(OSError):
            if how == "receive":
                await receive()
            else:
                await send({"type": f"websocket.{how}"})
        await asyncio.sleep(100)

    ann = frozen("Ann") if how == "close" else vanishing("Ann", vanishes=5)
    trace = simulate(asgi(lambda: app), Scenario([ann], duration=50))
    assert [round(event.time) for event in trace.of("removed")] == [10]


def test_the_server_pings_as_uvicorn_does_unless_it_is_told_otherwise():
    assert simulate(asgi(plain), meeting).keepalive == 20
    assert simulate(asgi(plain), meeting, keepalive=0).keepalive is None
    needs("uvicorn")
    import uvicorn

    real, ours = uvicorn.Config(plain), asgi(plain)().server_options
    assert (ours["ping_interval"], ours["ping_timeout"]) == (real.ws_ping_interval, real.ws_ping_timeout)
    assert ours["max_size"] == real.ws_max_size


def test_as_with_uvicorn_a_pong_is_not_read_while_the_application_has_not_received_a_message():
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await asyncio.sleep(200)

    def lost(says):
        trace = simulate(asgi(lambda: app), Scenario([talker("Ann", says=says)], duration=100))
        return [(round(event.time), event.message) for event in trace.of("lost")]

    assert lost(0) == [] and lost(1) == [(40, "1011 keepalive ping timeout")]


# ---------------------------------------------------------------- FastAPI, and its rewritten room


@pytest.mark.slow
def test_the_manager_of_fastapis_documentation_is_judged_as_the_room_that_rewrites_it(module):
    needs("fastapi")
    spec = module("manager", MANAGER)
    some = {name: each for name, each in SCENARIOS.items() if name != STORM}
    real, rewritten = (
        check(room, seeds=10, scenarios=some, **quiet_check) for room in (asgi(spec, "/ws/{n}"), FastAPIManager)
    )
    assert set(real.broken) == set(rewritten.broken) and real.kept == rewritten.kept
    assert real.untested == rewritten.untested and real.failed == rewritten.failed == {}


def test_the_manager_of_an_object_is_that_of_its_module(module):
    needs("fastapi")
    spec = module("manager", MANAGER)
    from manager import app

    ill = Scenario([talker("Ann", says=40, every=0.05), frozen("Bob", vanishes=1), listener("Cy")], duration=4)
    traces = [simulate(asgi(what, "/ws/{n}"), ill, seed=3) for what in (spec, app, spec, "manager.py:app")]
    assert len({trace.digest() for trace in traces}) == 1 and traces[0].evicted() and not traces[0].errors
    (waits,) = [wait for wait in traces[0].waits if wait.visitor == "Cy"]
    assert waits.task == "chat" and "manager.py" in waits.line


@pytest.mark.parametrize("room", ["asgi('manager:app', '/ws/{n}')", "'threads.py:app'"])
def test_the_same_seed_gives_the_same_run_in_every_process(module, room):
    needs("fastapi")
    module("manager", MANAGER)
    module("threads", THREADS.replace("WORK", "text"))
    code = (
        "from chatroom_lib import Scenario, asgi, frozen, listener, simulate, talker\n"
        "people = [talker('Ann', says=20), frozen('Bob', vanishes=1), listener('Cy')]\n"
        f"print([simulate({room}, Scenario(people, duration=4), s).digest() for s in (1, 1, 2)])"
    )
    outputs = {subprocess.check_output([sys.executable, "-c", code], text=True) for _ in range(2)}
    (first, again, other) = json.loads(outputs.pop().replace("'", '"'))
    assert first == again != other and not outputs


@pytest.mark.slow
def test_a_broken_run_is_replayed_and_made_short(module):
    needs("fastapi")
    some = {name: SCENARIOS[name] for name in ("frozen then dies",)}
    card = check(asgi(module("manager", MANAGER), "/ws/{n}"), seeds=2, scenarios=some, **quiet_check)
    assert judge(card.replay("no-false-eviction"))["no-false-eviction"].kept is False
    shortest = card.shortest("no-false-eviction", progress=False)
    assert judge(shortest)["no-false-eviction"].kept is False and len(shortest.clients) <= 3


@pytest.mark.slow
def test_a_right_application_keeps_what_it_should(module):
    needs("fastapi")
    card = check(asgi(module("good", GOOD)), seeds=2, **quiet_check)
    assert set(card.broken) <= {"noticed"} and card.failed == {}, card.broken


def test_a_manager_that_forgets_nobody_leaks(module):
    needs("fastapi")
    forgetful = MANAGER.replace("self.connections.remove(websocket)", "pass").replace("in self.connections", "in ()")
    people = [leaving(name, 0.5) for name in ("Ann", "Bob", "Cy", "Di", "Eve")]
    trace = simulate(asgi(module("forgetful", forgetful), "/ws/{n}"), Scenario([*people, listener("Fay")], duration=20))
    assert trace.leak.connections == ["Ann", "Bob", "Cy", "Di", "Eve"]
    trace = simulate(asgi(module("manager", MANAGER), "/ws/{n}"), Scenario([*people, listener("Fay")], duration=20))
    assert trace.leak.connections == [] == trace.leak.orphaned_tasks


def test_the_path_of_a_framework_is_looked_up(module):
    needs("fastapi")
    room = asgi(module("manager", MANAGER))
    with pytest.raises(RoomError, match=r"no websocket at /ws: it has /ws/\{client_id\} \(--path, or asgi"):
        simulate(room, meeting)
    assert fits("/ws/{room}", "/ws/7") and fits("/a/<path:rest>", "/a/b/c") and fits("/a/{rest:path}/x", "/a/b/c/x")
    assert not fits("/ws/{room}", "/ws/7/8") and not fits("/ws", "/ws/") and not fits("/a.c", "/abc")


THREADS = """
    import time

    import anyio
    from fastapi import BackgroundTasks, Depends, FastAPI, WebSocket, WebSocketDisconnect

    app = FastAPI()
    people, log = [], []


    def named(websocket: WebSocket) -> str:
        time.sleep(0.25)
        return websocket.headers["user-agent"]


    def upper(text: str) -> str:
        return anyio.from_thread.run(again, text)


    async def again(text: str) -> str:
        await anyio.sleep(0.125)
        return text


    @app.websocket("/ws")
    async def chat(websocket: WebSocket, name: str = Depends(named)):
        await websocket.accept()
        people.append(websocket)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(beat, websocket)
                while True:
                    text = await websocket.receive_text()
                    for each in people:
                        await each.send_text(WORK)
        except* WebSocketDisconnect:
            people.remove(websocket)


    async def beat(websocket):
        while True:
            await anyio.sleep(1)
            await websocket.send_text("beat")
"""


def test_calls_of_anyios_threads_are_answered_when_the_seed_says(module):
    needs("fastapi")
    trace = simulate(asgi(module("threads", THREADS.replace("WORK", "text").replace("time.sleep(0.25)", ""))), meeting)
    assert trace.heard("Bob") and trace.threads == 0


@pytest.mark.slow
def test_forty_calls_at_once_fit_into_the_memory_of_a_check(module):
    needs("fastapi")
    spec = module("threads", THREADS.replace("WORK", "text").replace("0.25", "3"))
    crowd = Scenario([*(listener(f"P{number}", joins=0.1) for number in range(60))], duration=20)
    card = check(asgi(spec), 1, scenarios={"crowd": crowd}, **quiet_check)
    assert card.failed == {} and {"no-crash", "admission"} <= set(card.kept)


def test_what_a_thread_of_logging_writes_is_no_business_of_the_run(module):
    spec = module(
        "logs",
        """
        import logging.handlers
        import queue

        listener = logging.handlers.QueueListener(queue.Queue())
        listener.start()

        async def app(scope, receive, send):
            await send({"type": "websocket.accept"})
            await receive()
            await receive()
        """,
    )
    before = threading.active_count()
    assert [simulate(asgi(spec), meeting).threads for _ in range(5)] == [0] * 5
    wait_until(lambda: threading.active_count() <= before + 1)  # that of the import before all runs


@pytest.mark.parametrize("work", ["text", "await anyio.to_thread.run_sync(upper, text)"])
def test_sync_dependencies_threads_and_task_groups_of_anyio_live_in_virtual_time(module, work):
    needs("fastapi")
    room = asgi(module("threads", THREADS.replace("WORK", work)))
    later = Scenario([talker("Ann", says=3, starts=1), listener("Bob"), leaving("Cy", 0.35)], duration=30)
    traces = [simulate(room, later, seed=1) for _ in range(3)]
    trace = traces[-1]
    assert trace.heard("Bob") == ["Ann 1", "Ann 2", "Ann 3"] and not trace.errors and not trace.left_tasks
    assert 0.25 < trace.of("joined")[0].time < 0.3 and trace.of("garbled", who="Bob")
    assert work != "text" or len({trace.digest() for trace in traces}) == 1
    (first, *_) = trace.of("accepted", who="Ann")
    spent = trace.of("heard", who="Bob")[0].time - first.time
    assert spent < 0.1 if work == "text" else 0.25 < spent < 0.4


def test_a_thread_that_never_returns_is_seen_in_the_run_and_no_hang(module, monkeypatch):
    needs("fastapi")
    monkeypatch.setattr(threading, "for_ever", threading.Event(), raising=False)
    hanging = THREADS.replace("WORK", "text").replace("time.sleep(0.25)", "import threading; threading.for_ever.wait()")
    try:
        trace = simulate(asgi(module("hanging", hanging)), Scenario([listener("Ann")], duration=50))
    finally:
        threading.for_ever.set()  # or this process would wait for it at its end
    (event,) = trace.events
    assert event.kind == "shut out" and "timed out during opening handshake" in event.message and trace.threads == 1


# ---------------------------------------------------------------- other frameworks

LITESTAR = """
    from litestar import Litestar, WebSocket, websocket
    from litestar.exceptions import WebSocketDisconnect

    people = []


    @websocket("/ws")
    async def chat(socket: WebSocket) -> None:
        await socket.accept()
        people.append(socket)
        try:
            while True:
                text = await socket.receive_text()
                for each in list(people):
                    await each.send_text(text)
        except WebSocketDisconnect:
            people.remove(socket)


    app = Litestar([chat])
"""
QUART = """
    import asyncio

    from quart import Quart, websocket

    app = Quart(__name__)
    queues = []


    @app.websocket("/ws")
    async def chat():
        queue = asyncio.Queue(100)
        queues.append(queue)
        task = asyncio.create_task(send(queue))
        try:
            while True:
                text = await websocket.receive()
                for each in queues:
                    await each.put(text)
        finally:
            task.cancel()
            queues.remove(queue)


    async def send(queue):
        while True:
            await websocket.send(await queue.get())
"""


@pytest.mark.parametrize("framework", ["starlette", "litestar", "quart"])
def test_other_frameworks_work_too(module, framework):
    needs(framework)
    spec = module(f"with_{framework}", {"starlette": GOOD, "litestar": LITESTAR, "quart": QUART}[framework])
    traces = [simulate(asgi(spec), meeting, seed=4) for _ in range(2)]
    assert traces[0].heard("Bob") == ["Ann 1", "Ann 2", "Ann 3"] and not traces[0].errors
    assert traces[0].in_pool() == ["Ann", "Bob"] and traces[0].digest() == traces[1].digest()
    with pytest.raises(RoomError, match="no websocket at /chat: it has /ws"):
        simulate(asgi(spec, "/chat"), meeting)


# ---------------------------------------------------------------- on the command line

PLAIN = """
    async def app(scope, receive, send):
        if scope["type"] != "websocket" or scope["path"] != "/chat":
            return await send({"type": "websocket.close"})
        await send({"type": "websocket.accept"})
        await receive()
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})

    number = 3
"""


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["plain:app", "plain.py:app"])
def test_it_is_checked_on_the_command_line(module, spec):
    module("plain", PLAIN)
    result = outcome(["check", spec, "--path", "/chat?x", "--seeds", "1", "--json"])
    card = json.loads(result.stdout)
    assert result.returncode == 0 and result.stderr == "" and card["room"] == spec
    assert card["guarantees"]["delivery"]["broken"] == 1 and card["guarantees"]["no-crash"]["kept"] == 1


@pytest.mark.real
def test_it_is_served_on_the_command_line(module):
    module("plain", PLAIN)

    async def talk(url):
        async with joining(url) as ann:
            await ann.send(said("hello"))
            return (await heard(ann))["content"]

    with serving("plain:app", "--path", "/chat") as process:
        assert asyncio.run(talk(process.url)) == "hello"


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["check", "nowhere:app"], "no module 'nowhere'"),
        (["serve", "nowhere:app"], "no module 'nowhere'"),
        (["check", "plain:nothing"], "there is no 'nothing' in plain"),
        (["check", "plain:number"], "number in plain is no ASGI application"),
        (["serve", "plain:number"], "number in plain is no ASGI application"),
        (["check", "chatroom_lib.rooms.v4:Room"], "a room of another kind is path/to/file.py:NAME"),
        (["check", "broken:app"], "broken cannot be imported: ZeroDivisionError"),
        (
            ["check", "lacking:app"],
            "lacking cannot be imported: ModuleNotFoundError: No module named 'no_such",
        ),
        (["check", "plain:app"], "plain:app lets nobody in at /ws"),
        (["check", "plain.py:app"], "plain.py:app lets nobody in at /ws"),
        (["check", "v1", "--path", "/ws"], "'v1' names no ASGI application"),
        (["check", "plain:app", "--path", "chat"], "begins with a slash"),
    ],
)
def test_what_cannot_be_tried_is_told_in_one_line(module, command, why):
    module("plain", PLAIN)
    module("broken", "1 / 0")
    module("lacking", "import no_such_package")
    result = outcome(command)
    assert result.returncode == 2 and result.stdout == ""
    assert why in result.stderr and result.stderr.startswith("chatroom: ") and result.stderr.count("\n") == 1


# ---------------------------------------------------------------- other wires

OWN_WORDS = """
    from fastapi import FastAPI, WebSocket, WebSocketDisconnect

    app = FastAPI()
    here = {}


    @app.websocket("/ws")
    async def visit(websocket: WebSocket):
        await websocket.accept()
        name = await websocket.receive_text()
        here[websocket] = name
        try:
            while True:
                said = await websocket.receive_text()
                for other in list(here):
                    await other.send_text(f"{name} says: {said}")
        except WebSocketDisconnect:
            del here[websocket]


    @app.websocket("/json")
    async def visit_in_json(websocket: WebSocket):
        await websocket.accept()
        here[websocket] = ""
        try:
            while True:
                said = await websocket.receive_json()
                for other in list(here):
                    await other.send_json({"from": said["user"], "body": said["msg"].upper(), "kind": "chat"})
        except WebSocketDisconnect:
            del here[websocket]
"""
PAT = talker("Pat", texts=("hi", "ok", "anyone?"), every=0.6)
TYPED = Scenario([talker("Ann", says=3), PAT, listener("Bob"), frozen("Dan")], duration=30)
IN_TEXT = {"wire": "text", "hello": "{name}"}
IN_JSON = {"path": "/json", "fields": {"name": "user", "text": "msg"}}


@pytest.fixture
def own_words(tmp_path):
    needs("fastapi")
    (tmp_path / "own_words.py").write_text(textwrap.dedent(OWN_WORDS))
    return f"{tmp_path}/own_words.py:app"


@pytest.mark.parametrize("speech", [IN_TEXT, IN_JSON], ids=["text", "json"])
def test_an_application_may_put_what_people_say_into_words_of_its_own(own_words, speech):
    trace = simulate(asgi(own_words, **speech), TYPED, seed=1)
    assert trace.heard("Bob") == trace.heard("Ann") != []
    assert sorted(trace.heard("Bob")) == ["Ann 1", "Ann 2", "Ann 3", "Pat anyone?", "Pat hi", "Pat ok"]
    assert trace.of("accepted", who="Pat")[-1].message == "Pat anyone?"
    assert judge(trace)["delivery"].kept
    assert trace.digest() == simulate(asgi(own_words, **speech), TYPED, seed=1).digest()


def test_without_that_its_own_words_are_no_messages(own_words):
    verdict = judge(simulate(asgi(own_words), TYPED, seed=1))["delivery"]
    assert verdict.kept is False and "says" in verdict.evidence


@in_a_loop
async def test_it_is_so_on_real_sockets_too(own_words):
    trace = await live(asgi(own_words, **IN_TEXT), TYPED.lasting(3.0))
    assert sorted(trace.heard("Ann"))[:3] == ["Ann 1", "Ann 2", "Ann 3"]
    assert {*trace.heard("Bob")} & {*trace.heard("Ann")}  # he may come late


def test_the_wire_of_an_application_is_checked_on_the_command_line(own_words):
    told = outcome(["check", own_words, "--path", "/ws", "--wire", "text", "--hello", "{name}", "--seeds", 1, "--json"])
    assert json.loads(told.stdout)["guarantees"]["at-most-once"]["kept"] == 1
    told = outcome(["check", own_words, "--path", "/ws", "--wire", "socketio"])
    assert told.returncode == 2 and "json, perhaps with other fields, or text, not 'socketio'" in told.stderr
