"""The result file: chosen before the work, written under a temporary name, never over another file."""

import errno
import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import needed
from .failure import LaunchError

VIDEO, PICTURE = ".mp4", ".png"


def choose_target(out: str | None, clip: Path) -> Path:
    """Where the result should go: `out`, or `<clip>_sama.mp4` here. Raises LaunchError if it cannot be written."""
    default = f"{clip.stem}_sama{VIDEO}"
    given = Path(os.path.expanduser(out or default))
    return placed("--out", given / default if given.is_dir() else given, VIDEO)


def placed(option: str, given: str | Path, suffix: str) -> Path:
    """The whole path of a file to be written. Raises LaunchError for another kind of file or no place to write to."""
    target = Path(os.path.abspath(os.path.expanduser(given)))
    if not target.suffix:
        target = target.with_suffix(suffix)
    if target.suffix.lower() != suffix:
        raise LaunchError(needed(option, target.name, f"a name ending in {suffix}", "Give such a name."))
    if not target.parent.is_dir():
        raise LaunchError(needed(option, target, "an existing folder", f"Make {target.parent} first."))
    if not os.access(target.parent, os.W_OK):
        raise LaunchError(needed(option, f"{target.parent}, which may not be written", "a writable folder",
                                 f"Give another place with {option}."))
    return target


def write_new(target: Path, chunks: Iterable[bytes]) -> Path:
    """Writes a file that appears whole or not at all and returns its path.

    If `target` exists, `_2`, `_3` … is put behind its stem. Raises LaunchError if it cannot be written.
    """
    part = target.with_name(f".{uuid.uuid4().hex[:12]}.part")
    try:
        with part.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        return _give_name(part, target)
    except OSError as error:
        raise LaunchError(_sentence(error, target)) from error
    finally:
        part.unlink(missing_ok=True)


def free_names(target: Path) -> Iterator[Path]:
    """`target`, then `target_2`, `target_3` …"""
    yield target
    number = 2
    while True:
        yield target.with_stem(f"{target.stem}_{number}")
        number += 1


def _give_name(part: Path, target: Path) -> Path:
    """Gives the finished file the first free name; no other program can slip one in between."""
    for candidate in free_names(target):
        try:
            os.link(part, candidate)
        except FileExistsError:
            continue
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise
            # File systems without hard links: reserve the name, then replace the empty file.
            try:
                candidate.touch(exist_ok=False)
            except FileExistsError:
                continue
            part.replace(candidate)
        return candidate
    raise AssertionError("names never run out")


def _sentence(error: OSError, target: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return needed(f"saving {target.name}", f"a full disk at {target.parent}", "room for the clip",
                      "Free some, or give another place with --out; nothing was left half-written.")
    return f"saving {target}: {error.strerror or error}. Give another place with --out; nothing was left half-written."
