"""A short name for the rows of a training, by which a resumed run notices that they changed."""

from collections.abc import Iterable, Iterator

from ..fingerprint import digest_ends, digest_texts
from .rows import Row


def digest_clips(rows: Iterable[Row]) -> str:
    """16 hexadecimal digits for rows and the files that they name, wherever the folder is.

    Raises OSError for a file that has gone.
    """
    return digest_texts(part for row in rows for part in _facts(row))


def _facts(row: Row) -> Iterator[str]:
    yield row.text
    for path in (row.target, row.source, row.mask):
        yield "" if path is None else f"{path.name} {digest_ends(path)}"
