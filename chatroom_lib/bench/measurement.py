"""One measurement: a server in a process of its own on one core, the load generator in another on another.

    measure("v4", clients=200, in_flight=8)      # closed: 8 messages are under way
    measure("v4", clients=200, rate=100)         # open: 100 messages a second are due, whatever the server does
    measure("v4", clients=1000)                  # the memory of a thousand idle connections
"""

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace

import psutil

from chatroom_lib.bench.load_generator import Job, Measurement
from chatroom_lib.bench.targets import Target, find, node_environment
from chatroom_lib.runtime.interrupts import interruptible
from chatroom_lib.runtime.measurement_lock import measured_window

TIME_TO_START = 20.0  # seconds
TIME_TO_STOP = 2.0


class BenchError(RuntimeError):
    """There is no measurement. The text says why, in one line."""


def cores() -> tuple[int, int]:
    """One core for the server and one for the load, or (-1, -1) where a process cannot be kept on one."""
    if not hasattr(psutil.Process, "cpu_affinity"):
        return -1, -1
    allowed = sorted(psutil.Process().cpu_affinity())
    return (allowed[0], allowed[-1]) if len(allowed) > 1 else (-1, -1)


@interruptible()
def measure(target: "Target | str | Callable", clients: int, **options) -> Measurement:
    """Start a server for `target`, put it under load, and stop it.

    `target` is the name of one (see `TARGETS`), a version, a file and class, or a room class. `options` are the
    fields of a `Job`: `in_flight`, or `rate`, and `warm_up` and `seconds`.
    Raises BenchError, ValueError for a load that cannot be, or RoomError if there is no such target.
    """
    server_core, load_core = cores()
    job = Job("", clients, core=load_core, **options)
    with measured_window(), serving(target, server_core) as (url, pid, protocol):
        return generate(replace(job, url=url, pid=pid, protocol=protocol))


def generate(job: Job) -> Measurement:
    command = [sys.executable, "-m", "chatroom_lib.bench.load_generator"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        answer, errors = process.communicate(json.dumps(asdict(job)), timeout=60 + job.warm_up + job.seconds)
    except subprocess.TimeoutExpired:
        raise BenchError("the load generator did not end") from None
    finally:
        process.kill()
        process.wait()
    if process.returncode:
        raise BenchError((errors.strip().splitlines() or [f"it ended with code {process.returncode}"])[-1])
    return Measurement(**json.loads(answer))


# ---------------------------------------------------------------- the server's process


@contextmanager
def serving(target: "Target | str | Callable", core: int) -> Iterator[tuple[str, int, str]]:
    """The URL, the process id and the protocol of a server that runs for as long as the context."""
    with tempfile.TemporaryDirectory(prefix="chatroom-bench-") as folder:
        if isinstance(target, str):
            target = find(target)
        if not isinstance(target, Target):
            target = pickled(target, f"{folder}/room")
        with open(f"{folder}/errors", "w+b") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "chatroom_lib.bench.server_process", str(core), *target.command],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                env=node_environment(), start_new_session=True,
            )  # fmt: skip
            try:
                yield f"{address(process)}{target.path}", process.pid, target.protocol
            except BenchError as error:
                raise BenchError(f"{error} ({said})" if (said := last_line(errors)) else str(error)) from None
            finally:
                stop(process)


def pickled(room: Callable, path: str) -> Target:
    """A target that serves a room class of the notebook or script that asks."""
    import cloudpickle

    with open(path, "wb") as file:
        cloudpickle.dump(room, file)
    return Target(getattr(room, "__name__", "a room"), ("pickle", path))


def address(process: subprocess.Popen) -> str:
    """Wait for the line in which the server says where it is."""
    latest = time.monotonic() + TIME_TO_START
    line = b""
    while not line.endswith(b"\n") and (left := latest - time.monotonic()) > 0:
        if select.select([process.stdout], [], [], left)[0]:
            if not (data := os.read(process.stdout.fileno(), 4096)):
                break
            line += data
    _, found, url = line.decode().strip().rpartition(" at ws://")
    if not found:
        raise BenchError("the server did not start")
    return f"ws://{url}"


def last_line(file) -> str:
    """What a process that writes to `file` said last."""
    file.seek(0)
    lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def stop(process: subprocess.Popen) -> None:
    with suppress(OSError):
        process.stdin.close()  # which ends it
    try:
        process.wait(TIME_TO_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
