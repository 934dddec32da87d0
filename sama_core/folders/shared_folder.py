"""A folder in which several processes work at once, and which goes only when no other one does.

    FOLDER/in_use   locked by every process that works there, beside the others
    FOLDER/.turn    locked for a moment, alone, by the one that begins there or removes something

Locks end with their process, however that ends. Nothing is prevented where a disk has none.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from weakref import WeakValueDictionary

from .file_lock import has_name, open_locked, remove_locked, take_lock, wait_for_lock

IN_USE, TURN = "in_use", ".turn"
TRIES = 100
"""As often another process may remove a folder just when it was made."""


class Use:
    """That this process works in a folder: until `end`, or until nothing refers to this any more.
    A process has one for each folder, which its parts share.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._file: IO[bytes] | None = None

    def begin(self) -> None:
        """Other processes see it from now on. Raises OSError."""
        if not has_name(self._file, self.folder / IN_USE):
            self.end()
            self._file = (self.folder / IN_USE).open("a+b")
            wait_for_lock(self._file, shared=True)

    def end(self) -> None:
        """Other processes see it no more."""
        file, self._file = self._file, None
        if file:
            file.close()

    def __del__(self) -> None:
        self.end()


_uses: "WeakValueDictionary[Path, Use]" = WeakValueDictionary()
"""Those of this process, by their folders."""


def use_folder(folder: Path) -> Use:
    """Makes the folder where it is absent, and keeps other processes from removing it. Raises
    OSError where it cannot be made.
    """
    with _take_turn(folder):
        use = _uses.setdefault(folder, Use(folder))
        use.begin()
    return use


@contextmanager
def while_unused(folder: Path) -> Iterator[bool]:
    """Whether no other process works in a folder. None begins to until the context ends; then the
    folder goes if nothing is left in it, and this process's own use of it with it.
    """
    if not folder.is_dir():
        yield True
        return
    with _take_turn(folder, or_without=True):
        mine, alone = _uses.get(folder), False
        if mine:
            mine.end()
        try:
            alone = not _is_locked(folder / IN_USE)
            yield alone
        finally:
            with suppress(OSError):
                if alone and not _contents(folder):
                    (folder / IN_USE).unlink(missing_ok=True)
                elif mine:
                    mine.begin()


def empty_folder(folder: Path) -> None:
    """Removes what lies in a folder, as far as it can be; called in `while_unused`."""
    for path in _contents(folder):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def remove_unused(folder: Path) -> bool:
    """Removes a folder, unless another process works in it; whether it did."""
    with while_unused(folder) as alone:
        if alone:
            empty_folder(folder)
    return alone


def _contents(folder: Path) -> list[Path]:
    """All but our own two files."""
    return [folder / name for name in _names(folder) if name not in (IN_USE, TURN)]


def _is_locked(path: Path) -> bool:
    """Whether any process has the lock of a file."""
    try:
        with path.open("r+b") as file:
            return not take_lock(file)
    except OSError:
        return False


@contextmanager
def _take_turn(folder: Path, or_without: bool = False) -> Iterator[None]:
    """Waits for the folder's turn; the folder is made. It goes afterwards if nothing else is in it.

    Raises OSError where that cannot be written, or goes on `or_without`.
    """
    try:
        turn = _open_turn(folder)
    except OSError:
        if not or_without:
            raise
        yield
        return
    try:
        yield
    finally:
        if _names(folder) == [TURN]:
            remove_locked(turn, folder / TURN)
            with suppress(OSError):
                folder.rmdir()
        turn.close()


def _open_turn(folder: Path) -> IO[bytes]:
    """The file of turns, locked. Raises OSError."""
    for left in reversed(range(TRIES)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            turn = open_locked(folder / TURN)
            assert turn
            return turn
        except (FileNotFoundError, FileExistsError):
            if not left:
                raise
    raise AssertionError("returned or raised")


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
