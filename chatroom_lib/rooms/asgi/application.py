"""What makes rooms of an ASGI application, each with an application of its own."""

import os
from collections.abc import Callable, Mapping
from functools import partial

from chatroom_lib.rooms.asgi.copies import loader_of
from chatroom_lib.rooms.asgi.imports import load_anew
from chatroom_lib.rooms.asgi.kinds import is_application, make, name_of
from chatroom_lib.rooms.asgi.room import App, AsgiRoom
from chatroom_lib.rooms.asgi.routes import require_route
from chatroom_lib.rooms.requirements import RoomError

PATH = "/ws"
WIRES = ("json", "text")
prepared: set[str] = set()  # the names of applications that have been made in this process


class Application:
    """What makes rooms of an ASGI application, each with an application of its own."""

    def __init__(self, load: Callable[[], object], path: str, name: str, speech: dict):
        self.load, self.path, self.__name__, self.speech = load, path, name, speech

    def prepare(self) -> None:
        """Import what it needs, its framework above all, before time is virtual."""
        if self.__name__ not in prepared:
            self.load()
            prepared.add(self.__name__)

    def __call__(self) -> AsgiRoom:
        app = self.load()
        require_route(app, self.path, self.__name__)
        return AsgiRoom(app, self.path, self.__name__, self.speech)

    def __repr__(self):
        return f"asgi({self.__name__}, {self.path!r})"


def asgi(
    app: App | str | Callable[[], App],
    path: str = PATH,
    *,
    wire: str = "json",
    fields: Mapping[str, str] | None = None,
    hello: str | None = None,
) -> Application:
    """What makes rooms of an ASGI application: `simulate`, `live`, `serve` and `check` take it where they take a class.

    `app`: the application; or "module:app" or "path/to/file.py:app", where it is to be imported from; or a function
    without arguments that makes it. `path`: that of its websocket, with a query perhaps, "/ws/{n}?room=1": there {n}
    stands for the number of the connection, 1, 2, 3, and {name} for what its client calls itself.

    `wire`, `fields`, `hello`: how people speak to it, as for `check_server`; unless they are given, as to any room.

    Each run has a new application: of a text, the module and its neighbours are imported anew; of an object, each run
    gets a copy, with the globals that its code uses, as they are now (or, if it cannot be copied and is in a module,
    that is imported anew); a function is called.
    Raises RoomError for what is no application, and for one that cannot be copied.
    """
    if not isinstance(path, str) or not path.startswith("/"):
        raise RoomError(f"the path of a websocket begins with a slash, as in {PATH!r}; {path!r:.80} does not")
    if wire not in WIRES or (wire == "text" and fields):
        raise RoomError(f"the wire of an application is json, perhaps with other fields, or text, not {wire!r}")
    given = {"wire": wire, "fields": fields, "hello": hello}
    speech = given if given != {"wire": "json", "fields": None, "hello": None} else {}
    if isinstance(app, str):
        return Application(partial(load_anew, app, os.getcwd()), path, app, speech)
    name = name_of(app)
    load = loader_of(app, name) if is_application(app) else partial(make, app, name)
    return Application(load, path, name, speech)


def names_application(spec: str) -> bool:
    """Is it "module:app", and no file?"""
    module, colon, name = spec.partition(":")
    return (
        bool(colon)
        and not module.endswith(".py")
        and all(part.isidentifier() for part in [*module.split("."), *name.split(".")])
    )
