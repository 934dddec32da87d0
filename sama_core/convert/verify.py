"""Is a converted file what was written? Its own checksum says so."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from ..errors import CheckpointError, needed
from .layouts import BLANK, blanked, checksum_position

NO_PROGRESS: Callable[[int, int], None] = lambda done, total: None  # noqa: E731
_READ = 1 << 22
_HEADER = 8 << 20


def verify(path: str | Path, progress: Callable[[int, int], None] = NO_PROGRESS) -> str:
    """The checksum of a file that `convert` made, after reading all of it.

    Raises CheckpointError for a file without one, or with other contents than it had when it was written.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(needed(str(path), "no such file", "a converted file", "Choose a file that exists."))
    with open(path, "rb") as file:
        head = file.read(_HEADER)
        at = checksum_position(head)
        if at is None:
            raise CheckpointError(needed(path.name, "no checksum of ours", "a file that SAMA Convert Weights made",
                                         "Other files are checked against their publisher's checksum."))
        digest = hashlib.sha256(blanked(head))
        done, size = len(head), path.stat().st_size
        while data := file.read(_READ):
            digest.update(data)
            done += len(data)
            progress(done, size)
    expected = head[at:at + len(BLANK)].decode()
    if digest.hexdigest() != expected:
        raise CheckpointError(needed(path.name, f"contents with checksum {digest.hexdigest()}", expected,
                                     "The file is damaged: convert it again, and allow it to be overwritten."))
    return expected
