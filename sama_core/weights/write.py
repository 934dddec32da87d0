"""Files written whole or not at all. Standard library only, but for writing tensors."""

import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

ABANDONED_SECONDS = 3600
"""Age at which an unfinished file is nobody's any more."""


@contextmanager
def whole_file(path: str | Path, keep_suffix: bool = False) -> Iterator[Path]:
    """A temporary path beside `path`; what is written there takes `path`'s place when the block
    ends.

    The folder is made. If the block raises, what was written is removed, and an older file stays as
    it was. The new file has the user's normal permissions (umask). With `keep_suffix` the temporary
    name ends as `path` does, for libraries that choose a format by it.
    """
    path = Path(path)
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
    """Write tensors with `whole_file`. The library alone would make the file private."""
    with whole_file(path) as partial:
        save_file(
            {name: value.contiguous() for name, value in weights.items()},
            partial,
            metadata=dict(metadata or {"format": "pt"}),
        )


def save_file(tensors: dict, path: Path, metadata: dict[str, str]) -> None:
    """`safetensors.torch.save_file`, imported when it is needed."""
    from safetensors.torch import save_file as save

    save(tensors, path, metadata=metadata)


def _umask() -> int:
    """What new files lack. It can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
