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
from ...folders.shared_folder import remove_unused

WHOLE, SEGMENTS, RESULTS = "sama_whole_videos", "sama_segments", "results"
"""Folders in ComfyUI's user folder."""
OLD_DAYS = 14
"""Days after which an edit that nobody goes on with is removed."""


def remove_old(folder: Path, say: Callable[[str], None]) -> None:
    """Removes what was not used for OLD_DAYS under the user folder `folder`; says what it was.

    What another process works on stays.
    """
    before = time.time() - OLD_DAYS * 24 * 3600
    for part in (WHOLE, SEGMENTS, RESULTS):
        old = [path for path in _inside(folder / part) if _last_use(path) < before]
        told = {path: (_name(path), _size(path)) for path in old}
        removed = [told[path] for path in old if _remove(path)]
        if removed:
            names = ", ".join(name for name, _ in removed)
            if part == SEGMENTS:
                names = f"{len(removed)} segment{'' if len(removed) == 1 else 's'}"
            size = sum(size for _, size in removed) / 1e6
            say(
                f"Removed after {OLD_DAYS} days: {names} ({size:.0f} MB), of edits that were "
                "stopped."
            )


def keep_results(output: Path, folder: Path, prefix: str = "") -> list[str]:
    """Moves finished edits that nobody fetched, those of `output` whose names begin with `prefix`,
    into the user folder `folder`; a sentence for each that says where it is.
    """
    found = [
        file
        for file in sorted(output.rglob("*.mp4"))
        if file.relative_to(output).as_posix().startswith(prefix) and file.name[0] != "."
    ]
    return [
        f"An edit that was finished, and that nobody fetched, lies for {OLD_DAYS} days in {target}"
        for target in (_move_result(file, folder) for file in found)
        if target
    ]


def keep_result(file: Path, folder: Path) -> str:
    """Moves a finished edit that could not be written to its place into the user folder `folder`.

    A sentence that says where it is; empty if it cannot be moved.
    """
    target = _move_result(file, folder)
    return f" The edit itself is done; for {OLD_DAYS} days it lies in {target}" if target else ""


def _move_result(file: Path, folder: Path) -> Path | None:
    """Moves a finished edit to the others that were kept; its new path, None if that cannot be. Its
    days begin now.
    """
    target = folder / RESULTS / file.name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(file, target)
    except OSError:
        return None
    with suppress(OSError):
        os.utime(target)
    return target


def _inside(folder: Path) -> list[Path]:
    """What lies in a folder; of that of edits their own folders alone, not what it is marked by."""
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in found if path.is_dir() or folder.name != WHOLE]


def _remove(path: Path) -> bool:
    """Removes an edit's folder or a file; whether it is gone."""
    if path.is_dir():
        return remove_unused(path)
    try:
        path.unlink()
    except OSError:
        return False
    return True


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


def _size(path: Path) -> int:
    """Bytes of an edit's folder, or of a file."""
    return sum(state.st_size for state in _states(_files(path)))


def _name(path: Path) -> str:
    """What a user knows an edit by."""
    return describe_edit(path) if path.is_dir() else path.name
