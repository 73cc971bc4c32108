"""What the stop button does: it sends the kernel a signal, and that must reach whatever a cell waits for.

In a plain cell the signal raises KeyboardInterrupt. In a cell with an `await` ipykernel takes it and cancels the
await, with two gaps: it does not wake the loop that waits (ipykernel issue 881), and nothing stops a call that blocks.
"""

import asyncio
import ctypes
import signal
import socket
import threading
from contextlib import contextmanager

from chatroom_lib.runtime.progress import in_a_notebook

_alarms: dict[asyncio.AbstractEventLoop, tuple[socket.socket, socket.socket]] = {}  # a kernel's loop -> what wakes it


def wake_when_interrupted(loop: asyncio.AbstractEventLoop) -> None:
    """Let a kernel's loop notice at once that its cell is interrupted, and not with the next thing that happens."""
    if loop in _alarms or not reached_by_signals():
        return
    reader, writer = _alarms[loop] = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    earlier = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    if earlier == -1:
        loop.add_reader(reader, reader.recv, 4096)
    else:
        signal.set_wakeup_fd(earlier)  # as where somebody has called loop.add_signal_handler, which wakes it, too


@contextmanager
def interruptible():
    """Around a call that blocks, or as its decorator: let an interrupt raise KeyboardInterrupt there in every cell."""
    if not reached_by_signals():
        yield
        return
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, earlier)


def reached_by_signals() -> bool:
    """Is this the thread of a kernel that interrupts reach?"""
    return in_a_notebook() and threading.current_thread() is threading.main_thread()


def interrupt(thread: threading.Thread) -> None:
    """Raise KeyboardInterrupt in another thread, as soon as it executes Python code."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(KeyboardInterrupt))
