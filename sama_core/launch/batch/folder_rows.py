"""Rows of a folder: every clip in it and below it, with one instruction for all."""

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path, PurePosixPath

from ...errors import needed
from ...folders import ENDINGS, natural_order
from ..progress import LaunchError
from .batch_outputs import OWN
from .batch_rows import Clip, Found, Row, Settings, count_endings
from .numbered_frames import FRAME_FILES, Sequence, find_sequences

FEWEST_FRAMES = 2
"""Numbered pictures in a folder that count as a clip."""


def folder_rows(source: Path, out: Path, usual: Settings, fps: Fraction | None) -> Found:
    """The clips in `source` and its subfolders, but not in `out`, in natural order.

    With `fps` numbered frames count as clips too. Hidden files and folders are left out, and other
    batches' results. Raises LaunchError for a folder without a clip.
    """
    clips_by_name: list[tuple[PurePosixPath, Clip]] = []
    others: list[str] = []
    for folder, names in _walk(source, out):
        clips, rest = _clips_of(folder, names, fps)
        others += rest
        for name, clip in clips:
            relative = PurePosixPath(folder.relative_to(source).as_posix()) / name
            if str(relative) == ".":
                relative = PurePosixPath(source.name or "frames")
            clips_by_name.append((relative, clip))
    if not clips_by_name:
        raise LaunchError(_nothing(source, others, fps))
    clips_by_name.sort(key=lambda item: natural_order(str(item[0])))
    found = Found(
        [Row(number, name, clip, usual) for number, (name, clip) in enumerate(clips_by_name, 1)]
    )
    if others:
        found.remarks.append(f"Not clips, left alone: {count_endings(others)}.")
    return found


def sequence_clip(folder: Path, sequence: Sequence, fps: Fraction) -> Clip:
    """The frames of one sequence as a clip."""
    return Clip(folder, sequence.names, fps)


def _walk(source: Path, out: Path) -> Iterator[tuple[Path, list[str]]]:
    """Each folder and the names of its files, sorted."""
    for folder, folders, names in os.walk(source):
        here = Path(folder)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and here / name != out and not _has_results(here / name)
        )
        yield here, sorted(name for name in names if not name.startswith("."))


def _has_results(folder: Path) -> bool:
    """Whether another batch writes into it."""
    return (folder / OWN).is_dir()


def _clips_of(
    folder: Path, names: list[str], fps: Fraction | None
) -> tuple[list[tuple[str, Clip]], list[str]]:
    """Clips of one folder with their names in it, and the names of other files."""
    clips = [(name, Clip(folder / name)) for name in names if _ending(name) in ENDINGS]
    others = [name for name in names if _ending(name) not in ENDINGS]
    if fps is None:
        return clips, others
    sequences = [one for one in find_sequences(others) if len(one.names) >= FEWEST_FRAMES]
    for sequence in sequences:
        alone = len(sequences) == 1
        name = "." if alone else sequence.prefix.rstrip("_-. ") or _ending(sequence.names[0])[1:]
        clips.append((name, sequence_clip(folder, sequence, fps)))
    framed = {name for sequence in sequences for name in sequence.names}
    return clips, [name for name in others if name not in framed]


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _nothing(source: Path, others: list[str], fps: Fraction | None) -> str:
    got = count_endings(others) if others else "no file"
    pictures = fps is None and any(_ending(name) in FRAME_FILES for name in others)
    fix = "Give --fps N if numbered frames are the clip." if pictures else "Check the path."
    return needed(f"folder {source}", got, "a clip (mp4, mov, mkv, webm …)", fix)
