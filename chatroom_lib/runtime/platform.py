"""What the platform has, in this one file: in a browser Python (Pyodide) has one thread, whose event loop always runs,
and no processes, signals or sockets."""

import sys

IN_A_BROWSER = sys.platform == "emscripten"
HAS_THREADS = HAS_PROCESSES = HAS_SOCKETS = not IN_A_BROWSER


class NotHere(RuntimeError):
    """What was asked for needs what this platform does not have. The text says what, and what to do instead."""


def require_sockets(what: str) -> None:
    """Raises NotHere where there are none. `what`: is asked for, "serve()"."""
    if not HAS_SOCKETS:
        why = "needs sockets and threads, which a browser does not have"
        raise NotHere(f"{what} {why}: simulate() runs a room there, in virtual time")


def require_threads() -> None:
    """Raises NotHere where no room can start one."""
    if not HAS_THREADS:
        raise NotHere("a browser has no threads to start: asyncio.to_thread() and loop.run_in_executor() work there")


class Absent:
    """Stands for what cannot be imported here, so that a line which imports it with other names does not fail. Whatever
    is done with it raises NotHere."""

    def __init__(self, name: str, missing: str):
        self.name, self.missing = name, missing

    def __call__(self, *_, **__):
        raise NotHere(
            f"{self.name} needs {self.missing}, which cannot be had in a browser: it needs a Python of your own"
        )

    def __getattr__(self, name: str):
        if name.startswith("_"):  # whoever asks only wants to know what this is
            raise AttributeError(name)
        self()
