"""Ports of this machine: a free one, and one that no other command gets while its server starts."""

import getpass
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from ...errors import needed
from ...folders.file_lock import take_lock
from ..progress import LaunchError

LOCAL, EVERYWHERE = "127.0.0.1", "0.0.0.0"


def free_port(host: str = LOCAL) -> int:
    """A port that no program listens on now, at `host` or at this machine's own address."""
    while True:
        with socket.socket() as probe:
            probe.bind((host, 0))
            port = probe.getsockname()[1]
        with suppress(LaunchError):
            check_port(port, host)
            return port


@contextmanager
def claim_port(port: int, host: str) -> Iterator[None]:
    """Keeps other commands of this user, from whatever copy of the pack, from a port until the
    context ends: the server that gets it listens only after seconds.

    Raises LaunchError if another command has it, or if it cannot be listened on.
    """
    with ExitStack() as over:
        with suppress(OSError):  # where it cannot be written, ComfyUI itself says that it is taken
            claim = over.enter_context(_open_claim(port))
            if not take_lock(claim):
                raise _unusable(port, "another run.py starts ComfyUI there")
        check_port(port, host)
        yield


def _open_claim(port: int) -> IO[bytes]:
    """A file that stands for a port, for one user on one machine: a home may be that of several
    machines. Raises OSError.
    """
    user = str(os.getuid()) if hasattr(os, "getuid") else getpass.getuser()
    folder = Path(tempfile.gettempdir()) / f"sama-ports-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return (folder / str(port)).open("a+b")


def _unusable(port: int, why: object) -> LaunchError:
    return LaunchError(
        needed(
            f"port {port}",
            f"not usable ({why})",
            "a free port from 1 to 65535, or 0 for any",
            "Give another one with --port, or leave --port out.",
        )
    )


def check_port(port: int, host: str) -> None:
    """Raises LaunchError if `port` cannot be listened on, at `host` or at this machine's own
    address: there a browser on this machine would find another program.
    """
    for address in dict.fromkeys((host, LOCAL)):
        with socket.socket() as probe:
            # Windows has one of its own by which two programs do not get the same port.
            option = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
            probe.setsockopt(socket.SOL_SOCKET, option, 1)
            try:
                probe.bind((address, port))
            except (OSError, OverflowError) as error:
                raise _unusable(port, error) from error
