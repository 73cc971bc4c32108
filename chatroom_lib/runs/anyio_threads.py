"""Threads of anyio in a simulated run: FastAPI, Starlette and Litestar call what is not async in them.

anyio has threads of its own, which answer whenever they are done; which step of the room comes before would be chance.
So here its calls go the way of `asyncio.to_thread` (executor_calls.py): the seed decides how long each takes.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextvars import copy_context
from functools import partial

from chatroom_lib.runs.virtual_time import here

WORKERS = 40  # as many calls at once as anyio makes, unless a limiter says less


@contextlib.contextmanager
def calls_of_anyio() -> Iterator[None]:
    """If anyio is loaded, and is as we know it, its calls of a simulated run are made by an executor inside."""
    backend = backend_of_anyio()
    if not backend:
        yield
        return
    real = vars(backend.AsyncIOBackend)["run_sync_in_worker_thread"]
    backend.AsyncIOBackend.run_sync_in_worker_thread = classmethod(partial(call_in_thread, backend, real.__func__))
    try:
        yield
    finally:
        backend.AsyncIOBackend.run_sync_in_worker_thread = real


def backend_of_anyio():
    if "anyio" not in sys.modules:
        return None
    try:
        from anyio._backends import _asyncio as backend
        from anyio._core._eventloop import claim_worker_thread, set_current_async_library, threadlocals  # noqa: F401
    except ImportError:
        return None
    return backend if hasattr(backend.AsyncIOBackend, "run_sync_in_worker_thread") else None


async def call_in_thread(
    backend,
    real: Callable,
    cls: type,
    function: Callable,
    arguments: tuple,
    abandon_on_cancel: bool = False,
    limiter=None,
):
    """What anyio's function of that name does, on a thread of an executor."""
    if not (loop := here()):
        return await real(cls, function, arguments, abandon_on_cancel, limiter)
    await cls.checkpoint()
    async with limiter or cls.current_default_thread_limiter():
        with backend.CancelScope(shield=not abandon_on_cancel) as scope:
            outer = scope if abandon_on_cancel or scope._parent_scope is None else scope._parent_scope
            call = partial(call_as_worker, cls, loop, outer, copy_context(), partial(function, *arguments))
            return await loop.calls.make(loop.calls.executor("anyio", WORKERS), call)


def call_as_worker(backend_class: type, loop, scope, context, function: Callable[[], object]) -> object:
    """On the thread: let `anyio.from_thread` find its way back to the loop."""
    from anyio._core._eventloop import claim_worker_thread, set_current_async_library, threadlocals

    context.run(set_current_async_library, None)
    with claim_worker_thread(backend_class, loop):
        threadlocals.current_cancel_scope = scope
        try:
            return context.run(function)
        finally:
            del threadlocals.current_cancel_scope
