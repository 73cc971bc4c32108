"""One thread with an event loop of its own, where servers and clients run.

A server on the kernel's own loop stands still whenever a cell computes. On this thread it goes on.
"""

import asyncio
import threading
from collections.abc import Awaitable, Coroutine

from chatroom_lib.observe import task_factory

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def background_loop() -> asyncio.AbstractEventLoop:
    """The loop of the background thread, started when it is first asked for."""
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            _loop.set_task_factory(task_factory)
            threading.Thread(target=_loop.run_forever, name="chatroom_lib", daemon=True).start()
        return _loop


def hand_over(coroutine: Coroutine, loop: asyncio.AbstractEventLoop | None = None) -> Awaitable:
    """Run `coroutine` on `loop` (the background one, unless given), from whichever loop the caller is on.

    Await what this returns. Cancelling that, as interrupting a cell does, cancels the coroutine.
    """
    loop = loop or background_loop()
    if loop is asyncio.get_running_loop():
        return coroutine
    return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))


def run(coroutine: Coroutine):
    """Run `coroutine` on the background loop, wait for it, and return its result: for scripts and for cells."""
    loop = background_loop()
    try:
        if asyncio.get_running_loop() is loop:
            coroutine.close()
            raise RuntimeError("run() would wait for its own thread; use await here")
    except RuntimeError as error:
        if "await" in str(error):
            raise
    future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()  # an interrupted cell leaves nothing running
        raise
