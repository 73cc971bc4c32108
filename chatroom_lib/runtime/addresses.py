"""Which addresses lead to this machine and to nobody else's."""

import socket
from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Is it "localhost" or a loopback address, such as 127.0.0.1 or ::1? Other names are not looked up."""
    try:
        return host.lower() == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def free_port() -> int:
    """One at which nothing listens on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]
