"""The process in which a server of the benchmark runs: on one core, and for as long as its standard input is open.

    python -m chatroom_lib.bench.host CORE serve v4 --unlimited --port 0     a room, as on the command line
    python -m chatroom_lib.bench.host CORE pickle FILE                       a room, from `cloudpickle.dump`
    python -m chatroom_lib.bench.host CORE profile FILE OUTPUT               the same, looked at: see profiling.py
    python -m chatroom_lib.bench.host CORE path/to/server.py                 a server of its own, or one for node (.js)

It prints one line with the address, "serving ... at ws://...". CORE may be -1: any.
"""

import os
import runpy
import socket
import sys
import threading

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


def main(core: str, *command: str) -> None:
    prepare(int(core))
    if command[0].endswith(".js"):
        os.execvp("node", ["node", *command])  # it watches its standard input itself
    if command[0] == "profile":
        from chatroom_lib.bench.profiling import serve_profiled

        return serve_profiled(*command[1:])
    threading.Thread(target=end_with_input, daemon=True).start()
    if command[0] == "serve":
        from chatroom_lib.__main__ import main as chatroom

        chatroom(list(command))
    elif command[0] == "pickle":
        serve_pickled(command[1])
    else:
        runpy.run_path(command[0], run_name="__main__")


def serve_pickled(path: str) -> None:
    import cloudpickle

    from chatroom_lib import rooms
    from chatroom_lib.__main__ import complain
    from chatroom_lib.background import run
    from chatroom_lib.server import serve

    with open(path, "rb") as file:
        room = cloudpickle.load(file)
    print(f"serving at {run(serve(rooms.without_limit(room), on_error=complain)).url}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
