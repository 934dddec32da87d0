"""SAMA Clip Folder: a folder inside ComfyUI's input folder → a list of VIDEOs, named for results.

find_clips   the folder of a name, listed; nothing is opened
take_part    which of its clips are wanted
sort_out     which of those can be opened
fingerprint  what changes when a file does
"""

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import comfy.model_management
import folder_paths

from ..clip.readable import find_faults
from ..errors import ClipError, InputError, needed, shorten
from ..folders import Listing, list_clips, name_results

log = logging.getLogger(__name__)

WHOLE_INPUT = "."
"""The choice that stands for the input folder itself."""
_NAMED = 3
"""Clips that cannot be read of which the node says why; the log names all."""
_FIX = "Choose a folder of its list; new ones appear after pressing R."


@dataclass(frozen=True)
class FoundClip:
    """A clip of a folder."""

    path: Path
    """The file."""
    name: str
    """What its result is called."""


@dataclass(frozen=True)
class Part:
    """The wanted clips of a folder."""

    listing: Listing
    """The whole folder."""
    first: int
    """Number of the first wanted clip, from 0."""
    clips: tuple[FoundClip, ...]
    """Those that are wanted, at least one."""


def list_folders() -> list[str]:
    """The input folder and every folder in it, as the node offers them."""
    return [WHOLE_INPUT, *folder_paths.get_input_subfolders()]


def find_clips(folder: str, subfolders: bool) -> Listing:
    """The clips of a folder that is named relative to the input folder.

    Raises InputError for a name that leads out of the input folder or to no folder, ClipError for a
    folder without clips.
    """
    root = Path(folder_paths.get_input_directory())
    listing = list_clips(_find_folder(root, folder), root, subfolders)
    if not listing.clips:
        deeper = "" if subfolders else " For clips in folders below it, turn subfolders on."
        raise ClipError(
            needed(
                f"folder '{folder}'",
                f"no clip{_name_others(listing, ', but ')}",
                "at least one video file, such as mp4, mov, mkv, webm or avi",
                f"Put clips there or choose another folder.{deeper}",
            )
        )
    return listing


def take_part(listing: Listing, start: int, count: int) -> Part:
    """`count` clips from number `start` on, 0 for all of the rest; fewer where the folder ends.

    Raises InputError for a start behind the last clip.
    """
    total = len(listing.clips)
    if start >= total:
        raise InputError(
            needed(
                "start",
                start,
                f"0 to {total - 1}: the folder's last clip is number {total - 1}",
                "Set a smaller number; 0 is the first clip.",
            )
        )
    behind = min(total, start + count) if count else total
    names = name_results(listing.clips)
    clips = [
        FoundClip(listing.path(clip), name)
        for clip, name in zip(listing.clips[start:behind], names[start:behind], strict=True)
    ]
    return Part(listing, start, tuple(clips))


def sort_out(
    part: Part, report: Callable[[int, int], None]
) -> tuple[list[FoundClip], list[tuple[FoundClip, str]]]:
    """The clips that open and have pictures, and the others, each with what is wrong with it.

    `report(done, total)` is called for each. Raises ClipError where not one opens.
    """
    good, bad = [], []
    with closing(find_faults([clip.path for clip in part.clips])) as faults:
        for done, (clip, wrong) in enumerate(zip(part.clips, faults, strict=True), 1):
            report(done, len(part.clips))
            comfy.model_management.throw_exception_if_processing_interrupted()
            if wrong:
                bad.append((clip, wrong))
                log.warning("SAMA Clip Folder: left out: %s", wrong)
            else:
                good.append(clip)
    if not good:
        raise ClipError(bad[0][1])
    return good, bad


def describe(part: Part, good: Sequence[FoundClip], bad: Sequence[tuple[FoundClip, str]]) -> str:
    """For the node: which clips these are, and what was left out; why, in lines of their own."""
    total, count = len(part.listing.clips), len(good)
    first, last = (shorten(clip.path.name) for clip in (good[0], good[-1]))
    which = f"All {total} clips" if count == total > 1 else f"{count} of {total} clips"
    which += f": {first}" if count == 1 else f", from {first} to {last}"
    lines = [f"{which}{_name_others(part.listing, '; left out: ', len(bad))}."]
    lines += [wrong for _, wrong in bad[:_NAMED]]
    if len(bad) > _NAMED:
        lines.append("ComfyUI's log names the others.")
    return "\n".join(lines)


def fingerprint(part: Part) -> str:
    """Changes when a wanted clip does, or when other clips are wanted: names, sizes, times."""
    marks = []
    for clip in part.clips:
        try:
            found = os.stat(clip.path)
            marks.append((str(clip.path), clip.name, found.st_size, found.st_mtime_ns))
        except OSError:
            marks.append((str(clip.path), clip.name, None, None))
    return repr(marks)


def _find_folder(root: Path, name: str) -> Path:
    """The folder that a name means. Raises InputError for one outside of `root`, or for none."""
    plain = name.replace("\\", "/")
    parts = PurePosixPath(plain).parts
    leaves = ".." in parts or PurePosixPath(plain).is_absolute() or PureWindowsPath(name).drive
    if leaves or "\0" in name:
        need = "a folder inside ComfyUI's input folder"
        raise InputError(needed("folder", repr(name), need, _FIX))
    folder = root.joinpath(*parts)
    if not Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(root)):
        raise InputError(
            needed(
                "folder",
                f"{name!r}, a link that leads out of ComfyUI's input folder",
                "a folder that lies in it",
                "Copy the clips there, or choose another folder.",
            )
        )
    if plain not in list_folders() or not folder.is_dir():
        got = f"{name!r}, which is not in its list"
        raise InputError(needed("folder", got, "a folder in ComfyUI's input folder", _FIX))
    return folder


def _name_others(listing: Listing, before: str, damaged: int = 0) -> str:
    """What the folder holds that is not taken, behind `before`; empty where there is nothing."""
    found = [
        f"{count} {one if count == 1 else many}"
        for count, one, many in (
            (damaged, "clip that cannot be read", "clips that cannot be read"),
            (listing.others, "other file", "other files"),
            (listing.outside, "link to another place", "links to another place"),
            (listing.closed, "closed folder", "closed folders"),
        )
        if count
    ]
    return before + ", ".join(found) if found else ""
