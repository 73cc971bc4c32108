"""What a room's code keeps outside of its objects: class attributes, and the globals of its modules.

Only what the code names counts. A function that a method calls is followed, too, if it is the room's own, and so on: a
handler with its helper functions keeps its books in globals. So is a function that the room refers to. Packages that
are installed are not followed.
"""

from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType, ModuleType

from chatroom_lib.instrumentation.room_code import is_written_for_the_room


class RoomGlobals:
    """Follows the code of classes and functions, each once."""

    def __init__(self):
        self.seen: set[int] = set()

    def kept_by(self, owners: Iterable[type | FunctionType]) -> list:
        """The values that the code of these classes and functions refers to."""
        kept, ahead = [], [part for owner in owners for part in with_bases(owner)]
        while ahead:
            thing = ahead.pop()
            if id(thing) in self.seen:
                continue
            self.seen.add(id(thing))
            for value in vars(thing).values() if isinstance(thing, type) else named_by(thing):
                functions = functions_in(value)
                ahead += functions
                if isinstance(value, type) and is_rooms_own(value):
                    ahead.append(value)
                elif not functions or isinstance(thing, type):
                    kept.append(value)
        return kept

    def new_among(self, things: list) -> set[type | FunctionType]:
        """The functions among these things, and the classes of these things, that are the room's own and have not been
        followed."""
        kinds = {kind for kind in set(map(type, things)) if id(kind) not in self.seen and is_rooms_own(kind)}
        functions = set().union(*(functions_in(thing) for thing in things if type(thing) is FunctionType))
        return {owner for owner in kinds | functions if id(owner) not in self.seen}


def with_bases(owner: type | FunctionType) -> list:
    return [base for base in owner.__mro__ if base is not object] if isinstance(owner, type) else [owner]


def functions_in(value) -> list[FunctionType]:
    """The room's own functions in a global or an attribute of a class: as they are, or wrapped."""
    if isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    parts = (value.fget, value.fset, value.fdel) if isinstance(value, property) else (value,)
    parts = (getattr(part, "__wrapped__", part) for part in parts)  # by functools.wraps
    return [part for part in parts if isinstance(part, FunctionType) and is_written_for_the_room(file_of(part))]


def file_of(function: FunctionType) -> str:
    file = function.__code__.co_filename
    return function.__globals__.get("__file__", file) if file == "<string>" else file  # made for a dataclass


def is_rooms_own(kind: type) -> bool:
    return any(functions_in(value) for value in vars(kind).values())


def named_by(function: FunctionType) -> Iterator:
    """The globals that a function uses. Of a module of the room's, only what it uses."""
    names, values = names_in(function.__code__), function.__globals__
    for name in sorted(names & set(values)):
        value = values[name]
        if not isinstance(value, ModuleType):
            yield value
        elif is_written_for_the_room(getattr(value, "__file__", None) or "<frozen "):
            yield from (vars(value)[inner] for inner in sorted(names & set(vars(value))))


def names_in(code: CodeType) -> set[str]:
    """The global names, and the attributes, that it uses, also in functions within it."""
    inner = (names_in(constant) for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*inner)
