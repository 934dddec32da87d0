"""Names for the results of clips: one for each clip, on every file system, never twice."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

LONGEST = 150
"""Bytes of a name; file systems take 255 with what Save Video and others add."""
_FORBIDDEN = re.compile(r'[<>:"|?*\\%]')
"""What Windows refuses in names, and what ComfyUI takes as the sign of a variable."""
_DEVICE = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
_UNSEEN = {"Cc", "Cs", "Zl", "Zp"}
"""Unicode's categories of control characters, bytes that are no text, and ends of lines."""


def is_device(name: str) -> bool:
    """Whether Windows keeps this name for a device, so that no file can have it."""
    return _DEVICE.fullmatch(name) is not None


def name_results(clips: Sequence[str]) -> list[str]:
    """A name for each of these relative paths: its own without the ending, folders kept.

    Signs that a file system may refuse become `_`. Where two names are one, the ending is added
    ("a_mov"), then a number. A clip's name depends on all clips, so give all that there are.
    """
    plain = [_clean_path(clip.rpartition(".")[0] or clip) for clip in clips]
    shared = Counter(map(_on_disk, plain))
    # Names that need no change come first: they keep what is theirs.
    taken = {place for place, count in shared.items() if count == 1}
    names = []
    for clip, name in zip(clips, plain, strict=True):
        if shared[_on_disk(name)] == 1:
            names.append(name)
            continue
        names.append(_make_unique(f"{name}_{clip.rpartition('.')[2].lower()}", taken))
        taken.add(_on_disk(names[-1]))
    return names


def _make_unique(name: str, taken: set[str]) -> str:
    number, found = 2, name
    while _on_disk(found) in taken:
        number, found = number + 1, f"{name}_{number}"
    return found


def _on_disk(name: str) -> str:
    """What two names have in common that are one file where case or accents' spelling is lost."""
    return unicodedata.normalize("NFC", name.casefold())


def _clean_path(path: str) -> str:
    return "/".join(map(_clean, path.split("/")))


def _clean(part: str) -> str:
    """A folder's or file's name; what cannot be shown or stored becomes `_`."""
    shown = "".join("_" if unicodedata.category(sign) in _UNSEEN else sign for sign in part)
    good = _FORBIDDEN.sub("_", shown).strip(" .")
    good = good.encode()[:LONGEST].decode("utf-8", "ignore").rstrip(" .") or "clip"
    return f"_{good}" if is_device(good) else good
