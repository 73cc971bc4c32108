"""Which addresses lead to this machine and to nobody else's."""

import contextlib
import socket
from ipaddress import ip_address
from random import SystemRandom

# Ports that no system gives of its own accord, to who connects or asks for any: Linux does so from 32768 on.
NEVER_GIVEN = range(20_000, 32_000)


def is_loopback(host: str) -> bool:
    """Is it "localhost" or a loopback address, such as 127.0.0.1 or ::1? Other names are not looked up."""
    try:
        return host.lower() == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def free_port() -> int:
    """One at which nothing listens on this machine. It stays free until a server is started there, or started again,
    unless somebody chooses it: the system gives it to nobody. Raises OSError if a hundred of them are taken."""
    for port in SystemRandom().sample(NEVER_GIVEN, 100):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise OSError(f"no free port found from {NEVER_GIVEN.start} to {NEVER_GIVEN.stop}")
