"""Adding a row to a JSONL file that others may be writing to. Standard library only.

The file is written whole under another name and renamed: whoever reads it finds all of the old rows
or all of the new ones. A lock file beside it keeps two programs from losing each other's row.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from ...errors import InputError, needed
from ...weights.write import whole_file

ID = "id"
"""The key that tells rows apart; other rows than ours may lack it."""
PATIENCE, STALE = 10.0, 60.0
"""Seconds that a lock is waited for, and after which it is one that a killed program left."""
_threads = Lock()


def find_row(file: Path, key: str) -> int:
    """Number, from 1, of the row with this id; 0 where there is none, or no file."""
    for number, line in enumerate(_read_lines(file), 1):
        if _id_of(line) == key:
            return number
    return 0


def append_row(file: Path, row: dict[str, Any]) -> int:
    """Add a row with an "id", unless it is there; its number, from 1.

    Lines that are no JSON stay as they are. Raises InputError for a file that cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with _threads, _lock(file):
            there = find_row(file, row[ID])
            if there:
                return there
            lines = _read_lines(file)
            lines.append(json.dumps(row, ensure_ascii=False))
            with whole_file(file) as partial:
                partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
            return len(lines)
    except OSError as failed:
        why = failed.strerror or str(failed)
        fix = "Free disk space, check the folder's rights, or choose another collection."
        raise InputError(needed(f"rows {file}", why, "a file to write", fix)) from failed


def _read_lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except FileNotFoundError:
        return []


def _id_of(line: str) -> str | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found.get(ID) if isinstance(found, dict) else None


@contextmanager
def _lock(file: Path) -> Iterator[None]:
    """Held by one program at a time. Raises TimeoutError, an OSError, after PATIENCE seconds."""
    lock = file.with_name(f".{file.name}.lock")
    until = time.monotonic() + PATIENCE
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            break
        except FileExistsError:
            if _remove_stale(lock):
                continue
            if time.monotonic() > until:
                raise TimeoutError(
                    f"another program is writing it; if not, remove {lock}"
                ) from None
            time.sleep(0.05)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _remove_stale(lock: Path) -> bool:
    """Whether a lock that nobody holds any more was removed."""
    try:
        if time.time() - lock.stat().st_mtime <= STALE:
            return False
        lock.unlink()
    except FileNotFoundError:
        pass
    return True
