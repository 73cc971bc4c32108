"""An ASGI application where a room can stand: `simulate(asgi(app), scenario)`, `serve(asgi("main:app"))`.

FastAPI, Starlette, Litestar and Quart make such applications, and so does `async def app(scope, receive, send)`.
"""

import contextlib
import copyreg
import importlib
import importlib.util
import inspect
import io
import os
import re
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FunctionType, ModuleType

import cloudpickle

from chatroom_lib.rooms.asgi_room import App, AsgiRoom
from chatroom_lib.rooms.handler import handler_name, is_handler, refuses, without_partial
from chatroom_lib.rooms.requirements import RoomError
from chatroom_lib.runtime.console import describe, one_line

PATH = "/ws"
OURS = "chatroom_lib"
INSTALLED = tuple(sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib"))
NEW_ONES = {type(make()): make for make in (threading.Lock, threading.RLock)}
PARAMETER = re.compile(r"(\{[^}]*\}|<[^>]*>)")  # of a route
prepared: set[str] = set()  # the names of applications that have been made in this process


class Application:
    """What makes rooms of an ASGI application, each with an application of its own."""

    def __init__(self, load: Callable[[], object], path: str, name: str):
        self.load, self.path, self.__name__ = load, path, name

    def prepare(self) -> None:
        """Import what it needs, its framework above all, before time is virtual."""
        if self.__name__ not in prepared:
            self.load()
            prepared.add(self.__name__)

    def __call__(self) -> AsgiRoom:
        app = self.load()
        require_route(app, self.path, self.__name__)
        return AsgiRoom(app, self.path, self.__name__)

    def __repr__(self):
        return f"asgi({self.__name__}, {self.path!r})"


def asgi(app: App | str | Callable[[], App], path: str = PATH) -> Application:
    """What makes rooms of an ASGI application: `simulate`, `live`, `serve` and `check` take it where they take a class.

    `app`: the application; or "module:app" or "path/to/file.py:app", where it is to be imported from; or a function
    without arguments that makes it. `path`: that of its websocket, with a query perhaps, "/ws/{n}?room=1": there {n}
    stands for the number of the connection, 1, 2, 3, and {name} for what its client calls itself.

    Each run has a new application: of a text, the module and its neighbours are imported anew; of an object, each run
    gets a copy, with the globals that its code uses, as they are now (or, if it cannot be copied and is in a module,
    that is imported anew); a function is called.
    Raises RoomError for what is no application, and for one that cannot be copied.
    """
    if not isinstance(path, str) or not path.startswith("/"):
        raise RoomError(f"the path of a websocket begins with a slash, as in {PATH!r}; {path!r:.80} does not")
    if isinstance(app, str):
        return Application(partial(load_anew, app, os.getcwd()), path, app)
    name = name_of(app)
    if is_application(app):
        return Application(loader_of(app, name), path, name)
    return Application(partial(make, app, name), path, name)


def names_application(spec: str) -> bool:
    """Is it "module:app", and no file?"""
    module, colon, name = spec.partition(":")
    return (
        bool(colon)
        and not module.endswith(".py")
        and all(part.isidentifier() for part in [*module.split("."), *name.split(".")])
    )


def is_application(thing: object) -> bool:
    """Can it be called with scope, receive and send?"""
    if isinstance(thing, type) and not hasattr(thing, "__await__"):
        return False
    return callable(thing) and takes(thing, 3)


def is_certainly_one(thing: object) -> bool:
    """Is it an application and no handler?"""
    return is_handler(thing) and is_application(thing) and not takes(thing, 1)


def takes(thing: Callable, count: int) -> bool:
    try:
        return not refuses(inspect.signature(thing), count)
    except (TypeError, ValueError):  # it does not say what it takes
        return False


def make(function: object, name: str) -> App:
    """What a function without arguments makes. Raises RoomError unless that is an application."""
    wanted = "an ASGI application takes scope, receive and send, and a function that makes one takes no arguments"
    if isinstance(function, type) or not callable(function) or not takes(function, 0):
        raise RoomError(f"{name} is no ASGI application: {wanted}")
    app = function()
    if inspect.iscoroutine(app):
        app.close()  # or Python would say that nobody has awaited it
    if not is_application(app):
        raise RoomError(f"what {name} makes is no ASGI application, but {one_line(repr(app), 80)}")
    return app


def name_of(app: object) -> str:
    return handler_name(without_partial(app))


# ---------------------------------------------------------------- a new one for each run


def loader_of(app: App, name: str) -> Callable[[], App]:
    """What makes copies of an application, or imports its module anew. Raises RoomError if neither is possible."""
    try:
        return partial(cloudpickle.loads, copied(app, name))
    except RoomError:
        for module_name, module in list(sys.modules.items()):
            if is_readers(module_name, module):
                for attribute in [key for key, value in vars(module).items() if value is app]:
                    return partial(load_anew, f"{module_name}:{attribute}", home_of(module))
        raise


def copied(app: App, name: str) -> bytes:
    """An application and all that its code uses, but for installed packages. Raises RoomError if that is impossible."""
    mine = [module for module_name, module in list(sys.modules.items()) if is_readers(module_name, module)]
    try:
        with by_value(mine):
            data = io.BytesIO()
            Pickler(data).dump(app)
        cloudpickle.loads(data.getvalue())  # some things can be packed, and not unpacked
        return data.getvalue()
    except Exception as error:  # whatever the objects that it refers to may raise
        raise RoomError(
            f"{name} cannot be copied for each run: {describe(error)}; "
            'write asgi("module:app"), or give a function that makes the application'
        ) from error


class Pickler(cloudpickle.Pickler):
    """Also packs locks, as new ones, and objects whose class answers for every attribute, such as Starlette's State:
    while they are unpacked such a class would be asked, in vain and for ever, how to do that."""

    def reducer_override(self, thing):
        kind = type(thing)
        if kind in NEW_ONES:
            return NEW_ONES[kind], ()
        if isinstance(getattr(kind, "__getattr__", None), FunctionType) and is_plain(kind):
            return copyreg.__newobj__, (kind,), vars(thing), None, None, set_attributes
        return super().reducer_override(thing)


def is_plain(kind: type) -> bool:
    """Are its objects nothing but a dictionary of attributes, which nobody packs in a way of their own?"""
    own = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getnewargs__", "__getnewargs_ex__")
    names = {name for base in kind.__mro__ if base is not object for name in vars(base)}
    return not names & {*own, "__slots__"} and kind.__new__ is object.__new__


def set_attributes(thing: object, values: dict) -> None:
    vars(thing).update(values)


@contextlib.contextmanager
def by_value(modules: list[ModuleType]) -> Iterator[None]:
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


def is_readers(name: str, module: ModuleType) -> bool:
    """Is it neither installed nor ours?"""
    place = place_of(module)
    top = name.partition(".")[0]
    return bool(place) and top not in (OURS, "__main__", "__mp_main__") and not place.startswith(INSTALLED)


def home_of(module: ModuleType) -> str:
    """The folder from which it is imported."""
    place = Path(place_of(module))
    return str(place.parents[module.__name__.count(".") + (place.stem == "__init__")])


def place_of(module: ModuleType) -> str:
    with contextlib.suppress(Exception):  # some modules answer in ways of their own
        return os.path.abspath(getattr(module, "__file__", None) or next(iter(module.__path__)))
    return ""


class Imported:
    """The modules of the application that was imported last: as long as it runs they stand in `sys.modules`, and those
    of the same name that were there before are put by."""

    def __init__(self):
        self.folders: tuple[str, ...] = ()
        self.package = ""
        self.known: set[str] = set()  # the names of what was there before
        self.put_by: dict[str, ModuleType] = {}

    @property
    def modules(self) -> dict[str, ModuleType]:
        return {name: module for name, module in list(sys.modules.items()) if self.is_its_own(name, module)}

    def is_its_own(self, name: str, module: ModuleType) -> bool:
        if self.package and name.partition(".")[0] == self.package:
            return True
        return is_readers(name, module) and place_of(module).startswith(self.folders)

    @contextlib.contextmanager
    def anew(self, package: str, *folders: str) -> Iterator[None]:
        """What is imported inside is imported anew if it is of `package`, or in one of these folders."""
        self.forget()
        self.package, self.folders = package, tuple(os.path.join(folder, "") for folder in folders)
        before = self.modules
        self.known = set(before)
        for name in before:
            del sys.modules[name]
        try:
            yield
        finally:
            for name, module in before.items():
                if name in sys.modules:
                    self.put_by[name] = module
                else:
                    sys.modules[name] = module

    def forget(self) -> None:
        """The run is over: the modules that were there before are there again."""
        if not self.folders:
            return
        for name in self.modules:
            if name not in self.known or name in self.put_by:
                del sys.modules[name]
        sys.modules.update(self.put_by)
        self.__init__()


imported = Imported()


def load_anew(spec: str, folder: str) -> App:
    """The application of "module:app", seen from `folder`, or of "path/to/file.py:app". Raises RoomError."""
    where, colon, name = spec.rpartition(":")
    if not (colon and where and name):
        raise RoomError(f"{spec!r} names no ASGI application: write module:app, or path/to/file.py:app")
    module = run_anew(Path(folder, where)) if where.endswith(".py") else import_anew(where, folder)
    try:
        thing = module
        for part in name.split("."):
            thing = getattr(thing, part)
    except AttributeError:
        raise RoomError(f"there is no {name!r} in {where}") from None
    return thing if is_application(thing) else make(thing, f"{name} in {where}")


def import_anew(name: str, folder: str) -> ModuleType:
    if folder not in sys.path:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
    top = name.partition(".")[0]
    try:
        found = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        found = None
    if not found:
        raise RoomError(f"no module {top!r}, seen from {folder}: go to the folder that it is in")
    origin = found.origin if found.has_location else next(iter(found.submodule_search_locations or [folder]))
    home = os.path.dirname(os.path.dirname(origin) if found.submodule_search_locations else origin)
    try:
        with contextlib.redirect_stdout(sys.stderr), imported.anew(top, folder, os.path.abspath(home)):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name + ".").startswith(error.name + "."):
            raise RoomError(f"no module {error.name!r}, seen from {folder}") from None
        raise RoomError(f"{name} cannot be imported: {describe(error)}") from error
    except (Exception, SystemExit) as error:
        raise RoomError(f"{name} cannot be imported: {describe(error)}") from error


def run_anew(path: Path) -> ModuleType:
    from chatroom_lib.rooms.loader import run_file  # which needs this module

    if not path.is_file():
        raise RoomError(f"no file {path}")
    home = str(path.parent.absolute())
    if home not in sys.path:
        sys.path.insert(0, home)
    with imported.anew("", home):
        return run_file(path)


# ---------------------------------------------------------------- its paths


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
