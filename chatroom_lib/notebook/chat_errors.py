"""Error texts for a connection: what went wrong, and what to do."""

import socket
from urllib.parse import urlsplit

from websockets.exceptions import InvalidHandshake, InvalidStatus

from chatroom_lib.notebook.chat_log import shortened


def why_not(error: Exception, url: str, timeout: float) -> str:
    """Why joining `url` failed within `timeout` seconds, and what to do."""
    host = urlsplit(url).netloc
    if isinstance(error, TimeoutError):
        return f"no answer from {host} within {timeout:g} s. Check that the server is running, then join again."
    if isinstance(error, socket.gaierror):
        return f"there is no host {urlsplit(url).hostname}. Check the address {url}."
    if isinstance(error, OSError):
        return f"nobody answers at {host}. Start the server, then join again."
    if isinstance(error, InvalidStatus):
        says = shortened(bytes(error.response.body or b"").decode(errors="replace").strip(), 100)
        return f"the server refused, with HTTP status {error.response.status_code}. {says}".strip()
    if isinstance(error, (InvalidHandshake, EOFError)):
        return f"the server at {host} is not a chat room. Check the address {url}."
    return f"{type(error).__name__}: {shortened(str(error), 200)}"


def why_lost(connection) -> str:
    """Why `connection` has ended, and what to do."""
    reasons = {
        1000: "the room ended the connection. You may join again.",
        1001: "the server has stopped. Start it again, then join again.",
        1006: "the connection broke. Check that the server is running, then join again.",
        1007: "the room did not accept what you sent. You may join again.",
        1009: "a message was too long. You may join again.",
        1011: "something in the room failed. You may join again.",
        1012: "the server is starting anew.",
    }
    code, says = connection.close_code, shortened(connection.close_reason or "", 125)
    reason = reasons.get(code, f"closed with code {code}. You may join again.")
    return f"{reason} The server says: {says}" if says else reason
