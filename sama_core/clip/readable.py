"""Which files can be opened as videos, several looked at at once: most of the time is waiting."""

from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..errors import ClipError
from .decode import display_name, open_video, picture_stream

READERS = 4
"""Files that are opened at once."""


def find_faults(paths: Iterable[Path]) -> Generator[str | None]:
    """For each file, in order, what is wrong with it; None for a video. Close it to stop early."""
    with ThreadPoolExecutor(READERS) as readers:
        try:
            yield from readers.map(_find_fault, paths)
        finally:
            readers.shutdown(cancel_futures=True)


def _find_fault(path: Path) -> str | None:
    try:
        name = display_name(path)
        with open_video(path, name) as container:
            picture_stream(container, name)
    except ClipError as error:
        return str(error)
    return None
