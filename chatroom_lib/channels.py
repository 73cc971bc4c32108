"""The three tools of Go that the article's code uses and asyncio lacks: the channel without a buffer, `select`,
and the read-write lock.

asyncio's own `Queue` is Go's *buffered* channel. It cannot stand in for the unbuffered one, where a sender waits
until its value is taken: that wait is what lets two tasks block each other.

Every channel operation gives up one turn of the event loop. So a hub that finds a value at every look still leaves
the writers their turns. (Go needs no such rule: its tasks run in parallel.)
"""

import asyncio
import random
from collections import deque
from contextlib import asynccontextmanager


class Channel:
    """A rendezvous: `put` returns once somebody has taken the value, `get` once it has taken one.

    The value stays with its putter until a getter, in a turn of its own, takes it. So whoever is cancelled before
    that has put nothing, or taken nothing; and a put that is cancelled right after it has put its value all the same.
    """

    def __init__(self):
        self.putters = deque()  # (value, future: done once the value is taken)
        self.getters = []  # futures: done once there is something to look at

    async def put(self, value) -> None:
        taken = asyncio.get_running_loop().create_future()
        self.putters.append((value, taken))
        for getter in self.getters:  # all of them: the first to look takes the value, the others wait on
            if not getter.done():
                getter.set_result(None)
        await taken

    async def get(self):
        _, value = await select(self)
        return value

    def ready(self) -> bool:
        """Is somebody waiting to put a value?"""
        while self.putters and self.putters[0][1].done():  # a put that was cancelled meanwhile
            self.putters.popleft()
        return bool(self.putters)

    def take(self):
        """The value that has waited longest; only if `ready()`."""
        value, taken = self.putters.popleft()
        taken.set_result(None)
        return value


async def select(*channels: Channel):
    """Wait until one of `channels` has a value; returns (channel, value).

    Where several have one, chance decides, as in Go (the Go specification, "Select statements"). An event loop
    with a `random` of its own, as the simulation's, decides by that, so that a seed decides the race.
    """
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    while not (ready := [channel for channel in channels if channel.ready()]):
        look = loop.create_future()
        for channel in channels:
            channel.getters.append(look)
        try:
            await look
        finally:
            for channel in channels:
                channel.getters.remove(look)
    channel = getattr(loop, "random", random).choice(ready)
    return channel, channel.take()


class RWLock:
    """Go's `sync.RWMutex`: any number of readers, or one writer.

    As in Go, a waiting writer keeps new readers out (or it might wait for ever); and a reader cannot become a
    writer, since it would wait until all readers have left, itself among them.
    """

    def __init__(self):
        self.readers = 0
        self.writing = False
        self.waiting_readers = deque()  # futures: done once the lock is theirs
        self.waiting_writers = deque()

    @asynccontextmanager
    async def read(self):
        await self.acquire_read()
        try:
            yield
        finally:
            self.release_read()

    @asynccontextmanager
    async def write(self):
        await self.acquire_write()
        try:
            yield
        finally:
            self.release_write()

    async def acquire_read(self) -> None:
        if not self.writing and not self.waiting_writers:
            self.readers += 1
        else:
            await self.wait(self.waiting_readers, self.release_read)

    async def acquire_write(self) -> None:
        if not self.writing and not self.readers:
            self.writing = True
        else:
            await self.wait(self.waiting_writers, self.release_write)

    def release_read(self) -> None:
        if not self.readers:
            raise RuntimeError("nobody reads under this lock")
        self.readers -= 1
        self.admit()

    def release_write(self) -> None:
        if not self.writing:
            raise RuntimeError("nobody writes under this lock")
        self.writing = False
        self.admit_readers()  # all who wait by now come in before the next writer
        self.admit()

    async def wait(self, queue: deque, release) -> None:
        granted = asyncio.get_running_loop().create_future()
        queue.append(granted)
        try:
            await granted
        except asyncio.CancelledError:
            if not granted.cancelled():  # the lock came together with the cancellation: pass it on
                release()
            elif granted in queue:
                queue.remove(granted)
                self.admit()  # those who stood behind a writer that has given up
            raise

    def admit(self) -> None:
        """The next writer comes in, if the lock is free; or all waiting readers, if no writer waits any more."""
        if self.writing:
            return
        if not self.readers and (writer := next_waiting(self.waiting_writers)):
            self.writing = True
            writer.set_result(None)
        elif not self.waiting_writers:
            self.admit_readers()

    def admit_readers(self) -> None:
        while reader := next_waiting(self.waiting_readers):
            self.readers += 1
            reader.set_result(None)


def next_waiting(futures: deque):
    """Remove and return the first future that is not done, that is, not cancelled; None if there is none."""
    while futures:
        future = futures.popleft()
        if not future.done():
            return future
    return None
