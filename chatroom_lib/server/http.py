"""What a server answers over plain HTTP: the page, and who may join.

Browsers let the pages of any site call 127.0.0.1, and a site can even let its own name lead there (DNS rebinding). So
the two headers that a page cannot forge decide: Host, what the browser has asked for, and Origin, who asks.
"""

import re
from collections.abc import Awaitable
from html import escape
from http import HTTPStatus
from importlib.resources import files
from urllib.parse import urlsplit

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from chatroom_lib.instrumentation.names import name_of_client, stated_name
from chatroom_lib.instrumentation.tasks import visitor
from chatroom_lib.rooms.asgi.room import AsgiRoom
from chatroom_lib.runtime.addresses import is_loopback

PAGE = files("chatroom_lib.server").joinpath("chat.html").read_bytes()
NO_OTHERS = b'<meta name="other-servers" content="">'
PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self' ws: wss:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
AUTHORITY = re.compile(r"(?:\[([0-9a-f:.]+)]|([0-9a-z._-]+))(?::[0-9]*)?", re.IGNORECASE)  # host:port, and no user@
PAGE_METHODS = ("GET", "HEAD")
# What browsers send for pages opened as files. For sandboxed frames, which every site can make, they send "null", too.
NO_ORIGIN = ("null", "file://")
ALLOW_NULL = "chatroom serve --allow-null-origin, or allow_null_origin=True"
NULL_NOTICE = (
    f"a page opened as a file, or a frame of some other site, was refused. To let all of them in: {ALLOW_NULL}"
)


def answer(server, connection: ServerConnection, request: Request) -> Response | Awaitable[Response | None] | None:
    """For `websockets.serve(process_request=...)`. None lets the WebSocket handshake go on."""
    path = request.path.partition("?")[0]
    if reason := refusal(server, request.headers, path):
        return connection.respond(*reason)
    if path == "/chatroom" and isinstance(server.room, AsgiRoom):
        return let_knock(server, connection, request)
    if path == "/chatroom":
        return ask_room(server, connection, request)
    if request.method in PAGE_METHODS:
        return page(server.others)
    response = connection.respond(HTTPStatus.METHOD_NOT_ALLOWED, "The page can be read, and nothing else: use GET.\n")
    response.headers["Allow"] = ", ".join(PAGE_METHODS)
    return response


def ask_room(server, connection: ServerConnection, request: Request) -> Response | None:
    """What the room says to somebody at the door, if it says anything."""
    ask = getattr(server.room, "process_request", None)
    try:
        response = ask(connection, request) if ask else None
        if not isinstance(response, (Response, type(None))):
            raise TypeError(f"process_request() must return a Response or None, without async, not {response!r:.80}")
        return response
    except Exception as error:
        server.record_error(error)
        return connection.respond(HTTPStatus.INTERNAL_SERVER_ERROR, "The room has failed.\n")


async def let_knock(server, connection: ServerConnection, request: Request) -> Response | None:
    """What a room that takes its time at the door says there."""
    visitor.set(name_of_client(connection))
    try:
        return await server.room.knock(connection, request, stated_name(connection))
    except Exception as error:
        server.record_error(error)
        return connection.respond(HTTPStatus.INTERNAL_SERVER_ERROR, "The room has failed.\n")


def complete(server, connection: ServerConnection, request: Request, response: Response) -> None:
    """For `websockets.serve(process_response=...)`: what all answers have in common, those of `websockets` too."""
    if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
        response.headers["X-Content-Type-Options"] = "nosniff"
    elif isinstance(server.room, AsgiRoom):
        server.room.complete_handshake(connection, response)
    if request.method == "HEAD":
        response.body = b""


def refusal(server, headers: Headers, path: str) -> tuple[HTTPStatus, str] | None:
    """The status and the line of text with which a request is refused; None if it is not."""
    if len(headers.get_all("Host")) != 1 or any(len(headers.get_all(name)) > 1 for name in ("Origin", "User-Agent")):
        return HTTPStatus.BAD_REQUEST, "Host must come once, Origin and User-Agent at most once.\n"
    if server.on_loopback and not names_this_server(server, headers["Host"]):
        return (
            HTTPStatus.FORBIDDEN,
            f"This server has another name: open {server.page}, or start it with --host NAME.\n",
        )
    if path not in ("/", "/chatroom"):
        return HTTPStatus.NOT_FOUND, "The chat page is at /, the room at /chatroom.\n"
    return join_refusal(server, headers) if path == "/chatroom" else None


def join_refusal(server, headers: Headers) -> tuple[HTTPStatus, str] | None:
    origin = headers.get("Origin")
    if origin in NO_ORIGIN and not server.allow_null_origin:
        server.notice(NULL_NOTICE)
        return HTTPStatus.FORBIDDEN, f"Pages opened as files may not join this room. To let them in: {ALLOW_NULL}.\n"
    if origin is None or origin in NO_ORIGIN or origin_allowed(origin, headers["Host"]):
        return None
    if origin.partition("://")[2] in [urlsplit(url).netloc for url in server.others]:
        return None  # a page of one of those goes on here
    return HTTPStatus.FORBIDDEN, "Pages of other sites may not join this room.\n"


def page(others: list[str]) -> Response:
    """The chat page, with the addresses of other servers where it may go on."""
    content = PAGE.replace(NO_OTHERS, NO_OTHERS.replace(b'""', f'"{escape(" ".join(others))}"'.encode()))
    headers = {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Length": str(len(content)),
        "Content-Security-Policy": PAGE_POLICY,
        "Cache-Control": "no-store",
        "Connection": "close",
    }
    return Response(HTTPStatus.OK, "OK", Headers(headers), content)


def names_this_server(server, authority: str) -> bool:
    host = host_in(authority)
    return is_loopback(host) or host == server.host.lower()


def origin_allowed(origin: str, authority: str) -> bool:
    """Is it the page of the server that answers to `authority`, or another one from this machine?"""
    scheme, _, asking = origin.partition("://")
    host = host_in(asking)
    return scheme in ("http", "https") and host != "" and (asking == authority or is_loopback(host))


def host_in(authority: str) -> str:
    """The host in "host:port", in lower case and without brackets; "" if it is not of that form."""
    found = AUTHORITY.fullmatch(authority)
    return (found[1] or found[2]).lower() if found else ""
