"""What each process of a benchmark does first: pin itself to one core, and allow itself enough connections."""

import os
import socket

import psutil

from chatroom_lib.runtime.descriptors import allow_many_connections


def listen() -> socket.socket:
    """A socket that listens on a free port, and whose address has been printed: for the files in `servers/`."""
    # The protocol is named, so that accepted connections have it. Otherwise asyncio does not know that they are TCP and
    # leaves Nagle's algorithm on, which delays small messages by up to 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    print(f"serving at ws://127.0.0.1:{listener.getsockname()[1]}/", flush=True)
    return listener


def prepare(core: int) -> None:
    """Pin this process to `core` (-1: none), and allow it many open connections, if the system can."""
    if core >= 0 and hasattr(psutil.Process, "cpu_affinity"):
        psutil.Process().cpu_affinity([core])
    allow_many_connections()


def end_with_input() -> None:
    """Exit as soon as standard input is closed, as it is when the process that opened it ends."""
    while os.read(0, 4096):
        pass
    os._exit(0)
