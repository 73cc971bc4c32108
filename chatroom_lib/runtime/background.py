"""One thread with an event loop of its own, where servers and clients run.

A server on the kernel's own loop stands still whenever a cell computes. On this thread it goes on.
"""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

from chatroom_lib.runtime.interrupts import interruptible, wake_when_interrupted
from chatroom_lib.runtime.platform import require_sockets

T = TypeVar("T")
_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def background_loop() -> asyncio.AbstractEventLoop:
    """The loop of the background thread, which starts when first asked for and ends with the process."""
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=keep_running, args=[_loop], name="chatroom_lib", daemon=True).start()
        return _loop


def keep_running(loop: asyncio.AbstractEventLoop) -> None:
    keep_buffers()
    while True:
        with contextlib.suppress(SystemExit, KeyboardInterrupt):  # a room that calls sys.exit() ends the loop
            loop.run_forever()


def keep_buffers() -> None:
    """Let this process reuse the memory of large buffers, such as the 256 kB that asyncio takes for each read.

    glibc asks the system for each of them anew, and gives it back, which makes a room in a crowd up to twice as slow,
    until a larger one has been freed. From that it learns that such sizes come again (mallopt(3), "dynamic mmap
    threshold"). A program may have freed one by chance, while it imported something. Elsewhere this does nothing.
    """
    bytearray(1 << 20)


def run_here(coroutine: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` for a server's process, where a room that calls sys.exit() ends its task and not the loop."""
    keep_buffers()
    loop = asyncio.new_event_loop()
    task = loop.create_task(coroutine)
    while not task.done():
        with contextlib.suppress(SystemExit):
            loop.run_until_complete(task)
    return task.result()


def submit(coroutine: Coroutine, loop: asyncio.AbstractEventLoop | None = None) -> Awaitable:
    """Run `coroutine` on `loop` (the background one, unless given), whichever loop the caller is on.

    Await what this returns. Cancelling that, as interrupting a cell does, cancels the coroutine.
    """
    loop = loop or background_loop()
    if loop is asyncio.get_running_loop():
        return coroutine
    wake_when_interrupted(asyncio.get_running_loop())
    return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))


@interruptible()
def run(coroutine: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
    """Run `coroutine` on the background thread, wait for it, and return its result. For scripts, and for cells.

    Raises TimeoutError after `timeout` seconds.
    """
    try:
        require_sockets("run()")
        if threading.current_thread().name == "chatroom_lib":
            raise RuntimeError("run() would wait for the thread it is called on; use await here")
    except RuntimeError:
        coroutine.close()
        raise
    future = asyncio.run_coroutine_threadsafe(coroutine, background_loop())
    try:
        return future.result(timeout)
    except BaseException:
        future.cancel()  # an interrupted cell leaves nothing running
        raise
