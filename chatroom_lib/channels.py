"""The three tools of Go that the seed builds on and asyncio lacks: the channel without a buffer, `select`,
and the read-write lock.

asyncio's own `Queue` is Go's *buffered* channel. It cannot stand in for the unbuffered one, where a sender waits
until its value is taken: that wait is what lets two tasks block each other.

Every channel operation lets the other tasks run once, as Go's scheduler would. So a hub that finds a value
at every look still leaves the writers their turns.
"""

import asyncio
import random
from collections import deque
from contextlib import asynccontextmanager


class Channel:
    """A rendezvous: `put` returns once somebody has taken the value, `get` once somebody has brought one."""

    def __init__(self):
        self.putters = deque()  # (value, future: done once the value is taken)
        self.getters = deque()  # futures: done once a value is brought

    async def put(self, value) -> None:
        await asyncio.sleep(0)
        if getter := next_waiting(self.getters):
            getter.set_result((self, value))
            return
        taken = asyncio.get_running_loop().create_future()
        self.putters.append((value, taken))
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
    if ready := [channel for channel in channels if channel.ready()]:
        channel = getattr(loop, "random", random).choice(ready)
        return channel, channel.take()
    brought = loop.create_future()
    for channel in channels:
        channel.getters.append(brought)
    try:
        return await brought
    finally:
        for channel in channels:
            if brought in channel.getters:
                channel.getters.remove(brought)


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
        self.readers -= 1
        self.admit_writer()

    def release_write(self) -> None:
        self.writing = False
        self.admit_readers()
        self.admit_writer()

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
                if not self.waiting_writers and not self.writing:
                    self.admit_readers()  # those who stood behind a writer that has given up
            raise

    def admit_readers(self) -> None:
        while reader := next_waiting(self.waiting_readers):
            self.readers += 1
            reader.set_result(None)

    def admit_writer(self) -> None:
        if not self.readers and not self.writing and (writer := next_waiting(self.waiting_writers)):
            self.writing = True
            writer.set_result(None)


def next_waiting(futures: deque):
    """Remove and return the first future that is not done (served elsewhere, or cancelled); None if all are."""
    while futures:
        future = futures.popleft()
        if not future.done():
            return future
    return None
