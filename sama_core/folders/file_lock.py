"""A lock on a file, which the system frees when its process ends, however."""

import errno
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

HELD = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
"""Errors that say that another process has the lock."""
LOOK_SECONDS = 0.2
"""Between two looks whether a lock is free."""
FIRST_BYTE, BYTES = 1 << 20, 64
"""What is locked on Windows: bytes that are never written, so that the file can be read. Who holds
it beside others has one of them, who holds it alone has all.
"""


def take_lock(file: IO[bytes], shared: bool = False) -> bool:
    """Locks an open file until it is closed, alone or `shared` with others who share it; False if
    another process has the lock.

    The file has to be open for reading and writing: network shares ask for it. On a share without
    locks it is True, and nothing is prevented.
    """
    try:
        _lock(file.fileno(), shared)
    except OSError as error:
        return error.errno not in HELD
    return True


def wait_for_lock(
    file: IO[bytes], shared: bool = False, waiting: Callable[[], None] = lambda: None
) -> None:
    """`take_lock` as soon as that can be; calls `waiting` once if it cannot be at once."""
    if take_lock(file, shared):
        return
    waiting()
    while not take_lock(file, shared):
        time.sleep(LOOK_SECONDS)


def open_locked(path: Path, wait: bool = True) -> IO[bytes] | None:
    """Opens a file, which is made, and locks it alone; `wait` says whether until nobody else has
    it, or None then. Raises OSError.

    The one that had it before may have removed it: then another file is opened.
    """
    while True:
        file = path.open("a+b")
        try:
            if wait:
                wait_for_lock(file)
            elif not take_lock(file):
                file.close()
                return None
            if has_name(file, path):
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def remove_locked(file: IO[bytes], path: Path) -> None:
    """Removes a file of `open_locked`, and frees it, as far as that can be."""
    if os.name == "nt":  # no open file can be removed there, nor one that another process opens
        file.close()
    with suppress(OSError):
        path.unlink()
    file.close()


def has_name(file: IO[bytes] | None, path: Path) -> bool:
    """Whether an open file is the one of this name, and was not removed."""
    try:
        return file is not None and os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


def _lock(handle: int, shared: bool) -> None:
    """Raises OSError if another process has it."""
    try:
        import fcntl
    except ImportError:
        _lock_bytes(handle, shared)
        return
    fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


def _lock_bytes(handle: int, shared: bool) -> None:
    """As Windows can: a stretch of bytes, for one alone. The position in the file stays."""
    import msvcrt

    lock, now = msvcrt.locking, msvcrt.LK_NBLCK  # type: ignore[attr-defined] # Windows
    before = os.lseek(handle, 0, os.SEEK_CUR)
    try:
        for number in range(BYTES if shared else 1):
            os.lseek(handle, FIRST_BYTE + number, os.SEEK_SET)
            count = 1 if shared else BYTES
            try:
                lock(handle, now, count)
                return
            except OSError as error:
                if error.errno not in HELD or number == BYTES - 1 or not shared:
                    raise
    finally:
        os.lseek(handle, before, os.SEEK_SET)
