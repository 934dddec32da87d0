"""One batch in a folder at a time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import needed
from ...folders.file_lock import take_lock
from ..progress import LaunchError


@contextmanager
def hold_folder(out: Path, lock: Path) -> Iterator[None]:
    """Holds the file `lock` for the output folder `out`.

    Raises LaunchError if another batch works there.
    """
    with lock.open("a+b") as file:
        if not take_lock(file):
            file.seek(0)
            holder = file.read(20).decode("ascii", "replace").strip() or "unknown"
            raise LaunchError(
                needed(
                    f"output folder {out}",
                    f"another batch that works there (process {holder})",
                    "one batch at a time",
                    "Wait for its end, or give another folder with --out.",
                )
            )
        file.truncate(0)
        file.write(str(os.getpid()).encode())
        file.flush()
        yield
        # The file stays: removing it would let two batches hold a lock each.
