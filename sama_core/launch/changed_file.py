"""Whether a clip is still the file that was looked at: another program may be writing it."""

from pathlib import Path

from ..errors import needed
from .progress import LaunchError

State = tuple[int, int]
"""Bytes, and the time of the last change in nanoseconds: another file has others."""


def read_state(path: Path) -> State:
    """The state of a file. Raises OSError."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def state_of(path: Path) -> State:
    """The state of a file. Raises LaunchError if it is not there any more."""
    try:
        return read_state(path)
    except OSError as gone:
        raise _explain(path, f"a file that is gone ({gone.strerror or gone})") from gone


def require_unchanged(path: Path, before: State) -> None:
    """Raises LaunchError unless a file is as it was `before`."""
    if state_of(path) != before:
        raise _explain(path, "a file that changed since it was looked at")


def _explain(path: Path, got: str) -> LaunchError:
    fix = "Wait until it is written, and run the same command again."
    return LaunchError(needed(str(path), got, "one that no program is writing", fix))
