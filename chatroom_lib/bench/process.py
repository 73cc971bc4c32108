"""What each process of a benchmark does first: it keeps to one core, and asks for enough connections."""

import os
import socket

import psutil

try:
    import resource
except ImportError:  # Windows
    resource = None

CONNECTIONS = 10_000  # a system's usual limit, 1,024 or 256 open files, is for other programs


def listen() -> socket.socket:
    """A socket that listens on a free port, whose address has been printed: for the files in `servers/`."""
    # With its protocol named. Of the connections of others asyncio does not know that they are TCP, does not switch
    # Nagle's algorithm off, and every small message may wait 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    print(f"serving at ws://127.0.0.1:{listener.getsockname()[1]}/", flush=True)
    return listener


def prepare(core: int) -> None:
    """Keep this process on `core`, and let it have many connections, where the system can do that."""
    if core >= 0 and hasattr(psutil.Process, "cpu_affinity"):
        psutil.Process().cpu_affinity([core])
    if resource:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY:
            most = CONNECTIONS if hard == resource.RLIM_INFINITY else min(CONNECTIONS, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def end_with_input() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)
