"""Writing results: whole, at their place in the tree, and never over a file that is not ours."""

import errno
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from ...errors import needed
from ..places import free_names
from ..progress import LaunchError
from .batch_rows import Row
from .ledger import Ledger, Result

OWN = ".sama_batch"
"""Folder of the ledger in the output folder, and of unfinished files."""
FULL = (errno.ENOSPC, errno.EDQUOT)


class DiskFull(LaunchError):
    """There is no room for results; the batch ends, and no row is lost."""


class Outputs:
    """The output folder of a batch, safe to use from several threads."""

    def __init__(self, out: Path, ledger: Ledger):
        """`out` exists; `ledger` is its."""
        self.out, self.ledger = out, ledger
        self._parts = out / OWN / "parts"
        self._lock = Lock()

    def remove_unfinished(self) -> None:
        """Removes what a killed batch left half-written."""
        shutil.rmtree(self._parts, ignore_errors=True)

    def write(
        self,
        row: Row,
        key: str,
        files: Sequence[tuple[str, Iterable[bytes]]],
        facts: dict[str, Any],
    ) -> Result:
        """Writes the files of one result and notes it in the ledger.

        A video is one file at the row's target; frames, with names of their own, go into it. Raises
        DiskFull if there is no room, and OSError for other reasons; then none of them is left.
        """
        parts: list[Path] = []
        with self._full_disk_told():
            self._parts.mkdir(parents=True, exist_ok=True)
            try:
                for _, chunks in files:
                    parts.append(self._parts / f"{uuid.uuid4().hex}.part")
                    _write_part(parts[-1], chunks)
                return self._give_names(row, key, parts, [name for name, _ in files], facts)
            finally:
                for part in parts:
                    part.unlink(missing_ok=True)

    def copy(self, row: Row, result: Result) -> Result:
        """Gives another row a copy of a result. Raises as `write`."""
        sources = [self.out / path for path in result.files]
        as_video = len(sources) == 1 and sources[0].name.endswith(Path(row.target.name).suffix)
        files = [("" if as_video else path.name, _read(path)) for path in sources]
        facts = {**result.facts, "copied": result.first}
        return self.write(row, result.key, files, facts)

    @contextmanager
    def _full_disk_told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in FULL:
                raise DiskFull(
                    needed(
                        f"output folder {self.out}",
                        "a full disk",
                        "room for the results",
                        "Free some, and run the same command again: it does what is missing.",
                    )
                ) from error
            raise

    def _give_names(
        self, row: Row, key: str, parts: list[Path], wanted: list[str], facts: dict[str, Any]
    ) -> Result:
        """Renames finished files to free names, and notes them."""
        with self._lock:
            free = self._free(self.out / row.target, wanted)
            names = [path.relative_to(self.out).as_posix() for path in free]
            free[0].parent.mkdir(parents=True, exist_ok=True)
            self.ledger.note_writing(key, str(row.target), names)
            sizes = {name: part.stat().st_size for name, part in zip(names, parts, strict=True)}
            try:
                for part, path in zip(parts, free, strict=True):
                    part.replace(path)
                result = Result(key, str(row.target), sizes, facts)
                self.ledger.note_done(result)
            except OSError:
                for path in free:
                    path.unlink(missing_ok=True)
                raise
            return result

    def _free(self, target: Path, names: list[str]) -> list[Path]:
        """Paths for the files: at `target`, or if one of them is taken, at it with a number."""
        for candidate in free_names(target):
            paths = [candidate / name if name else candidate for name in names]
            if not any(self._is_taken(path) for path in paths):
                return paths
        raise AssertionError("names never run out")

    def _is_taken(self, path: Path) -> bool:
        there = path.exists() or path.is_symlink()
        return there and not self.ledger.is_unfinished(path.relative_to(self.out).as_posix())


def _write_part(part: Path, chunks: Iterable[bytes]) -> None:
    with part.open("xb") as file:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(1 << 22):
            yield chunk
