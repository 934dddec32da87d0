"""All drafts as one picture: a band for each instruction and frame, the source first, seeds after.

    make the circle red · frame 0
    ┌────────┐ ┌────────┐ ┌────────┐
    │ source │ │ seed 1 │ │ seed 2 │ …    at most COLUMNS seeds in a line
    └────────┘ └────────┘ └────────┘

Pictures are (H, W, 3) uint8. In the sheet their longer side is SMALLEST to LARGEST pixels: small
ones are enlarged by whole factors, large ones reduced.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .asked import Asked, Draft

COLUMNS, GAP, CAPTION, LABEL = 8, 8, 26, 18
"""Seeds in a line; pixels between cells, and of a band's caption and of a cell's label."""
SMALLEST, LARGEST = 192, 480
"""Limits of a cell's longer side, in pixels."""
_INK, _PALE, _PICKED = (20, 20, 20), (110, 110, 110), (240, 120, 0)


class Place(NamedTuple):
    """The upper left corner of a cell's picture."""

    top: int
    """Pixels from the sheet's upper edge."""
    left: int
    """Pixels from its left edge."""


class Layout(NamedTuple):
    """Where everything is on a sheet."""

    height: int
    """Of the sheet, in pixels."""
    width: int
    """Of the sheet, in pixels."""
    bands: list[Place]
    """The captions, one for each instruction and frame."""
    sources: list[Place]
    """The source's picture of each band."""
    drafts: list[Place]
    """In the order of `Asked.drafts`."""


def cell_size(height: int, width: int) -> tuple[int, int]:
    """Height and width of a picture in the sheet."""
    longer = max(height, width)
    if longer < SMALLEST:
        factor = math.ceil(SMALLEST / longer)
        return height * factor, width * factor
    scale = min(1.0, LARGEST / longer)
    return max(1, round(height * scale)), max(1, round(width * scale))


def lay_out(asked: Asked, height: int, width: int) -> Layout:
    """Places for cells of this size, see the module's docstring."""
    seeds = len(asked.seeds)
    columns = math.ceil(seeds / math.ceil(seeds / COLUMNS))
    bands: list[Place] = []
    sources: list[Place] = []
    drafts: list[Place] = []
    top = GAP
    for _ in range(len(asked.instructions) * len(asked.frames)):
        bands.append(Place(top, GAP))
        top += CAPTION
        sources.append(Place(top, GAP))
        for number in range(seeds):
            line, column = divmod(number, columns)
            drafts.append(
                Place(top + line * (height + LABEL + GAP), GAP + (column + 1) * (width + GAP))
            )
        top += math.ceil(seeds / columns) * (height + LABEL + GAP)
    return Layout(top, GAP + (columns + 1) * (width + GAP), bands, sources, drafts)


def draw_sheet(
    asked: Asked,
    sources: Mapping[int, Tensor],
    drafts: Sequence[Tensor],
    picked: Draft | None = None,
) -> Tensor:
    """The sheet as one image (1, H, W, 3) float32 in 0…1.

    `sources` are the source's frames by their numbers, `drafts` in the order of `Asked.drafts`.
    Drafts of the `picked` seed and instruction are framed.
    """
    size = cell_size(*drafts[0].shape[:2])
    places = lay_out(asked, *size)
    sheet = Image.new("RGB", (places.width, places.height), "white")
    pen = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(size=15), ImageFont.load_default(size=12)
    bands = [(line, frame) for line in asked.instructions for frame in asked.frames]
    for (line, frame), caption, source in zip(bands, places.bands, places.sources, strict=True):
        pen.text((caption.left, caption.top), f"{line} · frame {frame}", _INK, large)
        _put(sheet, sources[frame], source, size)
        pen.text((source.left, source.top + size[0] + 2), "source", _PALE, small)
    for draft, picture, (top, left) in zip(asked.drafts, drafts, places.drafts, strict=True):
        if picked is not None and draft.pick == picked.pick:
            pen.rectangle((left - 4, top - 4, left + size[1] + 3, top + size[0] + 3), _PICKED)
        _put(sheet, picture, Place(top, left), size)
        pen.text((left, top + size[0] + 4), f"seed {draft.seed}", _INK, small)
    return torch.from_numpy(np.array(sheet)).float()[None] / 255


def _put(sheet: Image.Image, picture: Tensor, place: Place, size: tuple[int, int]) -> None:
    image = Image.fromarray(picture.numpy())
    enlarged = size[0] > picture.shape[0]
    how = Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS
    sheet.paste(image.resize((size[1], size[0]), how), (place.left, place.top))
