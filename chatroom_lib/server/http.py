"""What a server answers over plain HTTP: the page, and who may join."""

from http import HTTPStatus
from importlib.resources import files
from urllib.parse import urlsplit

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

LOOPBACK = ("127.0.0.1", "localhost", "::1")
PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self' ws: wss:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def answer(connection: ServerConnection, request: Request) -> Response | None:
    """For `websockets.serve(process_request=...)`. None lets the WebSocket handshake go on."""
    path = request.path.partition("?")[0]
    if any(len(request.headers.get_all(name)) > 1 for name in ("Host", "Origin", "User-Agent")):
        return connection.respond(HTTPStatus.BAD_REQUEST, "Host, Origin and User-Agent may come once each.\n")
    if path == "/chatroom":
        if origin_allowed(request.headers):
            return None
        return connection.respond(HTTPStatus.FORBIDDEN, "Pages of other sites may not join this room.\n")
    if path != "/":
        return connection.respond(HTTPStatus.NOT_FOUND, "The chat page is at /, the room at /chatroom.\n")
    return page()


def page() -> Response:
    body = files("chatroom_lib.server").joinpath("chat.html").read_bytes()
    headers = {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Length": str(len(body)),
        "Content-Security-Policy": PAGE_POLICY,
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
        "Connection": "close",
    }
    return Response(HTTPStatus.OK, "OK", Headers(headers), body)


def origin_allowed(headers: Headers) -> bool:
    """Is the handshake's Origin allowed? Browsers let any site's page call 127.0.0.1.

    Our own page is, and pages from this machine, files (the article's client is one), and programs that send none.
    """
    origin = headers.get("Origin")
    if origin in (None, "null", "file://"):
        return True
    try:
        parts = urlsplit(origin)
    except ValueError:  # no browser sends such a thing
        return False
    return parts.netloc == headers.get("Host") or parts.hostname in LOOPBACK
