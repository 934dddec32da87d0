"""One batch in a folder at a time. The system frees the lock when its process ends, however."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import needed
from ..progress import LaunchError

HELD = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
"""Errors that say that another process has the lock."""


@contextmanager
def hold_folder(out: Path, lock: Path) -> Iterator[None]:
    """Holds the file `lock` for the output folder `out`.

    Raises LaunchError if another batch works there.
    """
    with lock.open("a+b") as file:
        try:
            _lock(file.fileno())
        except OSError as error:
            if error.errno not in HELD:
                # A share without locks: two batches at once are not prevented there.
                yield
                return
            file.seek(0)
            holder = file.read(20).decode("ascii", "replace").strip() or "unknown"
            raise LaunchError(
                needed(
                    f"output folder {out}",
                    f"another batch that works there (process {holder})",
                    "one batch at a time",
                    "Wait for its end, or give another folder with --out.",
                )
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()).encode())
        file.flush()
        yield
        # The file stays: removing it would let two batches hold a lock each.


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
