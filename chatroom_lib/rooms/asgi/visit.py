"""One websocket connection as an ASGI application sees it: what `receive` and `send` do in uvicorn, between the
application and a connection of `websockets`.

uvicorn's own protocol class (its default, on `websockets`) is the model, message by message, also where the ASGI
specification leaves a choice. Three things differ: a `send` that fills the buffer waits itself, while in uvicorn the
next one does; the end of a connection that its client closes is told when it has ended, one round trip later; and a
second `receive` after the end tells it again.
"""

import asyncio
import contextlib
from http import HTTPStatus
from typing import NoReturn

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Response
from websockets.protocol import State

CLOSE_TIMEOUT = 10.0  # seconds from a close of the application's until the connection is closed without an answer
BY_THE_SERVER = (CloseCode.PROTOCOL_ERROR, CloseCode.INVALID_DATA, CloseCode.MESSAGE_TOO_BIG)  # it has closed itself


class ClientDisconnected(OSError):
    """What `send` raises once the client has gone, as the specification asks for."""


def disconnect(code: int, reason: str | None = None) -> dict:
    return {"type": "websocket.disconnect", "code": code, "reason": reason or ""}


class Visit:
    def __init__(self, connection: ServerConnection, scope: dict):
        self.connection, self.scope = connection, scope
        loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[Response | None] = loop.create_future()  # at the door; None lets the client in
        self.opened: asyncio.Future[None] = loop.create_future()  # the handshake is over, with or without success
        self.accepted: dict | None = None  # the application's websocket.accept
        self.denial: tuple[int, list, bytes] | None = None  # status, headers, body so far
        self.is_over = False  # the application has ended it, or has been told of its end
        self.asked = False  # the application has received websocket.connect
        self.lost = False
        self.end: dict | None = None  # the websocket.disconnect, once it is known
        self.close_sent = False
        self.reading: asyncio.Timeout | None = None
        self.reader = asyncio.Lock()  # held by whoever receives: in uvicorn two may
        self.timer: asyncio.TimerHandle | None = None
        connection.connection_lost_waiter.add_done_callback(self.note_loss)

    # ------------------------------------------------------------ receive

    async def receive(self) -> dict:
        if not self.asked:
            self.asked = True
            return {"type": "websocket.connect"}
        async with self.reader:
            await asyncio.shield(self.opened)
            if not self.end:
                try:
                    async with asyncio.timeout(None) as self.reading:
                        return received(await self.connection.recv())
                except TimeoutError:  # the application has closed meanwhile
                    pass
                except ConnectionClosed:
                    self.end = self.end or self.how_it_ended()
        self.is_over = True
        return self.end

    def how_it_ended(self) -> dict:
        protocol = self.connection.protocol
        if heard := protocol.close_rcvd:
            return disconnect(heard.code, heard.reason)
        if (said := protocol.close_sent) and said.code in BY_THE_SERVER:
            return disconnect(said.code, said.reason)
        return disconnect(CloseCode.NO_STATUS_RCVD)

    def note_loss(self, _) -> None:
        self.lost = True
        if not self.opened.done():
            self.end = self.end or disconnect(CloseCode.ABNORMAL_CLOSURE)
            self.opened.set_result(None)
        self.let_in_or_not(None)
        if self.timer:
            self.timer.cancel()

    # ------------------------------------------------------------ send

    async def send(self, message: dict) -> None:
        kind = message["type"]
        if self.lost:
            self.tell_of_end()
        if self.denial:
            self.deny(message)
        elif not self.answer.done():
            self.answer_at_the_door(message)
        elif self.close_sent:
            raise RuntimeError(f"Unexpected ASGI message {kind!r}, after sending 'websocket.close'.")
        elif kind not in ("websocket.send", "websocket.close"):
            raise RuntimeError(f"Expected ASGI message 'websocket.send' or 'websocket.close', but got {kind!r}.")
        else:
            await asyncio.shield(self.opened)
            await (self.say(message) if kind == "websocket.send" else self.close(message))

    async def say(self, message: dict) -> None:
        data = message.get("text") if message.get("bytes") is None else message["bytes"]
        await self.wait_until_writable()
        if self.connection.state is not State.OPEN:
            self.tell_of_end()
        if data is not None:
            try:
                await self.connection.send(data)
            except ConnectionClosed:
                self.tell_of_end()

    async def wait_until_writable(self) -> None:
        while self.connection.paused and not self.lost:
            with contextlib.suppress(OSError):  # it is lost
                await self.connection.drain()
        if self.lost:
            self.tell_of_end()

    def tell_of_end(self) -> NoReturn:
        self.is_over = True
        raise ClientDisconnected

    async def close(self, message: dict) -> None:
        """Does not wait for the answer."""
        connection, self.is_over = self.connection, True
        await self.wait_until_writable()
        if connection.state is not State.OPEN or self.close_sent:
            return
        code, reason = message.get("code", 1000), message.get("reason") or ""
        connection.protocol.send_close(code, reason)
        connection.send_data()
        self.close_sent, self.end = True, self.end or disconnect(code, reason)
        connection.transport.resume_reading()  # or the answer might wait behind what nobody will read
        self.timer = connection.loop.call_later(CLOSE_TIMEOUT, connection.transport.close)
        if self.reading and self.reader.locked():
            self.reading.reschedule(connection.loop.time())

    # ------------------------------------------------------------ at the door

    def answer_at_the_door(self, message: dict) -> None:
        kind = message["type"]
        if kind == "websocket.accept":
            self.accepted = message
            self.let_in_or_not(None)
        elif kind == "websocket.close":
            self.refuse(self.connection.respond(HTTPStatus.FORBIDDEN, ""))
        elif kind == "websocket.http.response.start":
            if not 100 <= message["status"] < 600:
                raise RuntimeError(f"Invalid HTTP status code '{message['status']}' in response.")
            self.denial = message["status"], [*message.get("headers", [])], b""
        else:
            raise RuntimeError(
                "Expected ASGI message 'websocket.accept', 'websocket.close' or 'websocket.http.response.start', "
                f"but got {kind!r}."
            )

    def deny(self, message: dict) -> None:
        if message["type"] != "websocket.http.response.body" or self.close_sent:
            raise RuntimeError(f"Unexpected ASGI message {message['type']!r} in or after a response.")
        status, headers, body = self.denial
        body += message.get("body", b"")
        self.denial = status, headers, body
        if not message.get("more_body", False):
            self.refuse(Response(status, phrase(status), complete(headers, len(body)), body))

    def refuse(self, response: Response) -> None:
        self.close_sent, self.end = True, disconnect(CloseCode.ABNORMAL_CLOSURE)
        self.let_in_or_not(response)
        if not self.opened.done():
            self.opened.set_result(None)

    def let_in_or_not(self, response: Response | None) -> None:
        if not self.answer.done():
            self.answer.set_result(response)

    def complete_handshake(self, response: Response) -> None:
        """Add to the response of `websockets` what the application has accepted with."""
        for name, value in (self.accepted or {}).get("headers") or ():
            response.headers[name.decode("latin-1")] = value.decode("latin-1")
        if subprotocol := (self.accepted or {}).get("subprotocol"):
            response.headers["Sec-WebSocket-Protocol"] = subprotocol

    def begin(self) -> None:
        """The handshake is over, and the client is in."""
        if not self.opened.done():
            self.opened.set_result(None)


def received(frame: str | bytes) -> dict:
    return {"type": "websocket.receive", "text" if isinstance(frame, str) else "bytes": frame}


def phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def complete(headers: list[tuple[bytes, bytes]], length: int) -> Headers:
    """The headers of a response, with those that it must have."""
    given = Headers([(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers])
    needed = {
        "Connection": "close",
        "Content-Length": str(length),
        "Content-Type": "text/plain; charset=utf-8",
    }
    for name, value in needed.items():
        if name not in given:
            given[name] = value
    return given
