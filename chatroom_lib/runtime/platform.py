"""What the platform has, in this one file: in a browser Python (Pyodide) has one thread, whose event loop always runs,
and no processes, signals or sockets."""

import sys

IN_A_BROWSER = sys.platform == "emscripten"
HAS_THREADS = HAS_PROCESSES = HAS_SOCKETS = not IN_A_BROWSER


class NotHere(RuntimeError):
    """What was asked for needs what this platform does not have. The text says what, and what to do instead."""


def require_sockets(what: str) -> None:
    """Raises NotHere where there are no sockets. `what`: is asked for, "serve()"."""
    if not HAS_SOCKETS:
        raise NotHere(
            f"{what} needs sockets, threads or processes, which a browser does not have; "
            "simulate() runs a room there, in virtual time"
        )
