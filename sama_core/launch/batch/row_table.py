"""Rows of a table: a CSV file with a line of names, or a JSONL file with an object in each line."""

import csv
import io
import json
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

from ...errors import needed
from ...training.rows.text_files import to_utf8
from ..progress import LaunchError
from .batch_rows import (
    CLIP,
    COLUMNS,
    FPS,
    MASK,
    Clip,
    Found,
    Row,
    Settings,
    read_fps,
    read_settings,
)
from .folder_rows import sequence_clip
from .numbered_frames import find_sequences

TABLES = {".csv", ".tsv", ".jsonl", ".ndjson"}
"""Endings of tables."""
_SEPARATORS = (",", ";", "\t")
_KNOWN = {CLIP, FPS, *COLUMNS}

Line = tuple[int, dict[str, Any]]


def table_rows(table: Path, usual: Settings, fps: Fraction | None) -> Found:
    """The rows of a CSV or JSONL file; `usual` and `fps` stand where a cell is empty.

    Paths of clips and masks are relative to the table's folder. A row whose clip or mask is absent
    stays, and fails later. Raises LaunchError for a missing column and for a value that no edit
    can have.
    """
    lines = list(_read_lines(table))
    found, base = Found(), table.parent
    clips = [(number, _clip_path(base, str(cells[CLIP]))) for number, cells in lines]
    root = _common_root(base, [path for _, path in clips])
    for (number, cells), (_, path) in zip(lines, clips, strict=True):
        where = f"line {number} of {table.name}"
        if not usual.instruction and not cells.get("instruction"):
            raise _no_instruction(where, cells)
        rate = read_fps(f"{where}, column {FPS}", cells[FPS]) if cells.get(FPS) else fps
        clip = _clip(where, path, rate)
        mask = str(cells.get(MASK) or "").strip()
        placed = {MASK: str(_clip_path(base, mask))} if mask else {}
        settings = read_settings(where, cells | placed, usual)
        found.rows.append(Row(number, _relative(path, root), clip, settings))
    unknown = sorted({str(name) for _, cells in lines for name in cells} - _KNOWN)
    if unknown:
        found.remarks.append(
            f"Columns without a meaning here: {', '.join(unknown)}. "
            f"Those with one: {', '.join(sorted(_KNOWN))}."
        )
    if not found.rows:
        raise LaunchError(needed(table.name, "no row", "at least one", "Add a line for a clip."))
    return found


def _read_lines(table: Path) -> Iterator[Line]:
    """Number and cells of every row that has one, names in small letters."""
    try:
        text = to_utf8(table.read_bytes()).decode("utf-8-sig")
    except UnicodeError:
        raise LaunchError(
            needed(table.name, "a text that is not UTF-8", "UTF-8", "Save it as UTF-8.")
        ) from None
    read = _read_json if table.suffix.lower() in (".jsonl", ".ndjson") else _read_csv
    for number, cells in read(table, text):
        if not str(cells.get(CLIP) or "").strip():
            where = f"line {number} of {table.name}"
            raise LaunchError(needed(where, "no clip", f"a path in {CLIP!r}", "Fill that cell."))
        yield number, cells


def _read_csv(table: Path, text: str) -> Iterator[Line]:
    try:
        separator, names = _header(table, text)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        next(reader)
        before = reader.line_num
        for cells in reader:
            number, before = before + 1, reader.line_num
            if len(cells) > len(names):
                raise LaunchError(
                    needed(
                        f"line {number} of {table.name}",
                        f"{len(cells)} cells",
                        f"{len(names)}, as many as names in the first line",
                        "Put a text with separators in it into quotes.",
                    )
                )
            if any(cell.strip() for cell in cells):
                yield number, dict(zip(names, cells, strict=False))
    except csv.Error as error:
        raise LaunchError(
            needed(table.name, f"no readable CSV ({error})", "one", "Export it again.")
        ) from error


def _header(table: Path, text: str) -> tuple[str, list[str]]:
    """The separator, and the columns' names. Raises LaunchError if the column `clip` is missing."""
    lines = {}
    for separator in _SEPARATORS:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        names = [name.strip().lower().replace(" ", "_") for name in next(reader, [])]
        if CLIP in names:
            return separator, names
        lines[separator] = names
    most = max(lines.values(), key=len)
    raise LaunchError(
        needed(
            f"columns of {table.name}",
            ", ".join(filter(None, most)) or "none",
            f"a column {CLIP!r}",
            "Name the column with the clips' paths so, in the first line.",
        )
    )


def _read_json(table: Path, text: str) -> Iterator[Line]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"line {number} of {table.name}"
        try:
            cells = json.loads(line)
        except (ValueError, RecursionError):
            cells = None
        if not isinstance(cells, dict):
            raise LaunchError(
                needed(where, line.strip()[:60], "a JSON object", 'As {"clip": "a.mp4"}.')
            )
        cells = {str(name).strip().lower(): value for name, value in cells.items()}
        if CLIP not in cells:
            there = ", ".join(cells) or "nothing"
            raise LaunchError(needed(where, there, f"a key {CLIP!r}", "Name the clip's path so."))
        yield number, cells


def _no_instruction(where: str, cells: dict) -> LaunchError:
    there = ", ".join(name for name in cells if name) or "nothing"
    got = "an empty cell" if "instruction" in cells else f"the columns {there}"
    return LaunchError(
        needed(
            where,
            got,
            "an instruction",
            "Add the column 'instruction', or give --instruction TEXT.",
        )
    )


def _clip_path(base: Path, text: str) -> Path:
    """The path of a clip or mask; a table from Windows may have its separators."""
    path = Path(os.path.abspath(base / os.path.expanduser(text.strip())))
    if "\\" in text and not path.exists():
        other = Path(os.path.abspath(base / text.strip().replace("\\", "/")))
        return other if other.exists() else path
    return path


def _clip(where: str, path: Path, fps: Fraction | None) -> Clip:
    if not path.is_dir():
        return Clip(path)
    sequences = find_sequences(sorted(os.listdir(path)))
    if len(sequences) != 1 or fps is None:
        got = (
            "no --fps and no column 'fps'"
            if sequences and fps is None
            else f"{len(sequences)} sequences of numbered frames"
        )
        raise LaunchError(
            needed(
                f"{where}: folder {path}",
                got,
                "frames with numbers (PNG, TIFF, EXR) of one clip, and their rate",
                "Give --fps N, or name a video file.",
            )
        )
    return sequence_clip(path, sequences[0], fps)


def _common_root(base: Path, paths: list[Path]) -> Path | None:
    """The folder that names are relative to: the table's if all clips lie in it."""
    if all(base in path.parents for path in paths):
        return base
    try:
        return Path(os.path.commonpath([path.parent for path in paths]))
    except ValueError:
        return None


def _relative(path: Path, root: Path | None) -> PurePosixPath:
    if root is None or root not in path.parents:
        return PurePosixPath(path.name)
    return PurePosixPath(path.relative_to(root).as_posix())
