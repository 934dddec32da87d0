"""Files written whole or not at all. Standard library only, but for writing tensors."""

import errno
import os
import re
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SamaError, needed

if TYPE_CHECKING:
    from torch import Tensor

ABANDONED_SECONDS = 3600
"""Age at which an unfinished file is nobody's any more."""


class FolderInTheWay(IsADirectoryError, SamaError):
    """A folder has the name of a file that is to be written. It stays: it may hold anything."""

    def __init__(self, path: str | Path):
        super().__init__(errno.EISDIR, "a folder of that name, which is kept", str(path))

    def __str__(self) -> str:
        fix = "Move that folder away, and start again."
        return needed(self.filename, self.strerror, "a free name", fix)


def refuse_folder(path: Path) -> None:
    """Raises FolderInTheWay where a folder, and no link to one, has a file's name."""
    if path.is_dir() and not path.is_symlink():
        raise FolderInTheWay(path)


@contextmanager
def whole_file(path: str | Path, keep_suffix: bool = False) -> Iterator[Path]:
    """A temporary path beside `path`; what is written there takes `path`'s place when the block
    ends.

    The folder is made. If the block raises, what was written is removed, and an older file stays as
    it was. The new file has the user's normal permissions (umask). With `keep_suffix` the temporary
    name ends as `path` does, for libraries that choose a format by it.

    Raises FolderInTheWay before anything is written where a folder has that name.
    """
    path = Path(path)
    refuse_folder(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    ending = path.suffix if keep_suffix else ""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.part{ending}")
    try:
        yield partial
        partial.chmod(0o666 & ~_umask())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def remove_abandoned(parts: Iterable[Path]) -> None:
    """Remove unfinished files of processes that were killed: those that are an hour old."""
    for part in parts:
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > ABANDONED_SECONDS:
                part.unlink()


def write_safetensors(
    path: str | Path,
    weights: Mapping[str, "Tensor"],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write tensors with `whole_file`. The library alone would make the file private.

    Raises OSError where the disk does not take them: a full one, a folder without rights, a folder
    of that name.
    """
    from safetensors import SafetensorError

    with whole_file(path) as partial:
        try:
            save_file(
                {name: value.contiguous() for name, value in weights.items()},
                partial,
                metadata=dict(metadata or {"format": "pt"}),
            )
        except SafetensorError as failed:
            cause = _find_cause(str(failed))
            if cause is None:
                raise
            raise OSError(cause[0], cause[1], str(path), cause[0]) from failed


def save_file(tensors: dict, path: Path, metadata: dict[str, str]) -> None:
    """`safetensors.torch.save_file`, imported when it is needed."""
    from safetensors.torch import save_file as save

    save(tensors, path, metadata=metadata)


def _find_cause(text: str) -> tuple[int, str] | None:
    """Number and words of the system's error in the library's own; None without one."""
    found = re.search(r"(?:I/O error: )?([^:]*) \(os error (\d+)\)", text)
    return (int(found[2]), found[1].strip()) if found else None


def _umask() -> int:
    """What new files lack. It can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
