"""The clips in a folder, in the order that people count in: clip2 before clip10."""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import ClipError, needed

ENDINGS = frozenset(
    ".mp4 .m4v .mov .mkv .webm .avi .gif .mpg .mpeg .ts .mts .m2ts .wmv .flv .ogv .mxf .3gp".split()
)
"""Endings of files that are clips; everything else is another file."""
_NUMBERS = re.compile(r"(\d+)")


@dataclass(frozen=True)
class Listing:
    """What is in a folder."""

    folder: Path
    """The folder itself."""
    clips: tuple[str, ...]
    """Paths of the clips relative to it, with slashes, in natural order."""
    others: int = 0
    """Files that are no clips by their names, hidden ones and links to nothing among them."""
    outside: int = 0
    """Links to files and folders outside the permitted root, which are not followed."""
    closed: int = 0
    """Folders that may not be read."""

    def path(self, clip: str) -> Path:
        """Where a clip lies."""
        return self.folder / clip


def list_clips(folder: Path, root: Path, subfolders: bool = False) -> Listing:
    """The clips in `folder`, and with `subfolders` in all folders below it.

    Hidden files and folders are no clips, and neither is what a link has outside `root`. Links to
    folders are followed once. Raises ClipError where `folder` cannot be read.
    """
    try:
        os.scandir(folder).close()
    except OSError as error:
        raise ClipError(
            needed(
                f"folder '{folder.name}'",
                error.strerror or str(error),
                "a folder that may be read",
                "Choose another one, or give yourself the right to read it.",
            )
        ) from error
    walk = _Walk(Path(os.path.realpath(root)), subfolders)
    clips = sorted(walk.find(folder, ""), key=natural_order)
    return Listing(folder, tuple(clips), walk.others, walk.outside, walk.closed)


def is_clip(name: str) -> bool:
    """Whether a file's name is that of a clip."""
    return os.path.splitext(name)[1].lower() in ENDINGS


class _Walk:
    """One walk through a folder: gives the clips, and counts what it leaves out."""

    def __init__(self, root: Path, subfolders: bool):
        self.root, self.subfolders = root, subfolders
        self.others = self.outside = self.closed = 0
        self.seen: set[str] = set()

    def find(self, folder: Path, below: str) -> Iterator[str]:
        """Relative paths of the clips; `below` is the folder's own, empty for the first."""
        place = os.path.realpath(folder)
        if place in self.seen:
            return
        self.seen.add(place)
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            self.closed += 1
            return
        for entry in entries:
            hidden = entry.name.startswith(".")
            if _is(entry.is_dir):
                if self.subfolders and not hidden and self._stays_inside(entry):
                    yield from self.find(folder / entry.name, f"{below}{entry.name}/")
            elif hidden or not is_clip(entry.name) or not _is(entry.is_file):
                self.others += 1
            elif self._stays_inside(entry):
                yield f"{below}{entry.name}"

    def _stays_inside(self, entry: os.DirEntry) -> bool:
        """Whether it lies inside the root, links resolved; those that do not are counted."""
        is_plain_file = entry.is_file(follow_symlinks=False)
        inside = is_plain_file or Path(os.path.realpath(entry.path)).is_relative_to(self.root)
        self.outside += not inside
        return inside


def _is(kind: Callable[[], bool]) -> bool:
    """What an entry says of itself; False for a link that leads in a circle."""
    try:
        return kind()
    except OSError:
        return False


def natural_order(clip: str) -> tuple:
    """What a path is sorted by: numbers by value, letters without case, folder by folder; then as
    it is spelled.
    """
    parts = [_NUMBERS.split(part.casefold()) for part in clip.split("/")]
    # The pieces of a split are a text, a number, a text …, so that equal places compare.
    counted = [
        [int(piece) if place % 2 else piece for place, piece in enumerate(part)] for part in parts
    ]
    return counted, clip
