"""Three tools of Go that the article's code uses and asyncio lacks: the unbuffered channel, `select`, and the
read-write lock.

asyncio's own `Queue` is Go's *buffered* channel. It cannot replace the unbuffered one, where a sender waits until its
value is taken: that wait is what lets two tasks block each other. `trio.open_memory_channel(0)` and
`anyio.create_memory_object_stream(0)` are the same rendezvous; neither library has a `select`.

Every channel operation yields to the event loop once, so a hub that always finds a value still lets the writers run.
(Go needs no such rule: its goroutines run in parallel.)
"""

import asyncio
import random
from collections import deque
from contextlib import asynccontextmanager


class Channel:
    """A rendezvous: `put` returns once its value has been taken, `get` once it has taken one.

    The value stays with its putter until a getter runs and takes it. A put or a get that is cancelled before that has
    put or taken nothing; a put that is cancelled just after it has put its value all the same.
    """

    def __init__(self):
        self.putters = deque()  # (value, future: done once the value is taken)
        self.getters = []  # futures: done once there may be a value

    async def put(self, value) -> None:
        taken = asyncio.get_running_loop().create_future()
        self.putters.append((value, taken))
        for getter in self.getters:  # all of them: the first to run takes the value, the others wait again
            if not getter.done():
                getter.set_result(None)
        try:
            await taken
        except asyncio.CancelledError:
            if taken.cancelled():
                self.forget(taken)
            raise

    def forget(self, cancelled) -> None:
        self.putters = deque((value, taken) for value, taken in self.putters if taken is not cancelled)

    async def get(self):
        _, value = await select(self)
        return value

    def ready(self) -> bool:
        """Is a value waiting to be taken?"""
        while self.putters and self.putters[0][1].done():  # a put that was cancelled
            self.putters.popleft()
        return bool(self.putters)

    def take(self):
        """The value that has waited longest. Only after `ready()` was true."""
        value, taken = self.putters.popleft()
        taken.set_result(None)
        return value


async def select(*channels: Channel):
    """Wait until one of `channels` has a value; returns (channel, value).

    If several have one, it takes one at random, as in Go (the Go specification, "Select statements"): by the event
    loop's own `random`, if it has one as the simulation's has, so that the seed decides the race.
    """
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    while not (ready := [channel for channel in channels if channel.ready()]):
        woken = loop.create_future()
        for channel in channels:
            channel.getters.append(woken)
        try:
            await woken
        finally:
            for channel in channels:
                channel.getters.remove(woken)
    channel = getattr(loop, "random", random).choice(ready)
    return channel, channel.take()


class RWLock:
    """Go's `sync.RWMutex`: any number of readers, or one writer.

    As in Go, a waiting writer keeps new readers out (or it might wait for ever), and a reader cannot become a writer:
    it would wait until all readers have left, itself among them.
    """

    def __init__(self):
        self.readers = 0
        self.writing = False
        self.waiting_readers = deque()  # futures: done once the lock is granted
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
            raise RuntimeError("released by a reader, but no reader holds this lock")
        self.readers -= 1
        self.admit()

    def release_write(self) -> None:
        if not self.writing:
            raise RuntimeError("released by a writer, but no writer holds this lock")
        self.writing = False
        self.admit_readers()  # all that wait now, before the next writer
        self.admit()

    async def wait(self, queue: deque, release) -> None:
        granted = asyncio.get_running_loop().create_future()
        queue.append(granted)
        try:
            await granted
        except asyncio.CancelledError:
            if not granted.cancelled():  # granted and cancelled in one iteration: pass it on
                release()
            elif granted in queue:
                queue.remove(granted)
                self.admit()  # the readers that waited behind a writer that has given up
            raise

    def admit(self) -> None:
        """Grant the lock to the next writer if it is free, or to all waiting readers if no writer waits."""
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
    """Remove and return the first future that is not done (cancelled); None if there is none."""
    while futures:
        future = futures.popleft()
        if not future.done():
            return future
    return None
