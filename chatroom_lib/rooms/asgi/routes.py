"""The paths at which a framework's application has a websocket, as far as it tells."""

import re

from chatroom_lib.rooms.asgi.room import App
from chatroom_lib.rooms.requirements import RoomError

PARAMETER = re.compile(r"(\{[^}]*\}|<[^>]*>)")  # of a route


def require_route(app: App, path: str, name: str) -> None:
    """Raises RoomError for a framework's application that has no websocket at this path, as far as it tells."""
    if (paths := websocket_paths(app)) is None:
        return
    asked = path.partition("?")[0].replace("{n}", "1").replace("{name}", "Ann")
    if not any(fits(pattern, asked) for pattern in paths):
        there = f"it has {', '.join(paths[:8])}" if paths else "it has none at all"
        raise RoomError(f"{name} has no websocket at {asked}: {there} (--path, or asgi(app, path))")


def websocket_paths(app: App) -> list[str] | None:
    """Those that a FastAPI, Starlette, Litestar or Quart application lists; None: it does not tell for sure."""
    if rules := getattr(getattr(app, "url_map", None), "iter_rules", None):
        return [rule.rule for rule in rules() if getattr(rule, "websocket", False)]
    if isinstance(routes := getattr(app, "routes", None), (list, tuple)):
        return paths_among(routes)
    return None


def paths_among(routes) -> list[str] | None:
    paths = []
    for route in routes:
        kind, inner = type(route).__name__, routes_within(route)
        if "WebSocket" in kind:
            paths.append(route.path)
        elif inner:
            if (below := paths_among(inner)) is None:
                return None
            paths += [(route.path if kind == "Mount" else "") + path for path in below]
        elif not (hasattr(route, "methods") or kind.startswith("HTTP")):
            return None  # something that may hold anything
    return paths


def routes_within(route) -> list:
    """Of a mounted application, or of a router that FastAPI has included."""
    if included := getattr(route, "effective_candidates", None):
        return [getattr(each, "starlette_route", None) or getattr(each, "original_route", each) for each in included()]
    return getattr(route, "routes", None) or []


def fits(pattern: str, path: str) -> bool:
    """Does the path of a route, as "/ws/{room}" or "/ws/<room>", stand for this one?"""
    fixed, *others = PARAMETER.split(pattern)
    whole = re.escape(fixed)
    for parameter, fixed in zip(others[::2], others[1::2]):
        many = parameter.endswith(":path}") or parameter.startswith("<path:")
        whole += (".+" if many else "[^/]+") + re.escape(fixed)
    return re.fullmatch(whole, path) is not None
