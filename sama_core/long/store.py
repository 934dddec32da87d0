"""Finished segments on disk: an interrupted edit continues where it stopped.

An entry is a safetensors file named by the key of everything it depends on, with a checksum of its
tensors inside. It appears whole or not at all: a killed process loses only the segment that it was
computing. `show_or_clear` lists the contents in words, and clears them only with a code from
that list.
"""

import contextlib
import hashlib
import logging
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..version import VERSION
from ..weights.write import remove_abandoned, write_safetensors

_CHECKSUM = "sha256"
_PACK = "pack"
_KEY = re.compile("[0-9a-f]+")


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A kept segment."""

    path: Path
    """Its file."""
    size: int
    """Bytes."""
    used: float
    """When it was written or last used, in seconds since 1970."""


class SegmentStore:
    """Entries under `folder`, at most `limit` bytes of them; the longest unused ones go first.

    What was read or written through this object stays, also over the limit: a running edit may be
    broken off at any time, and needs all of its segments then.
    """

    def __init__(self, folder: Path, limit: int):
        self.folder, self.limit = Path(folder), limit
        self._in_use: set[Path] = set()

    def path(self, key: str) -> Path:
        """Where the entry of a key (hexadecimal) lies."""
        assert _KEY.fullmatch(key), key
        return self.folder / f"{key}.safetensors"

    def get(self, key: str) -> dict[str, Tensor] | None:
        """The tensors kept under `key`; None where there are none, or damaged or non-finite ones,
        which are removed.
        """
        path = self.path(key)
        try:
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                whole = (file.metadata() or {}).get(_CHECKSUM) == checksum(tensors)
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError, ValueError) as error:
            log.warning(
                "SAMA: the kept segment %s cannot be read (%s); it is computed again.",
                path.name,
                error,
            )
            self._drop(path)
            return None
        if not whole or not _finite(tensors):
            log.warning("SAMA: the kept segment %s is damaged; it is computed again.", path.name)
            self._drop(path)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        self._in_use.add(path)
        return tensors

    def put(self, key: str, tensors: dict[str, Tensor], facts: dict[str, str]) -> bool:
        """Keep tensors, and remove what is over the limit.

        False, with a warning, where the disk refuses, or where values are not finite.
        """
        tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        if not _finite(tensors):
            log.warning(
                "SAMA: a segment whose values are no numbers (NaN or infinite) is not kept."
            )
            return False
        try:
            write_safetensors(
                self.path(key), tensors, {**facts, _PACK: VERSION, _CHECKSUM: checksum(tensors)}
            )
            self._in_use.add(self.path(key))
            self._tidy()
        except (OSError, SafetensorError) as error:
            log.warning(
                "SAMA: the segment is not kept (%s): an edit that is broken off would compute it "
                "again.",
                error,
            )
            return False
        return True

    def entries(self) -> list[Entry]:
        """What is kept, longest unused first. Files whose names are no keys are not the store's."""
        found = []
        files = self.folder.glob("*.safetensors") if self.folder.is_dir() else ()
        for path in (path for path in files if _KEY.fullmatch(path.stem)):
            with contextlib.suppress(FileNotFoundError):
                state = path.stat()
                found.append(Entry(path, state.st_size, state.st_mtime))
        return sorted(found, key=lambda entry: entry.used)

    def of_other_versions(self) -> list[Entry]:
        """The entries that another version of the pack kept, longest unused first.

        Their keys describe other code, so this version does not use them. Versions up to 0.1.0 did
        not write which they were.
        """
        return [entry for entry in self.entries() if _maker(entry.path) != VERSION]

    def clear(self, entries: Iterable[Entry] | None = None) -> int:
        """Remove `entries`, or all; returns how many."""
        chosen = self.entries() if entries is None else list(entries)
        for entry in chosen:
            self._drop(entry.path)
        return len(chosen)

    def _tidy(self) -> None:
        remove_abandoned(self.folder.glob(".*.part"))
        entries = self.entries()
        over = sum(entry.size for entry in entries) - self.limit
        if over <= 0:
            return
        for entry in sorted(entries, key=lambda entry: _maker(entry.path) == VERSION):
            if over > 0 and entry.path not in self._in_use:
                self._drop(entry.path)
                over -= entry.size

    def _drop(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            path.unlink()


def _maker(path: Path) -> str | None:
    """The version of the pack that kept a segment; None where the file does not name one."""
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get(_PACK)
    except (SafetensorError, OSError, ValueError):
        return None


def _finite(tensors: dict[str, Tensor]) -> bool:
    return all(
        bool(torch.isfinite(value).all()) for value in tensors.values() if value.is_floating_point()
    )


def checksum(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of names, kinds and values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def clearing_code(entries: Iterable[Entry]) -> str:
    """Four digits and letters that stand for just these segments.

    A workflow that somebody else saved, or that was used once before, cannot hold them.
    """
    return name_code(entry.path.name for entry in entries)


def name_code(names: Iterable[str]) -> str:
    """Four digits and letters that stand for just these names, in any order."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:4]


def show_or_clear(store: SegmentStore, clear: bool, code: str) -> str:
    """What the store holds, after removing all of it, or what other versions kept, where `clear` is
    asked for with the right code.
    """
    entries, others = store.entries(), store.of_other_versions()
    wanted = clearing_code(entries)
    if not entries or not clear:
        hint = f" To remove them, set action to clear and confirm to {wanted}." if entries else ""
        if 0 < len(others) < len(entries):
            hint += f" To remove those of another version only: {clearing_code(others)}."
        return _contents(store, entries) + hint
    if others and code.strip().lower() == clearing_code(others):
        return (
            f"{_count_segments(store.clear(others))} removed. {_contents(store, store.entries())}"
        )
    if code.strip().lower() != wanted:
        given = repr(code.strip()) if code.strip() else "nothing"
        return (
            f"Nothing was removed: confirm says {given}, and has to say {wanted} for these "
            "segments. "
            f"{_contents(store, entries)}"
        )
    return f"{_count_segments(store.clear())} removed. {_contents(store, store.entries())}"


def _contents(store: SegmentStore, entries: list[Entry]) -> str:
    size = size_in_words(sum(entry.size for entry in entries))
    return (
        f"{_count_segments(len(entries))}, {size} of {store.limit / 2**30:g} GiB, in "
        f"{store.folder.name}."
        f"{_say_unused(len(store.of_other_versions()))}"
    )


def _say_unused(others: int) -> str:
    verb = "is" if others == 1 else "are"
    words = f" {others} of them {verb} of another version and {verb} not used."
    return words if others else ""


def size_in_words(count: int) -> str:
    """Bytes in MiB; less than one of them in KiB, rounded up."""
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{-(-count // 2**10)} KiB"


def _count_segments(segments: int) -> str:
    return "1 segment" if segments == 1 else f"{segments} segments"
