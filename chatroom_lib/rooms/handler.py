"""A plain `async def handler(websocket)`, as the documentation of `websockets` has it: a room of its own."""

import functools
import inspect
from collections.abc import Awaitable, Callable

from websockets.asyncio.server import ServerConnection
from websockets.protocol import State

Handler = Callable[[ServerConnection], Awaitable[None]]


class HandlerRoom:
    """The room around a handler: its members are the open connections whose handler runs.

    Whatever else there is to know, the handler keeps itself, in globals for example. An attribute `server_options` of
    the handler is that of the room.
    """

    def __init__(self, handler: Handler):
        self.handler = handler
        self.connections: dict[ServerConnection, None] = {}  # in the order of their coming
        self.server_options = getattr(handler, "server_options", {})

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        pass

    async def handle(self, connection: ServerConnection) -> None:
        self.connections[connection] = None
        try:
            result = await self.handler(connection)
        finally:
            self.connections.pop(connection, None)
        if hasattr(result, "handle") or is_handler(result):
            name = handler_name(self.handler)
            raise TypeError(f"{name} makes a room, and is taken for a handler since it is async: write def {name}()")

    def members(self) -> list[ServerConnection]:
        return [connection for connection in self.connections if connection.state is State.OPEN]


def is_handler(thing: object) -> bool:
    """Is it a coroutine function, or an object that is called like one?"""
    thing = without_partial(thing)
    if isinstance(thing, type):
        return False
    return inspect.iscoroutinefunction(thing) or makes_handlers(type(thing))


def makes_handlers(kind: type) -> bool:
    """Are the objects of this class called like coroutine functions?"""
    return inspect.iscoroutinefunction(kind.__call__)


def without_partial(thing: object) -> object:
    while isinstance(thing, functools.partial):
        thing = thing.func
    return thing


def handler_name(handler: Handler) -> str:
    handler = without_partial(handler)
    return getattr(handler, "__name__", None) or type(handler).__name__


def what_is_wrong_with(handler: Handler) -> str:
    """Why it cannot be called with a connection, and what to write instead; "" if it can."""
    name = handler_name(handler)
    good = f"async def {name if name.isidentifier() else 'handler'}(websocket)"
    try:
        signature = inspect.signature(handler)
    except ValueError:  # it does not say what it takes
        return ""
    if not (error := refuses(signature, 1)):
        return ""
    if not refuses(signature, 0):
        return f"it is async and takes no argument; a handler is {good}, and a function that makes a room is not async"
    if [*signature.parameters][0] == "self":
        return f"it is a method of a class; use that of an object, as in handler = Chat().{name}"
    if not refuses(signature, 2):
        path = "websocket.request.path"
        return f"it takes two arguments, but websockets passes only one: write {good}, and {path} for the path"
    return f"{error}; a handler is {good}, if need be by functools.partial({name}, ...)"


def refuses(signature: inspect.Signature, count: int) -> str:
    """Why a function cannot be called with so many arguments; "" if it can."""
    try:
        signature.bind(*range(count))
    except TypeError as error:
        return str(error)
    return ""
