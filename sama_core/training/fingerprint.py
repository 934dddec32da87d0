"""Short names for what a training reads, so that a changed file is noticed in no time.

A digest of some places of a file, and of its size, tells other weights and other clips apart
without reading all of them: 28 GB would take minutes. It does not tell apart files that differ
nowhere else.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

PIECE, PIECES = 1 << 16, 16
"""Bytes of one place, and places of a file, the first and the last bytes among them."""


def digest_ends(path: Path) -> str:
    """16 hexadecimal digits for a file, or for a folder of files. Raises OSError."""
    if path.is_dir():
        inside = sorted(one for one in path.iterdir() if one.is_file())
        return digest_texts(f"{one.name} {digest_ends(one)}" for one in inside)
    size = path.stat().st_size
    found = hashlib.blake2s(str(size).encode())
    with open(path, "rb") as file:
        for place in range(PIECES):
            file.seek(max(0, size - PIECE) * place // (PIECES - 1))
            found.update(file.read(PIECE))
            if size <= PIECE:
                break
    return found.hexdigest()[:16]


def digest_texts(texts: Iterable[str]) -> str:
    """16 hexadecimal digits for texts in their order."""
    found = hashlib.blake2s()
    for text in texts:
        found.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return found.hexdigest()[:16]


def legacy_hash(path: Path) -> str:
    """The short hash by which tools have looked up a model's file: of 64 KiB at 1 MiB."""
    with open(path, "rb") as file:
        file.seek(0x100000)
        return hashlib.sha256(file.read(0x10000)).hexdigest()[:8]
