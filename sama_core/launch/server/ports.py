"""Ports of this machine: a free one, and one that no other command gets while its server starts."""

import getpass
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ...errors import needed
from ...folders.file_lock import open_locked, remove_locked
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
            if not over.enter_context(_take_claim(port)):
                raise _unusable(port, "another run.py starts ComfyUI there")
        check_port(port, host)
        yield


@contextmanager
def _take_claim(port: int) -> Iterator[bool]:
    """Whether the file that stands for a port was not taken: one for a user on a machine, since a
    home may be that of several machines. It goes with the context. Raises OSError.
    """
    user = str(os.getuid()) if hasattr(os, "getuid") else getpass.getuser()
    folder = Path(tempfile.gettempdir()) / f"sama-ports-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    claim = open_locked(folder / str(port), wait=False)
    try:
        yield claim is not None
    finally:
        if claim:
            remove_locked(claim, folder / str(port))


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
