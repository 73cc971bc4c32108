"""Short texts for what a room's code refers to, to be shown beside it. No code of the room's runs for them."""

import asyncio
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator
from itertools import islice
from types import FunctionType, ModuleType
from weakref import WeakSet

from websockets.asyncio.server import ServerConnection

from chatroom_lib.instrumentation.connections import name_of
from chatroom_lib.instrumentation.names import name_of_client
from chatroom_lib.instrumentation.primitives import KINDS, attributes, is_a
from chatroom_lib.message import Message
from chatroom_lib.runtime.console import excerpt, printable
from chatroom_lib.trace import label

LONGEST = 40  # characters of one text
MOST = 8  # items of a list
DEEPEST = 2  # lists in lists
BRACKETS = {
    **dict.fromkeys((list, deque), "[]"),
    tuple: "()",
    **dict.fromkeys((set, frozenset, WeakSet, dict, defaultdict, OrderedDict, Counter), "{}"),
}


class Texts:
    """`numbers`: hash of a task -> its number."""

    def __init__(self, numbers: dict[int, int]):
        self.numbers = numbers

    def of(self, thing: object, depth: int = 0) -> str | None:
        """Connections by their clients' names, messages as the Trace calls them; None for what cannot be said so."""
        kind = type(thing)
        if kind in (type(None), bool, float):
            return str(thing)
        if kind is int:
            return str(thing) if thing.bit_length() < 100 else "a large number"
        if kind in (str, bytes):
            return of_text(thing)
        if kind in BRACKETS and depth < DEEPEST:
            return self.of_items(thing, depth + 1)
        if is_a(thing, ServerConnection):
            return cut(name_of_client(thing))
        if is_a(thing, Message):
            return label(thing)
        if is_a(thing, asyncio.Task):
            number = self.numbers.get(hash(thing))
            return number and f"task {number}"
        if is_a(thing, BaseException):
            return cut(kind.__name__)
        if is_a(thing, KINDS):
            return name_of_primitive(thing)
        if is_a(thing, (type, ModuleType, FunctionType)):
            return None
        return of_owner(thing)

    def of_items(self, things: Iterable, depth: int) -> str:
        start, end = BRACKETS[type(things)]
        with_values = isinstance(things, dict)
        items = islice(things.items() if with_values else things, MOST + 1)
        texts = [self.of_pair(*item, depth) if with_values else self.of(item, depth) or "…" for item in items]
        if isinstance(things, (set, frozenset, WeakSet)):  # which have no order that means something
            texts.sort()
        return start + ", ".join(texts[:MOST] + ["…"] * (len(texts) > MOST)) + end

    def of_pair(self, key: object, value: object, depth: int) -> str:
        key, value = self.of(key, depth) or "…", self.of(value, depth)
        return key if value in (None, "None") else f"{key}: {value}"

    def of_all(self, named: Iterable[tuple[str, object]]) -> Iterator[tuple[str, str]]:
        for name, thing in named:
            text = self.of(thing)
            if text is not None:
                yield name, text


def name_of_primitive(thing: object) -> str | None:
    """What an observed lock, queue or channel is called."""
    return cut(thing.usage.what) if hasattr(thing, "usage") else None


def of_text(text: str | bytes) -> str:
    """A frame that holds a message is called as that."""
    said = name_of(text)[0] if text[:1] == "{" else "?"
    return f"'{excerpt(text, LONGEST)}'" if said == "?" else said


def of_owner(thing: object) -> str | None:
    """ "Client of Bob": an object that has a connection."""
    for _, part in attributes(thing):
        if is_a(part, ServerConnection):
            return cut(f"{type(thing).__name__} of {name_of_client(part)}")
    return None


def cut(text: str) -> str:
    return printable(text[:LONGEST])
