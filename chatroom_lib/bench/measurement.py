"""One measurement: a server in a process of its own on one core, the load generator in another on another.

    measure("v4", clients=200, in_flight=8)      # a closed load: 8 messages are in flight
    measure("v4", clients=200, rate=100)         # an open load: 100 messages a second, whatever the server does
    measure("v4", clients=1000)                  # the memory of a thousand idle connections

The server runs for as long as its standard input is open, so it ends with this process whatever happens.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace

import psutil

from chatroom_lib.bench.load_generator import Job, Measurement
from chatroom_lib.bench.packages import go_environment, node_environment
from chatroom_lib.bench.targets import Target, find
from chatroom_lib.rooms import RoomSpec, display_name
from chatroom_lib.runtime.console import one_line
from chatroom_lib.runtime.interrupts import interruptible
from chatroom_lib.runtime.measurement_lock import measured_window

TIME_TO_COMPILE = 60.0  # seconds
TIME_TO_START = 20.0  # seconds
TIME_TO_STOP = 2.0  # seconds


class BenchError(RuntimeError):
    """Nothing could be measured. The text says why, in one line."""


def two_cores() -> tuple[int, int]:
    """A core for the server and one for the load; (-1, -1) if processes cannot be pinned or there is only one core."""
    if not hasattr(psutil.Process, "cpu_affinity"):
        return -1, -1
    allowed = sorted(psutil.Process().cpu_affinity())
    return (allowed[0], allowed[-1]) if len(allowed) > 1 else (-1, -1)


@interruptible()
def measure(
    target: Target | RoomSpec,
    clients: int,
    *,
    in_flight: int = 0,
    rate: float = 0.0,
    warm_up: float = 0.5,
    seconds: float = 2.0,
) -> Measurement:
    """Start a server for `target`, put it under load from `clients` connections, and stop it.

    `target` is the name of one of `TARGETS`, a version, "path/to/file.py:NAME", a room class, a function that makes a
    room, or a handler. Its rate limit is off.
    `in_flight`: messages, a closed load. `rate`: messages a second, an open load. Neither: only the memory of idle
    connections is measured. `warm_up` and `seconds`: how long the load lasts before the measured window, and in it.

    Blocks for about a second more than `warm_up` + `seconds`. Raises ValueError for numbers that make no load,
    RoomError if there is no such target, and BenchError if nothing could be measured.
    """
    server_core, load_core = two_cores()
    job = Job("", clients, in_flight, rate, warm_up, seconds, core=load_core)
    with measured_window(), running_server(target, server_core) as (url, pid, protocol):
        return generate_load(replace(job, url=url, pid=pid, protocol=protocol))


def generate_load(job: Job) -> Measurement:
    """Do `job` in a process of its own."""
    command = [sys.executable, "-m", "chatroom_lib.bench.load_generator"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        output, errors = process.communicate(json.dumps(asdict(job)), timeout=60 + job.warm_up + job.seconds)
    except subprocess.TimeoutExpired:
        raise BenchError("the server answered so slowly that the load generator did not end") from None
    finally:
        process.kill()
        process.wait()
    if process.returncode:
        raise BenchError((errors.strip().splitlines() or [f"it ended with code {process.returncode}"])[-1])
    return Measurement(**json.loads(output))


# ---------------------------------------------------------------- the server's process


@contextmanager
def running_server(target: Target | RoomSpec, core: int) -> Iterator[tuple[str, int, str]]:
    """The URL, the process id and the protocol of a server that runs until the context ends, on `core` (-1: any)."""
    with tempfile.TemporaryDirectory(prefix="chatroom-bench-") as folder:
        if isinstance(target, str):
            target = find(target)
        if not isinstance(target, Target):
            target = pickled(target, f"{folder}/room")
        if target.command[0].endswith(".go"):
            target = compiled(target, folder)
        # Files and no pipes, so that no server waits because nobody reads what it says. It shares our place in them,
        # so it must append.
        with open(f"{folder}/output", "a+b") as output, open(f"{folder}/errors", "a+b") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "chatroom_lib.bench.server_process", str(core), *target.command],
                stdin=subprocess.PIPE, stdout=output, stderr=errors,
                env={**node_environment(), "TMPDIR": folder}, start_new_session=True,  # a room may keep a file there
            )  # fmt: skip
            try:
                yield f"{address(process, output)}{target.path}", process.pid, target.protocol
            except BenchError as error:
                raise BenchError(" ".join([str(error), *last_words(process, errors)])) from None
            finally:
                stop(process)


def pickled(room: Callable, path: str) -> Target:
    """A target for a room of the calling notebook or script, which is written to `path`."""
    import cloudpickle

    with open(path, "wb") as file:
        cloudpickle.dump(room, file)
    return Target(display_name(room), ("pickle", path))


def compiled(target: Target, folder: str) -> Target:
    """The target for which a program in Go is compiled, in `folder`. Raises BenchError if it cannot be."""
    program, source = f"{folder}/program", target.command[0]
    command = ["go", "build", "-o", program, source]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=TIME_TO_COMPILE, env=go_environment(folder)
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"{os.path.basename(source)} was not compiled: {one_line(str(error))}") from None
    if answer.returncode:
        raise BenchError(f"{os.path.basename(source)} does not compile: {one_line(answer.stderr)}")
    return replace(target, command=("program", program))


def address(process: subprocess.Popen, output) -> str:
    """Wait for the line in the file `output` in which the server prints its URL. Raises BenchError if there is none."""
    latest = time.monotonic() + TIME_TO_START
    running = True
    while running and time.monotonic() < latest:
        running = process.poll() is None
        output.seek(0)
        if line := re.search(rb" at (ws://\S+)\n", output.read()):
            return line[1].decode(errors="replace")
        time.sleep(0.01)
    raise BenchError("the server did not start")


def last_words(process: subprocess.Popen, errors) -> list[str]:
    """Whether a server has ended, and the last line that it has written to the file `errors`, in brackets."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(0.2)  # connections break a moment before a process ends
    errors.seek(0)
    lines = errors.read().decode(errors="replace").strip().splitlines()
    code = [] if process.returncode is None else [f"exit code {process.returncode}"]
    words = ": ".join([*code, *map(one_line, lines[-1:])])
    return [f"({words})"] if words else []


def stop(process: subprocess.Popen) -> None:
    with suppress(OSError):
        process.stdin.close()  # ends the server
    try:
        process.wait(TIME_TO_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
