"""A long file onto the disk: killed at any moment it continues later, and it appears whole or not
at all.

    .NAME.part      the file so far
    .NAME.pieces    a key of all it depends on, then the CRC-32 of each whole piece, one a line

Neither is touched where it belongs to another program, nor is a file that took the result's name
meanwhile.

On going on, the pieces on disk are read and compared with their checksums; the first that is torn,
lost in a power failure, or not there yet is where the work starts again. The finished file's own
checksum stands in its header: the SHA-256 of the whole file with these 64 digits as zeros.
"""

import errno
import hashlib
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from ..errors import ConversionError, needed
from ..folders.file_lock import has_name, take_lock
from ..threads import count_workers, in_order, open_pool
from .existing import Seen, put_in_place, refuse_changed, take_partial
from .formats import partial_files
from .layouts import Job, Layout, Piece, blank_out

_FULL = (errno.ENOSPC, errno.EDQUOT)
_READ = 1 << 20
_READ_AND_WRITE = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)


@dataclass(frozen=True)
class Written:
    """A finished file."""

    sha256: str
    """As in its header."""
    resumed: int
    """Bytes that a broken run had left."""
    dropped: int
    """Bytes that a run with another key had left, and that were removed."""


def read_key(journal: Path) -> str:
    """The key that a journal begins with; empty where there is none."""
    if not journal.is_file():
        return ""
    with open(journal, encoding="ascii", errors="replace") as lines:
        return lines.readline(80).rstrip("\n")


def write_resumable(
    target: Path,
    layout: Layout,
    key: str,
    progress: Callable[[int, int], None],
    before_rename: Callable[[], None] = lambda: None,
    replaces: Seen | None = None,
) -> Written:
    """Write `layout` to `target`, going on from what a run with the same `key` left; `replaces` is
    what lies there.

    `progress(done, total)` in bytes, after every chunk; what it or `before_rename` raises breaks
    the work off, as a kill does, and is passed on. Raises ConversionError for a full disk, another
    conversion at the same file, and a file that is not ours.
    """
    part, journal = partial_files(target)
    take_partial(part, journal)
    with (
        _open_part(part, target) as file,
        _open_journal(journal) as lines,
        _nothing_left(part, journal),
    ):
        refuse_changed(target, replaces)
        whole, digest = _whole_pieces(file, lines, layout, key, progress)
        done = len(layout.header) + sum(piece.size for piece in layout.pieces[:whole])
        resumed = done if whole else 0
        left = os.fstat(file.fileno()).st_size - len(layout.header)
        dropped = max(0, left) if read_key(journal) not in ("", key) else 0
        _require_room(target, layout.size - resumed)
        try:
            if not whole:
                _begin(file, lines, layout, key)
            file.truncate(done)
            file.seek(done)
            with open_pool() as pool:
                making = in_order(pool, _jobs(layout.pieces[whole:], pool), 2 * count_workers())
                for piece in layout.pieces[whole:]:
                    more = partial(_report_more, progress, done, layout.size)
                    _write_piece(file, lines, piece, making, digest, more)
                    done += piece.size
            _sign(file, layout, digest.hexdigest())
        except OSError as error:
            raise _explain(error, target, layout.size) from error
    before_rename()
    put_in_place(part, target, replaces)
    journal.unlink(missing_ok=True)
    return Written(digest.hexdigest(), resumed, dropped)


@contextmanager
def _open_part(part: Path, target: Path) -> Iterator[BinaryIO]:
    """The partial file, to read and write, and locked where the disk can."""
    try:
        number = os.open(part, _READ_AND_WRITE, 0o666)
    except OSError as error:
        raise ConversionError(
            needed(
                str(target.parent),
                f"a folder that takes no file ({error.strerror})",
                "a writable folder",
                "Give another place for the result.",
            )
        ) from error
    with open(number, "r+b", buffering=0) as file:
        if not (take_lock(file) and has_name(file, part)):  # it may just have been finished
            raise ConversionError(
                needed(
                    target.name,
                    "another conversion that writes it now",
                    "one at a time",
                    "Wait for the other one, or give another name.",
                )
            )
        yield file


@contextmanager
def _nothing_left(part: Path, journal: Path) -> Iterator[None]:
    """Removes the two unfinished files if nothing was written to them before a failure."""
    try:
        yield
    except BaseException:
        for path in (part, journal):
            with suppress(OSError):
                if not path.stat().st_size:
                    path.unlink()
        raise


def _open_journal(journal: Path) -> TextIO:
    """The journal, to read and to add to. Its lines end in the one byte that they are cut off by
    and known by, on Windows too.
    """
    return open(journal, "a+", encoding="ascii", newline="\n")


