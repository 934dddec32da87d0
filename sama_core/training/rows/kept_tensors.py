"""Tensors on disk, by a name that says everything they depend on; and digests of files.

One safetensors file a tensor, written whole or not at all, as it was: what is read is equal to what
was kept, bit for bit. A damaged file counts as missing, and is written again. Several processes and
several runs may use one folder.
"""

import hashlib
import json
import logging
from contextlib import suppress
from pathlib import Path
from threading import Lock

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from ...weights.write import whole_file, write_safetensors
from ..alignment.teachers.base import digest_file

logger = logging.getLogger(__name__)

GIGABYTE = 10**9
DIGESTS = "digests.json"
PART_UNWRITTEN = 32
"""At most one digest of so many is not written yet: to write all for each one would take a time
that grows with the square of their number. What is not written is read again in the next run."""


class KeptTensors:
    """Tensors in a folder, up to a size."""

    def __init__(self, folder: Path, most_gb: float):
        """`most_gb`: gigabytes in the folder from which on nothing more is kept, with one line in
        the log. Nothing is removed: a run that goes on finds what it kept.
        """
        self.folder, self.most = Path(folder), most_gb * GIGABYTE
        self.size = sum(map(_size_of, self.folder.glob("*/*.safetensors")))
        self.full = False

    def has(self, *name: object) -> bool:
        """Whether there is a file of this name, damaged or not."""
        return self._path(name).is_file()

    def get(self, *name: object) -> Tensor | None:
        """What is kept under a name, on the CPU; None where there is nothing, or nothing readable.

        A damaged file is removed.
        """
        path = self._path(name)
        try:
            return load(path.read_bytes())["value"]
        except FileNotFoundError:
            return None
        except (OSError, KeyError, SafetensorError):
            with suppress(OSError):  # it stays on a disk that cannot be written
                path.unlink(missing_ok=True)
            return None

    def put(self, value: Tensor, *name: object) -> None:
        """Keep a tensor, unless the folder is full or there is no room on the disk."""
        bytes_ = value.numel() * value.element_size()
        if self.size + bytes_ > self.most:
            self._say_full(f"holds {self.size / GIGABYTE:.1f} GB")
            return
        try:
            write_safetensors(self._path(name), {"value": value.cpu()})
        except (OSError, SafetensorError) as failed:
            self._say_full(f"cannot be written ({failed})")
            return
        self.size += bytes_

    def _path(self, name: tuple[object, ...]) -> Path:
        digest = hashlib.blake2b(repr(list(map(str, name))).encode(), digest_size=16).hexdigest()
        return self.folder / digest[:2] / f"{digest[2:]}.safetensors"

    def _say_full(self, why: str) -> None:
        if not self.full:
            logger.warning("%s %s: what is not kept is made again each time.", self.folder, why)
        self.full = True


def _size_of(path: Path) -> int:
    """Bytes of a file; 0 where another run has just removed it."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


class KeptDigests:
    """Digests of files' contents, remembered on disk as long as a file's size and time stay: a
    large file is read once, and not in every run.
    """

    def __init__(self, folder: Path | None):
        """`folder` None remembers within the process alone."""
        self.path = folder / DIGESTS if folder else None
        self._known: dict[str, str] = self._read()
        self._new = 0
        self._lock = Lock()

    def __call__(self, path: Path) -> str:
        """40 hexadecimal digits of what the file holds. Raises OSError."""
        path = Path(path).resolve()
        found = path.stat()
        key = f"{path}|{found.st_size}|{found.st_mtime_ns}"
        with self._lock:
            if key not in self._known:
                self._known[key] = digest_file(path)
                self._new += 1
                if self._new * PART_UNWRITTEN > len(self._known):
                    self._write()
            return self._known[key]

    def _read(self) -> dict[str, str]:
        try:
            known = json.loads(self.path.read_text(encoding="utf-8")) if self.path else {}
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def _write(self) -> None:
        self._new = 0
        if self.path is None:
            return
        try:
            merged = {**self._read(), **self._known}
            with whole_file(self.path) as partial:
                partial.write_text(json.dumps(merged, indent=0) + "\n", encoding="utf-8")
        except OSError:  # a cache that cannot be written is none
            pass
