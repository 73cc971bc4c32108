"""The process in which a server of the benchmark runs: on one core, and for as long as its standard input is open.

    python -m chatroom_lib.bench.server_process CORE room v2 '{"delay": 0}'   a version or a file's class, with options
    python -m chatroom_lib.bench.server_process CORE pickle FILE              a room class, from `cloudpickle.dump`
    python -m chatroom_lib.bench.server_process CORE profile FILE OUTPUT      the same, profiled: see profiler.py
    python -m chatroom_lib.bench.server_process CORE path/to/server.py        a program in Python, or for Node (.js)
    python -m chatroom_lib.bench.server_process CORE program FILE             any other program

It prints one line with its URL, "serving ... at ws://...". CORE may be -1: any. A room's rate limit is off.
"""

import asyncio
import json
import os
import runpy
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from functools import partial

from chatroom_lib.bench.process import end_with_input, prepare

SAMPLE_INTERVAL = 0.001  # seconds of CPU time


def main(core: str, command: str, *arguments: str) -> None:
    prepare(int(core))
    if command.endswith(".js"):
        os.execvp("node", ["node", command])  # which watches its standard input itself, like the next
    if command == "program":
        os.execv(arguments[0], arguments)
    if command == "profile":
        return serve_profiled(*arguments)
    threading.Thread(target=end_with_input, daemon=True).start()
    if command == "room":
        serve_room(*arguments)
    elif command == "pickle":
        serve_factory(unpickled(*arguments))
    else:
        runpy.run_path(command, run_name="__main__")


def serve_room(spec: str, options: str) -> None:
    from chatroom_lib.rooms import resolve

    serve_factory(partial(resolve(spec), **json.loads(options)))


def unpickled(path: str) -> Callable:
    import cloudpickle

    with open(path, "rb") as file:
        return cloudpickle.load(file)


def serve_factory(factory: Callable) -> None:
    """Serve a room that `factory` makes, until the process ends. On the main thread, as the command line does."""
    from chatroom_lib.runtime.background import run_here

    run_here(serve_until(factory, asyncio.Event().wait))


def serve_profiled(path: str, output: str) -> None:
    """Serve the room in the file `path`. When standard input ends, write the number of samples of each part of the work
    to the file `output`, as JSON."""
    from chatroom_lib.bench.breakdown import part_of

    samples = Counter()
    signal.signal(signal.SIGPROF, lambda _, frame: samples.update([part_of(frame)]))
    asyncio.run(serve_until(unpickled(path), sample_until_input_ends))
    with open(output, "w") as file:
        json.dump(samples, file)


async def sample_until_input_ends() -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def wait_for_end():
        sys.stdin.read()
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=wait_for_end, daemon=True).start()
    signal.setitimer(signal.ITIMER_PROF, SAMPLE_INTERVAL, SAMPLE_INTERVAL)
    await ended.wait()
    signal.setitimer(signal.ITIMER_PROF, 0)


async def serve_until(factory: Callable, ended: Callable) -> None:
    """Serve a room that `factory` makes, for as long as `ended()` waits."""
    from chatroom_lib.rooms import create
    from chatroom_lib.runtime.console import complain
    from chatroom_lib.server.server import Server

    server = await Server(create(factory, unlimited=True), on_error=complain).start()
    print(f"serving at {server.url}", flush=True)
    await ended()
    await server.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
