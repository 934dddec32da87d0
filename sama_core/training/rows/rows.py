"""The rows of training data, and what is wrong with those that cannot be used.

They are in a JSONL file, or in a folder: its `rows.jsonl`, or its clips themselves, see
`pair_folder`.

    {"source": "a.mp4", "target": "b.mp4", "instruction": "…"}   stage 1: two videos or two images
    {"source": "a.png", "target": "b.png", "instruction": "…"}   stage 0: two images
    {"video": "c.mp4", "caption": "…"}                           stage 0: a clip to restore

An alignment may take "mask": "m.mp4" too, a video or image as large as the target, and as long as
it or as the part that is trained on; its first channel says where the text's subject is.

Paths are relative to the file's folder. They may lead out of it or be absolute: who writes the
file chooses what is trained on. "weight": 2 or "repeats": 2 brings a row twice as often, "weight":
0.5 in every second round. Other keys are ignored, blank lines too.

Which rows could not be used, and why: `bad_rows.jsonl` in the output folder, and one line of
summary. There are those too that were used without an alignment.
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

from ...errors import SamaError, needed, shorten
from ...text import clean_instruction
from ...weights.write import whole_file
from .media_files import is_image_file
from .pair_folder import LARGEST_WEIGHT, Entry, list_entries, name_of
from .text_files import encoding_of, to_utf8

PAIR_KEYS, CLIP_KEYS = ("source", "target", "instruction"), ("video", "caption")
MASK_KEY, WEIGHT_KEY, REPEATS_KEY = "mask", "weight", "repeats"
ROWS_FILE = "rows.jsonl"
"""The file of rows in a folder, as SAMA Keep Pair writes it."""
SMALLEST_WEIGHT = 0.001


class RowError(SamaError):
    """A row that cannot be used, in one sentence."""


@dataclass(frozen=True)
class Row:
    """One sample on disk."""

    number: int
    """Line in the file, from 1."""
    target: Path
    """The clip or image that the model learns to make."""
    source: Path | None
    """None for a clip to restore, whose source is the perturbed target."""
    text: str
    """Instruction or caption, cleaned."""
    mask: Path | None = None
    """Where the text's subject is in the target, for an alignment."""
    weight: float = 1
    """How often it comes before all rows have come once."""

    @property
    def is_image(self) -> bool:
        """Whether it is an edit of a picture, not of a clip."""
        return is_image_file(self.target)


def read_rows(path: Path, stage: int, masks: bool = False) -> tuple[list[Row], dict[int, str]]:
    """Rows that look usable for `stage`, and by line number what is wrong with the others.

    Opens no video. Masks are read, and their files looked for, only where asked for.

    Raises RowError where the file itself cannot be read.
    """
    entries, folder = _read_entries(path)
    rows, bad = [], {}
    for number, entry in enumerate(entries, 1):
        try:
            if entry:
                rows.append(_row(number, _object(number, entry), folder, stage, masks))
        except RowError as wrong:
            bad[number] = str(wrong)
    return rows, bad


def rows_file(path: Path) -> Path:
    """The file of rows that `data` means: itself, or the one in a folder, if it has one."""
    inside = path / ROWS_FILE
    return inside if path.is_dir() and inside.is_file() else path


def count_rows(path: Path) -> int:
    """Lines of a file that are not blank, rows of a folder that lack nothing. Raises RowError."""
    return sum(bool(entry) and not isinstance(entry, str) for entry in _read_entries(path)[0])


def name_rows(path: Path) -> dict[int, str]:
    """What rows of a folder are called there, by number; none of a file. Raises RowError."""
    path = rows_file(path)
    if not path.is_dir():
        return {}
    entries, _ = _read_entries(path)
    named = ((number, entry) for number, entry in enumerate(entries, 1) if isinstance(entry, dict))
    return {number: name_of(entry) for number, entry in named}


def add_name(reason: str, number: int, names: Mapping[int, str]) -> str:
    """A sentence that begins with a row's number, with its name behind that, if it has one."""
    start = f"row {number}"
    if number not in names or not reason.startswith(f"{start}: "):
        return reason
    return f"{start} ({names[number]}){reason.removeprefix(start)}"


