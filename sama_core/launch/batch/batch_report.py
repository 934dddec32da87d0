"""What came of a batch: a line for each row, as a table and as a page."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...weights.write import whole_file
from .batch_rows import Row
from .report_page import page

DONE, FAILED, WAITING = "done", "failed", "not done"
TABLE, PAGE, PICTURES = "report.csv", "report.html", "report_files"
"""Names in the output folder."""
SCORES = ("changed", "kept_db", "flicker", "motion_follow")
COLUMNS = (
    *("row", "clip", "state", "result", "error", "instruction", "seed", "steps", "cfg", "frames"),
    *("seconds", "server", "tries", "at", "copied", "key", *SCORES),
)


@dataclass
class Line:
    """One row's end."""

    row: Row
    """The row."""
    state: str = WAITING
    """DONE, FAILED or WAITING."""
    result: str = ""
    """Its file, or the first of its frames, relative to the output folder."""
    error: str = ""
    """Why it failed."""
    key: str = ""
    """What its edit is known by."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Seconds, server and more, see `ledger.Result`."""
    scores: dict[str, Any] = field(default_factory=dict)
    """See `frame_jobs.measure_row`; empty where nothing was measured."""

    def cells(self) -> dict[str, Any]:
        """By column."""
        settings = self.row.settings
        known = {
            "row": self.row.number,
            "clip": str(self.row.name),
            "state": self.state,
            "result": self.result,
            "error": self.error,
            "instruction": settings.instruction,
            "seed": settings.seed,
            "steps": settings.steps or "",
            "cfg": "" if settings.cfg < 0 else settings.cfg,
            "frames": settings.frames or "",
            "key": self.key[:16],
        }
        given = {**self.facts, **self.scores, **known}
        return {column: "" if given.get(column) is None else given[column] for column in COLUMNS}


def write_report(out: Path, lines: Iterable[Line], remarks: list[str]) -> None:
    """Writes both files whole. Raises OSError if the disk is full; older ones stay then."""
    lines = list(lines)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows({name: _plain(cell) for name, cell in line.cells().items()} for line in lines)
    # Excel takes a table without the mark for the system's own encoding.
    for name, written in (
        (TABLE, "\ufeff" + text.getvalue()),
        (PAGE, page([_to_show(out, line) for line in lines], summary(lines), remarks)),
    ):
        with whole_file(out / name) as partial:
            partial.write_bytes(written.encode("utf-8", "replace"))


def summary(lines: list[Line]) -> str:
    """How many rows came to what end."""
    counts = {
        state: sum(line.state == state for line in lines) for state in (DONE, FAILED, WAITING)
    }
    return ", ".join(
        [f"{len(lines)} rows", *(f"{count} {state}" for state, count in counts.items() if count)]
    )


def small_picture(key: str) -> str:
    """Where the small pictures of an edit begin, relative to the output folder."""
    return f"{PICTURES}/{key[:16]}"


def _to_show(out: Path, line: Line) -> dict[str, Any]:
    cells, small = line.cells(), small_picture(line.key)
    pictures = [f"{small}_{end}.jpg" for end in ("before", "after")]
    there = bool(line.key) and all((out / path).is_file() for path in pictures)
    return {**cells, "pictures": pictures if there else []}


def _plain(cell: Any) -> Any:
    """A cell that spreadsheets show as text: one that begins as a formula gets a quote."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@") else cell
