"""A lock on a file, which the system frees when its process ends, however."""

import errno
import os
from typing import IO

HELD = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
"""Errors that say that another process has the lock."""


def take_lock(file: IO[bytes]) -> bool:
    """Locks an open file until it is closed; False if another process has the lock.

    On a share without locks it is True, and nothing is prevented.
    """
    try:
        _lock(file.fileno())
    except OSError as error:
        return error.errno not in HELD
    return True


def _lock(handle: int) -> None:
    """Raises OSError if another process has it."""
    try:
        import fcntl
    except ImportError:
        import msvcrt

        # A byte that is never written, so that the holder's number can be read.
        os.lseek(handle, 1 << 20, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined] # Windows
        return
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