def digest_rows(path: Path) -> str:
    """40 hexadecimal digits of what rows there are and what they say, not of the clips in them."""
    entries, _ = _read_entries(path)
    return hashlib.blake2b(repr(entries).encode(), digest_size=20).hexdigest()


def _read_entries(path: Path) -> tuple[Sequence[bytes | Entry], Path]:
    """Lines of a file or rows of a folder; and the folder that their paths begin in.

    Raises RowError.
    """
    path = rows_file(path)
    try:
        if path.is_dir():
            return list_entries(path), path
        return [line.strip() for line in _read_utf8(path).splitlines()], path.parent
    except OSError as broken:
        raise RowError(
            needed(
                f"data {path}",
                f"no readable file ({broken.strerror})",
                "a JSONL file of training rows",
                'Set data to its path, or to "shapes".',
            )
        ) from broken


def _read_utf8(path: Path) -> bytes:
    """A file of rows; PowerShell's `>` writes UTF-16. Raises RowError for one that is damaged."""
    text = path.read_bytes()
    try:
        return to_utf8(text)
    except UnicodeError:
        got = f"damaged text in {encoding_of(text).upper()}"
        fix = "Save the file as UTF-8."
        raise RowError(needed(f"data {path}", got, "a JSONL file in UTF-8", fix)) from None


def row_error(number: int, got: str, need: str) -> RowError:
    """The error of row `number`, as got and needed."""
    return RowError(f"row {number}: got {got}, needs {need}.")


def unreadable(row: Row, error: SamaError) -> RowError:
    """An error as this row's, without its advice, which is about editing a clip."""
    return RowError(f"row {row.number}: {str(error).rsplit('. ', 1)[0]}.")


def cannot_read(row: Row, failed: OSError) -> RowError:
    """The error of a row whose file has gone, or may not be read any more."""
    got = f"{failed.filename!r} ({failed.strerror})"
    return row_error(row.number, got, "a file that can be read")


def _row(number: int, found: dict[str, Any], folder: Path, stage: int, masks: bool) -> Row:
    if CLIP_KEYS[0] in found:
        video, text = (_text(number, found, key) for key in CLIP_KEYS)
        row = Row(number, _file(number, folder, video), None, text)
    else:
        source, target, text = (_text(number, found, key) for key in PAIR_KEYS)
        row = Row(number, _file(number, folder, target), _file(number, folder, source), text)
    if masks and MASK_KEY in found:
        row = replace(row, mask=_file(number, folder, _text(number, found, MASK_KEY)))
    _check_stage(row, stage)
    return replace(row, weight=_weight(number, found))


def _weight(number: int, found: dict[str, Any]) -> float:
    """How often a row comes in a round: "weight" times "repeats"."""
    weight, repeats = found.get(WEIGHT_KEY, 1), found.get(REPEATS_KEY, 1)
    for key, value in ((WEIGHT_KEY, weight), (REPEATS_KEY, repeats)):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0 <= value <= LARGEST_WEIGHT:
            got = f"{key!r} of {shorten(json.dumps(value))}"
            raise row_error(number, got, f"a number from 0 to {LARGEST_WEIGHT}")
    together = weight * repeats
    if 0 < together < SMALLEST_WEIGHT:  # rounds without a row would be counted one by one
        raise row_error(number, f"a weight of {together:g}", f"0, or {SMALLEST_WEIGHT} and more")
    return together


def _object(number: int, line: bytes | Entry) -> dict[str, Any]:
    if isinstance(line, str):
        raise RowError(f"row {number}: got {line}.")
    if isinstance(line, dict):
        return line
    try:
        found = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise row_error(number, "a line that is not JSON", "one JSON object per line") from None
    if not isinstance(found, dict):
        raise row_error(number, f"a JSON {type(found).__name__}", "an object with keys and values")
    return found


