"""A contact sheet of rows: source above target, at five times, with instruction and findings.

row 3  make the car green
upscaling: …
┌──────┐ ┌──────┐ ┌──────┐ ┌──────┐ ┌──────┐
│source│ │      │ │      │ │      │ │ last │
├──────┤ ├──────┤ ├──────┤ ├──────┤ ├──────┤
│target│ │      │ │      │ │      │ │      │
└──────┘ └──────┘ └──────┘ └──────┘ └──────┘
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ....weights.write import whole_file
from ..rows import Row
from .decode_clip import Decoded
from .findings import UNUSABLE, Finding

TIMES = (0.0, 0.25, 0.5, 0.75, 1.0)
WIDTH, HEIGHT, GAP, LINE = 208, 118, 6, 18
"""Pixels of a cell, between cells, and of a line of text."""
MOST_ROWS, MOST_LETTERS = 60, 150
"""Rows on a sheet, and letters in a line."""
PAPER, INK, WRONG, PALE = (250, 250, 250), (20, 20, 20), (190, 20, 20), (150, 90, 0)


@dataclass(frozen=True)
class Shown:
    """A row on the sheet."""

    row: Row
    """Its number and text are shown."""
    clips: Sequence[Decoded]
    """Source and target, or the clip alone."""
    findings: Sequence[Finding]
    """What there is to say."""


def choose_rows(rows: Sequence[Shown]) -> list[Shown]:
    """At most MOST_ROWS, those with findings first, in the order of the file."""
    chosen = sorted(rows, key=lambda row: not row.findings)[:MOST_ROWS]
    return sorted(chosen, key=lambda row: row.row.number)


def write_sheet(rows: Sequence[Shown], path: Path) -> None:
    """Draw and save the sheet as PNG."""
    chosen = choose_rows(rows)
    heights = [_height(row) for row in chosen]
    width = GAP + len(TIMES) * (WIDTH + GAP)
    sheet = Image.new("RGB", (width, GAP + sum(heights)), PAPER)
    top = GAP
    for row, height in zip(chosen, heights, strict=True):
        _draw_row(sheet, row, top)
        top += height
    with whole_file(path) as partial:
        sheet.save(partial, format="PNG")


def _height(row: Shown) -> int:
    return LINE * (1 + len(row.findings)) + len(row.clips) * (HEIGHT + GAP) + 2 * GAP


def _draw_row(sheet: Image.Image, row: Shown, top: int) -> None:
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    remarks = [
        (f"{one.kind}: {one.text}", WRONG if one.level == UNUSABLE else PALE)
        for one in row.findings
    ]
    lines = [(f"row {row.row.number}  {row.row.text}", INK), *remarks]
    for words, colour in lines:
        draw.text((GAP, top), _shorten(words), fill=colour, font=font)
        top += LINE
    for clip in row.clips:
        times = TIMES if clip.frames > 1 else TIMES[:1]
        for column, time in enumerate(times):
            cell = _fit(clip.at(time))
            sheet.paste(cell, (GAP + column * (WIDTH + GAP), top))
        top += HEIGHT + GAP


def _fit(pixels: np.ndarray) -> Image.Image:
    """A picture in a cell, whole, on grey."""
    picture = Image.fromarray(pixels)
    scale = min(WIDTH / picture.width, HEIGHT / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    cell = Image.new("RGB", (WIDTH, HEIGHT), (225, 225, 225))
    cell.paste(picture.resize(size), ((WIDTH - size[0]) // 2, (HEIGHT - size[1]) // 2))
    return cell


def _shorten(words: str) -> str:
    return words if len(words) <= MOST_LETTERS else f"{words[: MOST_LETTERS - 1]}…"
