"""What a server passes to `websockets.serve`: the choice of this project, then the room's own, then the caller's."""

import math

from chatroom_lib.message import WIRE


def options_for(room, keepalive: float | None, given: dict) -> dict:
    """The options for `room`. `keepalive`: as for `serve`. `given`: the caller's. Raises ValueError for a keepalive
    that is none."""
    return {**WIRE, **getattr(room, "server_options", {}), **pings(keepalive), **given}


def pings(keepalive: float | None) -> dict:
    """As options of `websockets`: it pings each client at that interval, and allows as long for the answer."""
    if require_keepalive(keepalive) is None:
        return {}  # as the room says
    return {"ping_interval": keepalive or None, "ping_timeout": keepalive or None}


def require_keepalive(keepalive: float | None) -> float | None:
    is_number = isinstance(keepalive, (int, float)) and not isinstance(keepalive, bool)
    if keepalive is None or (is_number and 0 <= keepalive < math.inf):
        return keepalive
    raise ValueError(f"keepalive must be a number of seconds, 0 for no pings, not {keepalive!r}")
