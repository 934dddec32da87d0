"""The rows of a JSONL file of training data, and what is wrong with those that cannot be used.

    {"source": "a.mp4", "target": "b.mp4", "instruction": "…"}   stage 1: two videos or two images
    {"source": "a.png", "target": "b.png", "instruction": "…"}   stage 0: two images
    {"video": "c.mp4", "caption": "…"}                           stage 0: a clip to restore

An alignment may take "mask": "m.mp4" too, a video or image as large as the target, and as long as
it or as the part that is trained on; its first channel says where the text's subject is.

Paths are relative to the file's folder. They may lead out of it or be absolute: who writes the
file chooses what is trained on. Other keys are ignored, blank lines too.

Which rows could not be used, and why: `bad_rows.jsonl` in the output folder, and one line of
summary. There are those too that were used without an alignment.
"""

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

from ...errors import SamaError, needed
from ...text import clean_instruction

IMAGE_FILES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}


PAIR_KEYS, CLIP_KEYS = ("source", "target", "instruction"), ("video", "caption")
MASK_KEY = "mask"


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
        return _is_image(self.target)


def read_rows(path: Path, stage: int, masks: bool = False) -> tuple[list[Row], dict[int, str]]:
    """Rows that look usable for `stage`, and by line number what is wrong with the others.

    Opens no video. Masks are read, and their files looked for, only where asked for.

    Raises RowError where the file itself cannot be read.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as broken:
        raise RowError(
            needed(
                f"data {path}",
                f"no readable file ({broken.strerror})",
                "a JSONL file of training rows",
                'Set data to its path, or to "shapes".',
            )
        ) from broken
    rows, bad = [], {}
    for number, line in enumerate(lines, 1):
        try:
            if line.strip():
                rows.append(_row(number, line, path.parent, stage, masks))
        except RowError as wrong:
            bad[number] = str(wrong)
    return rows, bad


def row_error(number: int, got: str, need: str) -> RowError:
    """The error of row `number`, as got and needed."""
    return RowError(f"row {number}: got {got}, needs {need}.")


def unreadable(row: Row, error: SamaError) -> RowError:
    """An error as this row's, without its advice, which is about editing a clip."""
    return RowError(f"row {row.number}: {str(error).rsplit('. ', 1)[0]}.")


def _row(number: int, line: bytes, folder: Path, stage: int, masks: bool) -> Row:
    found = _object(number, line)
    if CLIP_KEYS[0] in found:
        video, text = (_text(number, found, key) for key in CLIP_KEYS)
        row = Row(number, _file(number, folder, video), None, text)
    else:
        source, target, text = (_text(number, found, key) for key in PAIR_KEYS)
        row = Row(number, _file(number, folder, target), _file(number, folder, source), text)
    if masks and MASK_KEY in found:
        row = replace(row, mask=_file(number, folder, _text(number, found, MASK_KEY)))
    _check_stage(row, stage)
    return row


def _object(number: int, line: bytes) -> dict[str, Any]:
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
    if _is_image(row.source) != row.is_image:
        raise row_error(row.number, "an image and a video", "two images or two videos")
    if stage == 0 and not row.is_image:
        raise row_error(
            row.number, "a pair of videos", "a pair of images, or a single video, in stage 0"
        )


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_FILES


def _quote(keys: tuple[str, ...]) -> str:
    return ", ".join(map(repr, keys[:-1])) + f" and {keys[-1]!r}"


logger = logging.getLogger(__name__)


REPORT = "bad_rows.jsonl"


class BadRows:
    """Bad rows by number.

    Every run begins the file again; a damaged video is added when it is read.
    """

    def __init__(
        self, folder: Path, name: str, total: int, found: dict[int, str], write: bool = True
    ):
        """`total` rows of the data file `name`, of which `found` failed the first look.

        With several processes one begins the file (`write`), and each adds what it meets.
        """
        self.path, self.name, self.total, self.reasons = folder / REPORT, name, total, dict(found)
        self.unaligned: set[int] = set()
        self._lock = Lock()
        if write:
            folder.mkdir(parents=True, exist_ok=True)
            self.path.write_text(
                "".join(_line(*entry) for entry in self.reasons.items()), encoding="utf-8"
            )
            self.report()

    def __contains__(self, number: int) -> bool:
        return number in self.reasons

    def add(self, number: int, reason: str) -> None:
        """Remember, log and write a row that turned out bad. May be called in several threads."""
        with self._lock:
            if number not in self.reasons:
                self.reasons[number] = reason
                self._write(number, reason)

    def add_unaligned(self, number: int) -> None:
        """Remember, log and write, once, a row that is used without an alignment."""
        if number not in self.unaligned:
            self.unaligned.add(number)
            need = "those of a teacher; it is trained on without an alignment"
            self._write(number, str(row_error(number, "no features", need)))

    def _write(self, number: int, reason: str) -> None:
        logger.warning("%s: %s", self.name, reason)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(_line(number, reason))

    def report(self) -> None:
        """Log one line of summary, if rows are left out, and one if rows are used unaligned."""
        if self.unaligned:
            logger.warning(
                "%s: %d rows have no features and are trained on without an alignment, see %s",
                self.name,
                len(self.unaligned),
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
