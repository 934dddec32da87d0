"""What a running edit of a whole video has finished, on disk, so that it goes on where it stopped.

    KEY/about.json             what is edited, for people
    KEY/segments/….safetensors sampled latents, by number
    KEY/pieces/….mp4           encoded stretches of the result, by number
    KEY/edit.mp4               the whole result
    KEY/in_use                 locked by every process that works on it

KEY stands for everything that decides the result, so that what is found under it is this edit's.
Every file appears whole or not at all. Nothing is removed while an edit may still need it, here or
in another process.
"""

import contextlib
import errno
import json
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from torch import Tensor

from ..folders import ABOUT, describe_edit
from ..weights.write import whole_file
from .store import SegmentStore, name_code, size_in_words

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

_UNLIMITED = 2**63
_KEY = re.compile("[0-9a-f]{32,}")
_LATENT = "latent"
_RESULT = "edit.mp4"
_IN_USE = "in_use"


@dataclass(frozen=True)
class WholeJob:
    """The folder of one edit."""

    folder: Path
    """Named by the edit's key; it need not exist."""

    def begin(self, about: dict[str, str]) -> None:
        """Make the folder, and write what the edit is. Raises OSError."""
        with whole_file(self.folder / ABOUT) as file:
            file.write_text(json.dumps(about, indent=1), encoding="utf-8")

    @property
    def result(self) -> Path:
        """The whole result's file."""
        return self.folder / _RESULT

    @property
    def _segments(self) -> SegmentStore:
        return SegmentStore(self.folder / "segments", _UNLIMITED)

    def latent(self, number: int) -> Tensor | None:
        """The latent of segment `number`; None where it is not sampled yet, or damaged."""
        kept = self._segments.get(_name(number))
        return None if kept is None else kept[_LATENT]

    def has_latent(self, number: int) -> bool:
        """Whether segment `number` was sampled."""
        return self._segments.path(_name(number)).is_file()

    def keep_latent(self, number: int, latent: Tensor) -> bool:
        """Keep a segment's latent; False where the disk refuses, or a value is not finite."""
        return self._segments.put(_name(number), {_LATENT: latent}, {})

    def piece(self, number: int) -> Path:
        """The file of piece `number`; its folder is made."""
        path = self._place_piece(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def has_piece(self, number: int) -> bool:
        """Whether piece `number` was decoded."""
        return self._place_piece(number).is_file()

    def _place_piece(self, number: int) -> Path:
        return self.folder / "pieces" / f"{number:06d}.mp4"

    def is_in_use(self) -> bool:
        """Whether another process works on it; False where the disk has no locks."""
        try:
            with (self.folder / _IN_USE).open("rb") as file:
                _lock(file, alone=True)
        except OSError as refused:
            return refused.errno in (errno.EACCES, errno.EAGAIN)
        return False

    def tidy(self) -> None:
        """Remove what the result was made of. Files that are in use are left."""
        if self.is_in_use():
            return
        for part in ("segments", "pieces"):
            shutil.rmtree(self.folder / part, ignore_errors=True)

    @contextlib.contextmanager
    def kept_on_failure(self, found_again: bool) -> Iterator[None]:
        """An edit may break off in here: what it has finished stays, if it can be found again. For
        other processes it is in use.
        """
        try:
            with self._use():
                yield
        except BaseException:
            if not (self.is_in_use() or (found_again and self._has_begun())):
                self.remove()
            raise

    @contextlib.contextmanager
    def _use(self) -> Iterator[None]:
        with contextlib.ExitStack() as over:
            with contextlib.suppress(OSError):
                self.folder.mkdir(parents=True, exist_ok=True)
                _lock(over.enter_context((self.folder / _IN_USE).open("ab")), alone=False)
            yield

    def _has_begun(self) -> bool:
        """Whether anything is finished."""
        return self.result.is_file() or any(
            file.is_file() for part in ("segments", "pieces") for file in self._files(part)
        )

    def _files(self, part: str) -> Iterator[Path]:
        return (self.folder / part).rglob("*")

    def remove(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _name(number: int) -> str:
    """A segment's name in the store, which takes hexadecimal digits."""
    return f"{number:06x}"


def _lock(file: IO[bytes], alone: bool) -> None:
    """Lock a file until it is closed, `alone` or beside others. Raises OSError where that cannot
    be, `alone` at once; beside others it waits until nobody has it alone, as for a look.
    """
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)


@dataclass(frozen=True)
class LeftOver:
    """A job that was found on disk."""

    job: WholeJob
    """It."""
    size: int
    """Bytes."""
    used: float
    """When something was last written, in seconds since 1970."""
    about: str
    """What is edited, such as `street.mp4: make it night`."""


def list_jobs(folder: Path) -> list[LeftOver]:
    """The jobs under `folder`, longest unused first. Folders whose names are no keys are not ours:
    servers may share a folder that has others beside them.
    """
    return sorted(_list(folder), key=lambda left: left.used)


def _list(folder: Path) -> Iterator[LeftOver]:
    found = folder.iterdir() if folder.is_dir() else ()
    for place in (place for place in found if _KEY.fullmatch(place.name)):
        size, used = 0, 0.0
        for file in place.rglob("*"):
            with contextlib.suppress(OSError):
                state = file.stat()
                size += state.st_size if file.is_file() else 0
                used = max(used, state.st_mtime)
        if place.is_dir():
            yield LeftOver(WholeJob(place), size, used or time.time(), describe_edit(place))


def show_or_clear_jobs(folder: Path, clear: bool, code: str) -> tuple[str, bool]:
    """What edits of whole videos hold on disk under `folder`, in words; empty for nothing.

    Removes them where `clear` is asked for with the code that stands for just these; the second
    value tells whether it was.
    """
    jobs = list_jobs(folder)
    if not jobs:
        return "", False
    wanted = name_code(left.job.folder.name for left in jobs)
    count = f"{len(jobs)} edit{'s' if len(jobs) > 1 else ''} of whole videos"
    if clear and code.strip().lower() == wanted:
        for left in jobs:
            left.job.remove()
        return f"{count} removed.", True
    listed = "; ".join(map(_describe, jobs))
    return (
        f"{count}, not finished or not saved: {listed}. To remove them, set action to clear and "
        f"confirm to {wanted}."
    ), False


def _describe(left: LeftOver) -> str:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(left.used))
    return f"{left.about} ({size_in_words(left.size)}, {when})"
