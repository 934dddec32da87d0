"""A folder of clips as rows, for those who write no JSONL.

    name_source.mp4   name_target.mp4   name.txt     a pair and its instruction
    name_source.png   name_target.png   name.txt     the same of images
    name.mp4          name.txt                       stage 0: a clip to restore and its caption
    name_mask.mp4                                    where the text's subject is, for an alignment
    3_hats/           cats/                          folders of such files; rows of the first come
                                                     three times as often, up to 1000 times

Rows are numbered in the order of their names. Other files are ignored. A text is UTF-8, or UTF-16
with its mark, as Notepad writes it.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .media_files import IMAGE_FILES, SHEET, VIDEO_FILES
from .text_files import encoding_of

LARGEST_WEIGHT = 1000
"""Most repeats of a row."""
ROLES = ("source", "target", "mask")
_ROLE = re.compile(rf"(.+)_({'|'.join(ROLES)})", re.DOTALL)
_REPEATS = re.compile(r"(\d+)_.", re.DOTALL)

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


def name_of(entry: dict[str, Any]) -> str:
    """What a row of a folder is called there: its clips' common name, after its own folder's."""
    path = Path(entry.get("source") or entry["video"])
    named = _ROLE.fullmatch(path.stem) if "source" in entry else None
    return path.with_name(named[1] if named else path.stem).as_posix().replace("\n", " ")


def _list_one(folder: Path, root: Path, repeats: int) -> Iterator[Entry]:
    files, names = _collect(folder)
    for name in names:
        found = {role: files.get((name, role), []) for role in (*ROLES, "")}
        twice = next((paths for paths in found.values() if len(paths) > 1), None)
        if twice:
            one, other = (str(path.relative_to(root)) for path in twice[:2])
            yield f"{one!r} and {other!r}, needs one of them"
            continue
        role = {role: paths[0] if paths else None for role, paths in found.items()}
        if repeats > LARGEST_WEIGHT:
            got = f"{repeats} repeats of {name!r}, as the name of its folder {folder.name!r} says"
            fix = f"rename the folder, to '1_{folder.name}' for 1"
            yield f"{got}, needs at most {LARGEST_WEIGHT}: {fix}"
            continue
        yield _entry(folder / name, root, role, repeats)


def _collect(folder: Path) -> tuple[dict[tuple[str, str], list[Path]], list[str]]:
    """Clips and images by name and role, "" for one without, and the names in order."""
    files: dict[tuple[str, str], list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if _is_media(path):
            named = _ROLE.fullmatch(path.stem)
            files.setdefault((named[1], named[2]) if named else (path.stem, ""), []).append(path)
    return files, sorted({name for name, role in files if role != "mask"})


def _is_media(path: Path) -> bool:
    known = path.suffix.lower() in IMAGE_FILES | VIDEO_FILES
    return known and not path.name.startswith(".") and path.name != SHEET


def _entry(name: Path, root: Path, role: dict[str, Path | None], repeats: int) -> Entry:
    shown = {one: str(path.relative_to(root)) for one, path in role.items() if path}
    text = name.with_name(f"{name.name}.txt")
    if not text.is_file():
        return f"{next(iter(shown.values()))!r} without a text, needs {text.name!r} beside it"
    words = _decode(text.read_bytes())
    if words is None:
        return f"{text.name!r} in another encoding, needs a text that is saved as UTF-8"
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


def _decode(text: bytes) -> str | None:
    """A text file's words; None where they are neither UTF-8 nor UTF-16 with a mark."""
    try:
        return text.decode(encoding_of(text))
    except UnicodeDecodeError:
        return None
