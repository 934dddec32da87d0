"""What a running edit of a whole video has finished, on disk, so that it goes on where it stopped.

    KEY/about.json             what is edited, for people
    KEY/segments/….safetensors sampled latents, by number
    KEY/pieces/….mp4           encoded stretches of the result, by number
    KEY/edit.mp4               the whole result
    KEY/in_use, KEY/.turn      locks of the processes that work on it, see `folders.shared_folder`

KEY stands for everything that decides the result, so that what is found under it is this edit's.
Every file appears whole or not at all. Nothing is removed while an edit may still need it, here or
in another process.
"""

import contextlib
import json
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..folders import ABOUT, describe_edit
from ..folders.shared_folder import Use, empty_folder, remove_unused, use_folder, while_unused
from ..weights.write import whole_file
from .store import SegmentStore, name_code, size_in_words

_UNLIMITED = 2**63
_KEY = re.compile("[0-9a-f]{32,}")
_LATENT = "latent"
_RESULT = "edit.mp4"


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

    def use(self) -> Use | None:
        """Keep other processes from removing anything of it, for as long as something refers to
        what this returns; None where the folder cannot be written.
        """
        try:
            return use_folder(self.folder)
        except OSError:
            return None

    def tidy(self) -> None:
        """Remove what the result was made of, unless another process needs it."""
        with while_unused(self.folder) as alone:
            for part in ("segments", "pieces") if alone else ():
                shutil.rmtree(self.folder / part, ignore_errors=True)

    @contextlib.contextmanager
    def kept_on_failure(self, found_again: bool) -> Iterator[None]:
        """An edit may break off in here: what it has finished stays, if it can be found again. For
        other processes it is in use.
        """
        use = self.use()
        try:
            yield
        except BaseException:
            if not (found_again and self._has_begun()):
                self.remove()
            raise
        finally:
            del use

    def _has_begun(self) -> bool:
        """Whether anything is finished."""
        return self.result.is_file() or any(
            file.is_file() for part in ("segments", "pieces") for file in self._files(part)
        )

    def _files(self, part: str) -> Iterator[Path]:
        return (self.folder / part).rglob("*")

    def remove(self) -> bool:
        """Remove all of it, unless another process works on it; whether that was done."""
        return remove_unused(self.folder)

    @contextlib.contextmanager
    def emptied_after(self) -> Iterator[bool]:
        """Whether no other process works on it: then, if nothing is raised, all of it is removed
        after the block, and no process begins in between.
        """
        with while_unused(self.folder) as alone:
            yield alone
            if alone:
                empty_folder(self.folder)


def _name(number: int) -> str:
    """A segment's name in the store, which takes hexadecimal digits."""
    return f"{number:06x}"


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

    Removes them where `clear` is asked for with the code that stands for just these, but for those
    that another process works on; the second value tells whether it was.
    """
    jobs = list_jobs(folder)
    if not jobs:
        return "", False
    wanted = name_code(left.job.folder.name for left in jobs)
    if clear and code.strip().lower() == wanted:
        return _clear(jobs), True
    listed = "; ".join(map(_describe, jobs))
    return (
        f"{_count(len(jobs))}, not finished or not saved: {listed}. To remove them, set action to "
        f"clear and confirm to {wanted}."
    ), False


def _clear(jobs: list[LeftOver]) -> str:
    """Remove jobs, and say what stays."""
    kept = [left for left in jobs if not left.job.remove()]
    text = f"{_count(len(jobs) - len(kept))} removed."
    if kept:
        listed = "; ".join(map(_describe, kept))
        text += f" {_count(len(kept))} kept, which another ComfyUI works on: {listed}."
    return text


def _count(jobs: int) -> str:
    return f"{jobs} edit{'' if jobs == 1 else 's'} of whole videos"


def _describe(left: LeftOver) -> str:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(left.used))
    return f"{left.about} ({size_in_words(left.size)}, {when})"