def _whole_pieces(
    file: BinaryIO, lines: TextIO, layout: Layout, key: str, progress: Callable[[int, int], None]
) -> tuple[int, "hashlib._Hash"]:
    """(pieces of this very work that lie on disk whole, the hash of header and these).

    Later lines are cut off.
    """
    digest = hashlib.sha256(layout.header)
    lines.seek(0)
    written = lines.read()
    first, *sums = written.replace("\r\n", "\n").split("\n")
    header = file.read(len(layout.header))
    if first != key or blank_out(header) != layout.header:
        return 0, digest
    whole, position = 0, len(header)
    for piece, expected in zip(layout.pieces, sums, strict=False):
        ahead, crc, left = digest.copy(), 0, piece.size
        while left and (data := file.read(min(left, _READ))):
            ahead.update(data)
            crc, left = zlib.crc32(data, crc), left - len(data)
            progress(position + piece.size - left, layout.size)
        if left or f"{crc:08x}" != expected:
            break
        digest, whole, position = ahead, whole + 1, position + piece.size
    kept = "".join(f"{line}\n" for line in [key, *sums[:whole]])
    lines.truncate(len(kept) if written.startswith(kept) else 0)
    if not written.startswith(kept):  # 0.1.0 on Windows
        lines.write(kept)
        lines.flush()
    return whole, digest


def _require_room(target: Path, size: int) -> None:
    free = shutil.disk_usage(target.parent).free
    if free < size:
        raise ConversionError(
            needed(
                f"disk of {target.parent}",
                f"{free / 1e9:.2f} GB free",
                f"{size / 1e9:.2f} GB more for {target.name}",
                "Free disk space, or give a place on another disk.",
            )
        )


def _begin(file: BinaryIO, lines: TextIO, layout: Layout, key: str) -> None:
    """The key stands before the header, as the sign that the partial file is ours, and never beside
    another work's data: the partial file is empty then."""
    file.truncate(0)
    file.seek(0)
    lines.truncate(0)
    lines.write(f"{key}\n")
    lines.flush()
    _write_all(file, layout.header)


def _report_more(progress: Callable[[int, int], None], start: int, whole: int, more: int) -> None:
    """`progress` of a piece that begins at byte `start` of `whole`, `more` bytes into it."""
    progress(start + more, whole)


def _jobs(pieces: list[Piece], pool: ThreadPoolExecutor) -> Iterator[Job]:
    """All jobs of these pieces. What a piece prepares is begun with the jobs of the one before."""

    def prepare(piece: Piece | None) -> Callable[[], Any]:
        if piece is None or piece.prepare is None:
            return lambda: None
        return pool.submit(piece.prepare).result

    following = prepare(pieces[0] if pieces else None)
    for piece, after in zip_longest(pieces, pieces[1:]):
        prepared, following = following, prepare(after)
        yield from piece.jobs(prepared)


def _write_piece(
    file: BinaryIO,
    lines: TextIO,
    piece: Piece,
    making: Iterator[Any],
    digest: "hashlib._Hash",
    progress: Callable[[int], None],
) -> None:
    """Write a piece's buffers, the next of `making`, and its checksum into the journal."""
    done = crc = 0
    while done < piece.size:
        data = next(making)
        _write_all(file, data)
        digest.update(data)
        crc, done = zlib.crc32(data, crc), done + memoryview(data).nbytes
        progress(done)
    assert done == piece.size, f"{piece.name}: {done} bytes, announced {piece.size}"
    lines.write(f"{crc:08x}\n")
    lines.flush()


def _write_all(file: BinaryIO, data) -> None:
    """An unbuffered file may take a part only, as it does when the disk fills up."""
    view = memoryview(data).cast("B")
    while view:
        view = view[file.write(view) :]


def _sign(file: BinaryIO, layout: Layout, sha256: str) -> None:
    file.seek(layout.checksum_at)
    _write_all(file, sha256.encode())
    os.fsync(file.fileno())


def _explain(error: OSError, target: Path, size: int) -> Exception:
    if error.errno in _FULL:
        return ConversionError(
            needed(
                f"disk of {target.parent}",
                "no room left while writing",
                f"{size / 1e9:.2f} GB for {target.name}",
                "Free disk space and start the same conversion again: it continues where it "
                "stopped.",
            )
        )
    if error.errno == errno.EFBIG:
        return ConversionError(
            needed(
                f"disk of {target.parent}",
                "a file system that takes no file of this size",
                f"{size / 1e9:.2f} GB in one file",
                "Give a place on another disk.",
            )
        )
    return error