def _text(number: int, found: dict[str, Any], key: str) -> str:
    """A value that must be text.

    An instruction or caption is cleaned, and must not be empty then.
    """
    if key not in found:
        raise row_error(number, f"no {key!r}", f"{_quote(PAIR_KEYS)}, or {_quote(CLIP_KEYS)}")
    value = found[key]
    if not isinstance(value, str):
        raise row_error(number, f"{key!r} of type {type(value).__name__}", "text")
    cleaned = clean_instruction(value) if key in (PAIR_KEYS[-1], CLIP_KEYS[-1]) else value
    if not cleaned:
        raise row_error(number, f"an empty {key!r}", "some text")
    return cleaned


def _file(number: int, folder: Path, name: str) -> Path:
    path = folder / name
    try:
        if path.is_file():
            if not os.access(path, os.R_OK):
                raise row_error(number, f"{name!r}, which may not be read", "the right to read it")
            return path
    except (OSError, ValueError):  # too long, or with a NUL
        pass
    raise row_error(number, f"no file {name!r}", "a file that exists")


def _check_stage(row: Row, stage: int) -> None:
    if row.source is None:
        if stage == 1:
            raise row_error(
                row.number, "a clip without an edit", "a source and a target in stage 1"
            )
        if row.is_image:
            raise row_error(row.number, "an image as 'video'", "a video")
        return
    if is_image_file(row.source) != row.is_image:
        raise row_error(row.number, "an image and a video", "two images or two videos")
    if stage == 0 and not row.is_image:
        raise row_error(
            row.number, "a pair of videos", "a pair of images, or a single video, in stage 0"
        )


def _quote(keys: tuple[str, ...]) -> str:
    return ", ".join(map(repr, keys[:-1])) + f" and {keys[-1]!r}"


logger = logging.getLogger(__name__)


REPORT = "bad_rows.jsonl"


class BadRows:
    """Bad rows by number.

    Every run begins the file again; a damaged video is added when it is read.
    """

    def __init__(
        self, folder: Path, data: Path, total: int, found: dict[int, str], write: bool = True
    ):
        """`total` rows of the file or folder `data`, of which `found` failed the first look.

        With several processes one begins the file (`write`), and each adds what it meets.
        """
        self.path, self.name, self.total = folder / REPORT, data.name, total
        self.names = name_rows(data) if data.exists() else {}
        self.reasons = {one: add_name(reason, one, self.names) for one, reason in found.items()}
        self.unaligned: set[int] = set()
        self._lock = Lock()
        if write:
            text = "".join(_line(*entry) for entry in self.reasons.items())
            with whole_file(self.path) as partial:
                partial.write_text(text, encoding="utf-8")
            self.report()

    def __contains__(self, number: int) -> bool:
        return number in self.reasons

    def add(self, number: int, reason: str) -> None:
        """Remember, log and write a row that turned out bad. May be called in several threads."""
        with self._lock:
            if number not in self.reasons:
                self.reasons[number] = add_name(reason, number, self.names)
                self._write(number, self.reasons[number])

    def add_unaligned(self, number: int) -> None:
        """Remember, log and write, once, a row that is used without an alignment."""
        if number not in self.unaligned:
            self.unaligned.add(number)
            need = "those of a teacher; it is trained on without an alignment"
            reason = str(row_error(number, "no features", need))
            self._write(number, add_name(reason, number, self.names))

    def _write(self, number: int, reason: str) -> None:
        logger.warning("%s: %s", self.name, reason)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(_line(number, reason))

    def report(self) -> None:
        """Log one line of summary, if rows are left out, and one if rows are used unaligned."""
        if self.unaligned:
            count = len(self.unaligned)
            logger.warning(
                "%s: %s no features and %s trained on without an alignment, see %s",
                self.name,
                "1 row has" if count == 1 else f"{count} rows have",
                "is" if count == 1 else "are",
                self.path,
            )
        if self.reasons:
            logger.warning(
                "%s: %d of %d rows are left out so far, see %s",
                self.name,
                len(self.reasons),
                self.total,
                self.path,
            )


def _line(number: int, reason: str) -> str:
    return json.dumps({"row": number, "error": reason}, ensure_ascii=False) + "\n"
