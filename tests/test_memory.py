"""What a room holds is found wherever it keeps it."""

import asyncio
import functools
from collections import deque
from dataclasses import dataclass
from functools import partial

import pytest

from chatroom_lib import Message, Scenario, frozen, listener, simulate, slow_reader, talker
from chatroom_lib.instrumentation.memory import LONG, count_texts, reachable
from chatroom_lib.instrumentation.room_globals import is_rooms_own
from chatroom_lib.rooms import v3_1


def texts_in(roots) -> int:
    return count_texts(reachable(roots))


def long_text(number: int) -> str:
    return f"{number} ".ljust(LONG, ".")


def in_a_closure(text):
    return lambda: text


async def waiting_with(text):
    await asyncio.sleep(0)
    return text


@pytest.mark.parametrize(
    "keep",
    [
        list, tuple, set, frozenset, deque, dict.fromkeys, iter, enumerate,
        lambda texts: [Message("Ann", text) for text in texts],
        lambda texts: {number: {"text": text} for number, text in enumerate(texts)},
        lambda texts: [text.encode() for text in texts],
        lambda texts: [bytearray(text.encode()) for text in texts],
        lambda texts: [partial(print, text) for text in texts],
        lambda texts: [in_a_closure(text) for text in texts],
        lambda texts: [lambda text=text: text for text in texts],
        lambda texts: (text for text in texts),
    ],
    ids=range(16),
)  # fmt: skip
def test_texts_are_found_in(keep):
    assert texts_in([keep([long_text(number) for number in range(7)])]) == 7


def test_texts_are_found_in_tasks_that_stand_still_and_in_queues():
    async def main():
        queue = asyncio.Queue()
        for number in range(3):
            queue.put_nowait(long_text(number))
        tasks = [asyncio.ensure_future(waiting_with(long_text(number))) for number in range(3, 5)]
        found = texts_in([queue, *(task.get_coro() for task in tasks)])
        await asyncio.gather(*tasks)
        return found

    assert asyncio.run(main()) == 5


def test_a_text_that_is_kept_twice_counts_once_and_short_ones_do_not_count():
    text = long_text(1)
    assert texts_in([[text, text], {"again": text}, "x" * (LONG - 1)]) == 1


def test_a_circle_has_an_end():
    circle = [long_text(1)]
    circle.append(circle)
    assert texts_in([circle]) == 1


def test_what_is_loaded_is_not_held():
    assert texts_in([asyncio, Message, reachable, asyncio.Queue.put]) == 0


BOOKS, OF_CLASS = [], []


def archive(text):
    note_down(text)


def note_down(text):
    (lambda: BOOKS.append(text))()


def traced(function):
    @functools.wraps(function)
    def wrapper(*arguments):
        return function(*arguments)

    return wrapper


@traced
def archive_traced(text):
    BOOKS.append(text)


class Archive:
    kept = OF_CLASS

    def note_down(self, text):
        self.kept.append(text)


class ByHelpers(v3_1.Room):
    keep = staticmethod(archive)

    def broadcast(self, message):
        super().broadcast(message)
        self.keep(message.content)


class ByDecorated(ByHelpers):
    keep = staticmethod(archive_traced)


class ByAnObject(ByHelpers):
    def __init__(self):
        super().__init__()
        self.archive = Archive()

    def keep(self, text):
        self.archive.note_down(text)


class ByNobody(ByHelpers):
    def keep(self, text):
        pass


@pytest.mark.parametrize("room, found", [(ByHelpers, True), (ByDecorated, True), (ByAnObject, True), (ByNobody, False)])
def test_what_helper_functions_and_objects_keep_in_globals_and_class_attributes_is_found(room, found):
    BOOKS.clear()
    OF_CLASS.clear()
    people = [talker("Ann", says=60, every=0.1, size=2000), listener("Cy"), slow_reader("Bob")]
    messages = simulate(room, Scenario(people, duration=60)).memory[-1].messages
    assert (messages >= 60) is found


def test_only_the_rooms_own_classes_are_followed():
    @dataclass
    class Own:
        text: str

    assert is_rooms_own(Own) and is_rooms_own(ByHelpers)
    assert not any(map(is_rooms_own, (Message, type(simulate("v1", Scenario([listener("Ann")]))), asyncio.Queue, dict)))


def test_a_run_in_which_somebody_does_not_read_is_weighed():
    people = [talker("Ann", says=60, every=0.1, size=2000), listener("Cy"), frozen("Bob")]
    trace = simulate("v1.1", Scenario(people, duration=60))
    last = trace.memory[-1]
    assert last.accepted == 60 and last.time == trace.duration
    assert last.messages > 50 and last.tasks > 50 and last.buffered >= 2000
    assert not simulate("v1.1", Scenario(people[:2])).memory
