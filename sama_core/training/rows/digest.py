"""Short names for what a training on rows reads, by which a resumed run notices a change."""

from collections.abc import Iterable, Iterator

from ..fingerprint import digest_ends, digest_texts
from ..model_folder import find_folder, is_model_file
from .rows import Row


def digest_clips(rows: Iterable[Row]) -> str:
    """16 hexadecimal digits for rows and the files that they name, wherever the folder is.

    Raises OSError for a file that has gone.
    """
    return digest_texts(part for row in rows for part in _facts(row))


def digest_weights(rows: Iterable[Row]) -> str:
    """16 hexadecimal digits for how often the rows come; with a part of a round a row's number
    counts too, see `count_in_round`.
    """
    return digest_texts(
        f"{float(row.weight)} {row.number if row.weight % 1 else ''}" for row in rows
    )


def digest_semantics(choice: str) -> str:
    """16 hexadecimal digits for a semantic encoder, see `load_semantics`, wherever its folder is.

    Other files in a model's folder do not count.
    """
    folder = None if choice == "pixels" else find_folder(choice)
    if folder is None:
        return digest_texts([choice])
    files = [file for file in sorted(folder.iterdir()) if is_model_file(file)]
    return digest_texts(f"{file.name} {digest_ends(file)}" for file in files)


def _facts(row: Row) -> Iterator[str]:
    yield row.text
    for path in (row.target, row.source, row.mask):
        yield "" if path is None else f"{path.name} {digest_ends(path)}"
