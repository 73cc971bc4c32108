"""A copy of an application for each run, with all that its code uses."""

import contextlib
import copyreg
import io
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from types import FunctionType, ModuleType

import cloudpickle

from chatroom_lib.rooms.asgi.imports import home_of, is_readers, load_anew
from chatroom_lib.rooms.asgi.room import App
from chatroom_lib.rooms.requirements import RoomError
from chatroom_lib.runtime.console import describe

NEW_ONES = {type(make()): make for make in (threading.Lock, threading.RLock)}


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
