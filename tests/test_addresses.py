"""A port that is free stays free until a server is started there."""

import contextlib
import errno
import socket
from pathlib import Path

import pytest

from chatroom_lib.runtime import addresses
from chatroom_lib.runtime.addresses import free_port

GIVEN = Path("/proc/sys/net/ipv4/ip_local_port_range")  # of Linux


def test_a_free_port_is_none_that_the_system_gives_to_somebody_else_meanwhile():
    if GIVEN.exists() and int(GIVEN.read_text().split()[0]) < addresses.NEVER_GIVEN.stop:
        pytest.skip("this machine is set to give such ports, too")
    ports = {free_port() for _ in range(20)}
    with contextlib.ExitStack() as kept:
        given = [kept.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(20)]
        assert max(ports) < min(each.getsockname()[1] for each in given)
    assert len(ports) > 15


def test_that_no_port_is_free_is_an_error(monkeypatch):
    def taken(address):
        raise OSError(errno.EADDRINUSE, "Address already in use")

    monkeypatch.setattr(addresses.socket, "create_server", taken)
    with pytest.raises(OSError, match="no free port found from 20000 to 32000"):
        free_port()
