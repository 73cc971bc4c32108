"""The modules of an application, imported anew for each run: what an earlier run has left in them is gone."""

import contextlib
import importlib
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from chatroom_lib.rooms.asgi.kinds import is_application, make
from chatroom_lib.rooms.asgi.room import App
from chatroom_lib.rooms.requirements import RoomError
from chatroom_lib.runtime.console import describe

OURS = "chatroom_lib"
INSTALLED = tuple(sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib"))


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
