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
from .text_files import UTF_8, encoding_of

ID = "id"
"""The key that tells rows apart; other rows than ours may lack it."""
PATIENCE, STALE = 90.0, 60.0
"""Seconds that a lock is waited for, and after which it is one that a killed program left."""
_threads = Lock()


def find_row(file: Path, key: str) -> int:
    """Number, from 1, of the row with this id; 0 where there is none, or no file.

    Raises InputError for a file that cannot be read.
    """
    try:
        return _number_of(_read_lines(file), key)
    except OSError as failed:
        raise _unusable(file, failed) from failed


def append_row(file: Path, row: dict[str, Any]) -> int:
    """Add a row with an "id", unless it is there; its number, from 1.

    Other lines stay as they are, to the byte. A link is followed. Raises
    InputError for a file that cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with _threads, _lock(file):
            lines = _read_lines(file)
            there = _number_of(lines, row[ID])
            if there:
                return there
            if lines and not lines[-1].endswith((b"\n", b"\r")):
                lines[-1] += b"\n"
            lines.append(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            with whole_file(file.resolve()) as partial:
                partial.write_bytes(b"".join(lines))
            return len(lines)
    except OSError as failed:
        raise _unusable(file, failed) from failed


def _unusable(file: Path, failed: OSError) -> InputError:
    why = failed.strerror or str(failed)
    fix = "Free disk space, check the folder's rights, or choose another collection."
    return InputError(needed(f"rows {file}", why, "a file to write", fix))


def _read_lines(file: Path) -> list[bytes]:
    """Lines with their ends, split as `read_rows` splits them."""
    try:
        text = file.read_bytes()
    except FileNotFoundError:
        return []
    encoding = encoding_of(text)
    if encoding != UTF_8:
        got, fix = (
            f"a file in {encoding.upper()}",
            "Save it as UTF-8, or choose another collection.",
        )
        raise InputError(needed(f"rows {file}", got, "one in UTF-8 to add to", fix))
    return text.splitlines(keepends=True)


def _number_of(lines: list[bytes], key: str) -> int:
    return next((number for number, line in enumerate(lines, 1) if _id_of(line) == key), 0)


def _id_of(line: bytes) -> str | None:
    try:
        found = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError):
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
