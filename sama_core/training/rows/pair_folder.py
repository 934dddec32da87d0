"""A folder of clips as rows, for those who write no JSONL.

    name_source.mp4   name_target.mp4   name.txt     a pair and its instruction
    name_source.png   name_target.png   name.txt     the same of images
    name.mp4          name.txt                       stage 0: a clip to restore and its caption
    name_mask.mp4                                    where the text's subject is, for an alignment
    3_hats/           cats/                          folders of such files; rows of the first come
                                                     three times as often

Rows are numbered in the order of their names. Other files are ignored.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .media_files import IMAGE_FILES, VIDEO_FILES

ROLES = ("source", "target", "mask")
_ROLE = re.compile(rf"(.+)_({'|'.join(ROLES)})")
_REPEATS = re.compile(r"(\d+)_.")

Entry = dict[str, Any] | str
"""A row as a line of JSONL has it, or what is missing of one: got and needed in one sentence."""


def list_entries(folder: Path) -> list[Entry]:
    """The rows of a folder and of the folders in it, with paths from `folder` on."""
    found = list(_list_one(folder, folder, 1))
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        if not inner.name.startswith("."):
            repeats = _REPEATS.match(inner.name)
            found += _list_one(inner, folder, int(repeats[1]) if repeats else 1)
    return found


def _list_one(folder: Path, root: Path, repeats: int) -> Iterator[Entry]:
    files, names = _collect(folder)
    for name in names:
        role = {role: files.get((name, role)) for role in (*ROLES, "")}
        yield _entry(folder / name, root, role, repeats)


def _collect(folder: Path) -> tuple[dict[tuple[str, str], Path], list[str]]:
    """Clips and images by name and role, "" for one without, and the names in order."""
    files: dict[tuple[str, str], Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in IMAGE_FILES | VIDEO_FILES and not path.name.startswith("."):
            named = _ROLE.fullmatch(path.stem)
            files.setdefault((named[1], named[2]) if named else (path.stem, ""), path)
    return files, sorted({name for name, role in files if role != "mask"})


def _entry(name: Path, root: Path, role: dict[str, Path | None], repeats: int) -> Entry:
    shown = {one: str(path.relative_to(root)) for one, path in role.items() if path}
    text = name.with_name(f"{name.name}.txt")
    if not text.is_file():
        return f"{next(iter(shown.values()))!r} without a text, needs {text.name!r} beside it"
    words = text.read_text(encoding="utf-8-sig", errors="replace")
    more: dict[str, Any] = {"repeats": repeats} if repeats != 1 else {}
    if "mask" in shown:
        more["mask"] = shown["mask"]
    if "source" in shown and "target" in shown:
        pair = {"source": shown["source"], "target": shown["target"], "instruction": words}
        return {**pair, **more}
    for one, other in (("source", "target"), ("target", "source")):
        if one in shown:
            lacks = f"a file {name.name + '_' + other!r} with the ending of a video or image"
            return f"{shown[one]!r} without a {other}, needs {lacks}"
    return {"video": shown[""], "caption": words, **more}
