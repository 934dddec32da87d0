"""Ports of this machine: a free one, and one that no other command gets while its server starts."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from ...errors import needed
from ...folders.file_lock import take_lock
from ..places import Places
from ..progress import LaunchError


def free_port(host: str = "127.0.0.1") -> int:
    """A port that no program listens on now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


@contextmanager
def claim_port(port: int, host: str, places: Places) -> Iterator[None]:
    """Keeps other commands from a port until the context ends: the server that gets it listens
    only after seconds.

    Raises LaunchError if another command has it, or if it cannot be listened on.
    """
    claims = places.runtime / "ports"
    claims.mkdir(parents=True, exist_ok=True)
    with (claims / str(port)).open("a+b") as claim:
        if not take_lock(claim):
            raise _unusable(port, "another run.py starts ComfyUI there")
        check_port(port, host)
        yield


def _unusable(port: int, why: object) -> LaunchError:
    return LaunchError(
        needed(
            f"port {port}",
            f"not usable ({why})",
            "a free port from 1 to 65535",
            "Give another one with --port, or leave --port out.",
        )
    )


def check_port(port: int, host: str) -> None:
    """Raises LaunchError if `port` cannot be listened on."""
    with socket.socket() as probe:
        if os.name != "nt":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise _unusable(port, error) from error
