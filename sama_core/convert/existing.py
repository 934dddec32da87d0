"""Which file has the result's name already, and whether it may be replaced.

Names come from workflows, which may come from strangers. So only files that `convert` itself wrote
are ever replaced, whatever a graph or an API call asks for. A whole file is known by its
header and by the checksum in it, an unfinished one by its header or by the journal beside it.
Everything else is kept, and the artist may delete it.
"""

import contextlib
import errno
import json
import os
import re
import stat
import unicodedata
from collections.abc import Callable
from pathlib import Path

from ..errors import CheckpointError, ConversionError, needed
from .layouts import FACTS_KEY, checksum_position, read_head, verify

Seen = tuple[int, int, int, int]
"""Device, number, bytes and time of the last change: they differ if another file has taken the
name."""

_KEY = re.compile(rb"[0-9a-f]{64}\r?\n")
"""How a journal begins. On Windows the lines of 0.1.0 end in two bytes."""
_TORN_KEY = re.compile(rb"[0-9a-f]{1,64}\r?\Z")
_ONLY_OURS = "Give another name. Only what SAMA Convert Weights wrote itself is ever written over."


def look_at(path: Path) -> Seen | None:
    """What lies under a name, a link being itself; None where there is nothing."""
    try:
        state = path.lstat()
    except FileNotFoundError:
        return None
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


def refuse_namesake(target: Path) -> None:
    """Raises ConversionError for a neighbour that Windows or macOS would take for `target`: other
    capitals, or accents composed in another way."""
    wanted = _fold(target.name)
    for name in os.listdir(target.parent):
        if name != target.name and _fold(name) == wanted:
            raise ConversionError(
                needed(
                    str(target),
                    f"a file of nearly that name ({name}), which is kept",
                    "a name that differs in more than capitals",
                    "Give another name.",
                )
            )


def refuse_foreign(
    target: Path, overwrite: bool, same: bool, progress: Callable[[int, int], None]
) -> None:
    """Raises ConversionError unless `overwrite` is set and the file is one that `convert` wrote,
    whole and unchanged.

    Reads the whole file, with `progress` as in `verify`. A damaged file may be replaced if `same`
    is set: its header is the one that would be written now.
    """
    mode = target.lstat().st_mode
    if stat.S_ISLNK(mode):
        raise _say_kept(target, "a link, which is kept", _ONLY_OURS)
    if not stat.S_ISREG(mode):
        raise _say_kept(target, "a folder" if stat.S_ISDIR(mode) else "no plain file", _ONLY_OURS)
    if not has_our_header(target):
        raise _say_kept(target, "a file of that name, which is kept", _ONLY_OURS)
    if not overwrite:
        raise _say_kept(
            target,
            "a file of that name, which is kept",
            "Give another name, or allow it to be overwritten.",
        )
    if same:
        return
    try:
        verify(target, progress)
    except CheckpointError as changed:
        raise _say_kept(
            target,
            "a file that changed since SAMA Convert Weights wrote it, which is kept",
            _ONLY_OURS,
        ) from changed


def put_in_place(part: Path, target: Path, before: Seen | None) -> None:
    """Give a finished file its name.

    Raises ConversionError where another file took that name since `before`.
    """
    try:
        if before is None:
            _give_free_name(part, target)
        elif look_at(target) == before:
            os.replace(part, target)
        else:
            raise FileExistsError
    except FileExistsError as appeared:
        raise _say_kept(
            target,
            "a file that appeared there during the conversion, which is kept",
            "Move it away and start the same conversion again: it is finished at once.",
        ) from appeared
    except PermissionError as used:
        raise ConversionError(
            needed(
                str(target),
                f"a file that cannot be replaced now ({used.strerror})",
                "one that no program has open",
                "Close what uses it and start the same conversion again: it is finished at once.",
            )
        ) from used


def refuse_changed(target: Path, before: Seen | None) -> None:
    """Raises ConversionError where something has taken the name since `before`: another conversion
    that has just ended.
    """
    if look_at(target) != before:
        raise _say_kept(
            target,
            "a file that has just appeared there, which is kept",
            "Give another name, or start again to have it looked at.",
        )


def take_partial(part: Path, journal: Path) -> None:
    """Make sure that the two unfinished files are ours, or not there.

    Raises ConversionError for another program's.
    """
    begun = _begins_with(_KEY, journal)
    if not (_is_free(journal) or begun or _begins_with(_TORN_KEY, journal)):
        raise _not_ours(journal)
    if not (_is_free(part) or (_is_plain(part) and (begun or has_our_header(part)))):
        raise _not_ours(part)
    if look_at(part) and part.lstat().st_nlink > 1:
        part.unlink()  # A second name of a finished file: writing here would write there.


def has_our_header(path: Path) -> bool:
    """Whether a file's header, safetensors or GGUF, is one that `convert` wrote."""
    with open(path, "rb") as file:
        head = read_head(file)
    if head.startswith(b"GGUF"):
        return FACTS_KEY.encode() in head and checksum_position(head) is not None
    return _has_our_metadata(head[8:])


def _has_our_metadata(header: bytes) -> bool:
    if checksum_position(header) is None:
        return False
    try:
        return isinstance(json.loads(json.loads(header)["__metadata__"][FACTS_KEY])["pack"], str)
    except (ValueError, LookupError, TypeError, RecursionError):
        return False


def _give_free_name(part: Path, target: Path) -> None:
    """Rename, but raise FileExistsError where the name is taken; a second name at first, which no
    program can race.
    """
    try:
        os.link(part, target)
    except FileExistsError:
        raise
    except OSError as refused:
        # File systems without a second name (exFAT, some shares). Windows' rename refuses a taken
        # name by itself.
        if os.name != "nt" and look_at(target) is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from refused
        os.rename(part, target)
        return
    with contextlib.suppress(OSError):
        part.unlink()  # Killed before this, `take_partial` does it.


def _is_plain(path: Path) -> bool:
    return stat.S_ISREG(path.lstat().st_mode)


def _is_free(path: Path) -> bool:
    """Nothing there, or nothing in it."""
    return look_at(path) is None or (_is_plain(path) and path.lstat().st_size == 0)


def _begins_with(key: re.Pattern[bytes], journal: Path) -> bool:
    if look_at(journal) is None or not _is_plain(journal):
        return False
    with open(journal, "rb") as file:
        return key.match(file.read(66)) is not None


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _say_kept(target: Path, got: str, fix: str) -> ConversionError:
    return ConversionError(needed(str(target), got, "a free name", fix))


def _not_ours(path: Path) -> ConversionError:
    return ConversionError(
        needed(
            str(path),
            "an unfinished file of another program",
            "room for our own",
            "Give another name for the result, or delete that file if nothing needs it.",
        )
    )
