"""What the store of segments holds, in words, and emptying it on purpose only."""

import hashlib
from collections.abc import Iterable

from .store import Entry, SegmentStore


def clearing_code(entries: Iterable[Entry]) -> str:
    """Four digits and letters that stand for just these segments.

    A workflow that somebody else saved, or that was used once before, cannot hold them.
    """
    names = "\n".join(sorted(entry.path.name for entry in entries))
    return hashlib.sha256(names.encode()).hexdigest()[:4]


def show_or_clear(store: SegmentStore, clear: bool, code: str) -> str:
    """What the store holds, after removing all of it where `clear` is asked for with the right code."""
    entries = store.entries()
    wanted = clearing_code(entries)
    if not entries or not clear:
        hint = f" To remove them, set action to clear and confirm to {wanted}." if entries else ""
        return _contents(store, entries) + hint
    if code.strip().lower() != wanted:
        given = repr(code.strip()) if code.strip() else "nothing"
        return (f"Nothing was removed: confirm says {given}, and has to say {wanted} for these segments. "
                f"{_contents(store, entries)}")
    return f"{_counted(store.clear())} removed. {_contents(store, store.entries())}"


def _contents(store: SegmentStore, entries: list[Entry]) -> str:
    megabytes = sum(entry.size for entry in entries) / 2**20
    return (f"{_counted(len(entries))}, {megabytes:.1f} MiB of {store.limit / 2**30:g} GiB, in {store.folder.name}.")


def _counted(segments: int) -> str:
    return "1 segment" if segments == 1 else f"{segments} segments"
