"""What edits that were stopped have finished, in the user folder of the ComfyUIs that edit.

    sama_whole_videos/KEY/…          an edit, see `sama_core.long.whole_job`
    sama_segments/….safetensors      segments of edits that give frames, see `sama_core.long.store`
    results/….mp4                    finished edits that could not be written where they should go

ComfyUI knows the same edit by its key, goes on with what it finds, and removes the edit when its
result is saved. What nobody asks for again is removed here.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from ...folders import describe_edit

WHOLE, SEGMENTS, RESULTS = "sama_whole_videos", "sama_segments", "results"
"""Folders in ComfyUI's user folder."""
OLD_DAYS = 14
"""Days after which an edit that nobody goes on with is removed."""


def remove_old(folder: Path, say: Callable[[str], None]) -> None:
    """Removes what was not used for OLD_DAYS under the user folder `folder`; says what it was."""
    before = time.time() - OLD_DAYS * 24 * 3600
    for part in (WHOLE, SEGMENTS, RESULTS):
        old = [path for path in _inside(folder / part) if _last_use(path) < before]
        if old:
            say(f"Removed after {OLD_DAYS} days: {_describe(old)}, of edits that were stopped.")
        for path in old:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with suppress(OSError):
                    path.unlink()


def keep_result(file: Path, folder: Path) -> str:
    """Moves a finished edit that could not be written to its place into the user folder `folder`.

    A sentence that says where it is; empty if it cannot be moved.
    """
    target = folder / RESULTS / file.name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(file, target)
    except OSError:
        return ""
    return f" The edit itself is done; for {OLD_DAYS} days it lies in {target}"


def _inside(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _files(path: Path) -> Iterator[Path]:
    return path.rglob("*") if path.is_dir() else iter([path])


def _states(files: Iterable[Path]) -> Iterator[os.stat_result]:
    """Of those files that are there: another command may remove them, too."""
    for file in files:
        with suppress(OSError):
            yield file.lstat()


def _last_use(path: Path) -> float:
    """When something in a folder, or a file, was last written, in seconds since 1970."""
    return max((state.st_mtime for state in _states([path, *_files(path)])), default=0.0)


def _describe(old: list[Path]) -> str:
    size = sum(state.st_size for path in old for state in _states(_files(path)))
    names = [describe_edit(path) for path in old if path.parent.name != SEGMENTS]
    names += [f"{len(old)} segments"] if not names else []
    return f"{', '.join(names)} ({size / 1e6:.0f} MB)"
