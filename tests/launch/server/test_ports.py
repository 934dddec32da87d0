"""Which port a server gets."""

import socket

import pytest

from sama_core.launch.progress import LaunchError
from sama_core.launch.server.ports import check_port, claim_port, free_port


def test_ports():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LaunchError, match=rf"^port {port}: got not usable .*--port"):
            check_port(port, "127.0.0.1")
    check_port(free_port(), "127.0.0.1")
    with pytest.raises(LaunchError, match="port 70000"):
        check_port(70000, "127.0.0.1")


def test_a_claimed_port_is_one_commands_alone(places):
    port = free_port()
    with claim_port(port, "127.0.0.1", places), pytest.raises(LaunchError, match="another run"):
        claim_port(port, "127.0.0.1", places).__enter__()
    with claim_port(port, "127.0.0.1", places):
        pass
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LaunchError, match=f"port {port}: got not usable"):
            claim_port(port, "127.0.0.1", places).__enter__()
