"""Writing results: whole, at their place in the tree, and never over a file that is not ours."""

import errno
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any

from ...errors import needed
from ..places import free_names
from ..progress import LaunchError
from .batch_rows import Row
from .ledger import Ledger, Result
from .result_folder import Results

OWN = ".sama_batch"
"""Folder of the ledger in the output folder, and of unfinished files."""
FULL = (errno.ENOSPC, errno.EDQUOT)


class DiskFull(LaunchError):
    """There is no room for results; the batch ends, and no row is lost."""


class Outputs:
    """The output folder of a batch, safe to use from several threads."""

    def __init__(self, out: Path, ledger: Ledger, there: Results):
        """`out` exists; `ledger` is its, of the results `there`."""
        self.out, self.ledger, self.there = out, ledger, there
        self._parts = out / OWN / "parts"
        self._reserved: set[str] = set()
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
        names = list(result.files)
        as_video = len(names) == 1 and names[0].endswith(Path(row.target.name).suffix)
        files = [
            ("" if as_video else PurePosixPath(name).name, self.there.read(name)) for name in names
        ]
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
        """Gives finished files free names, and notes them."""
        with self._lock:
            names = self._free(row.target, wanted)
            self._reserved.update(names)
        sizes = {name: part.stat().st_size for name, part in zip(names, parts, strict=True)}
        try:
            with self._lock:
                self.ledger.note_writing(key, str(row.target), names)
            for part, name in zip(parts, names, strict=True):
                self.there.put(part, name)
            result = Result(key, str(row.target), sizes, facts)
            with self._lock:
                self.ledger.note_done(result)
        except OSError:
            for name in names:
                with suppress(OSError):
                    self.there.remove(name)
            raise
        finally:
            self._reserved.difference_update(names)
        return result

    def _free(self, target: PurePosixPath, names: list[str]) -> list[str]:
        """Names for the files: `target`, or if one of them is taken, it with a number."""
        for candidate in free_names(target):
            paths = [str(candidate / name if name else candidate) for name in names]
            if not any(self._is_taken(path) for path in paths):
                return paths
        raise AssertionError("names never run out")

    def _is_taken(self, name: str) -> bool:
        if name in self._reserved:
            return True
        return self.there.is_taken(name) and not self.ledger.is_unfinished(name)


def _write_part(part: Path, chunks: Iterable[bytes]) -> None:
    with part.open("xb") as file:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
