"""Scores of every clip of a batch: is it the asked edit, how near is it to the truth, does the object move right?

Shape legend: B clips, F frames, H x W pixels, 3 colours; frames that went through a codec are uint8.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..scores.decibels import psnr
from ..training.data import EditBatch, edit_mask, render
from .metrics import from_bytes, nearest, to_bytes
from .motion import track_distance

# Edits that leave no region as it was: all of the clip is the edit region.
WHOLE_EDITS = ("style",)
REGIONS = ("whole", "edit", "kept")


@dataclass(frozen=True)
class ClipScores:
    """One clip's numbers. A NaN says that there is nothing to measure: no kept region, no object to follow."""

    right: bool
    """Nearer to the truth than to the source and to every wrong edit."""
    output: dict[str, float]
    """dB per region of REGIONS, output against truth."""
    ceiling: dict[str, float]
    """The same for the truth's codec round trip."""
    copy: dict[str, float]
    """The same for the source returned unchanged."""
    track: float
    """Pixels between the object's tracks, see motion.py."""


def score_batch(batch: EditBatch, output: Tensor, ceiling: Tensor) -> list[ClipScores]:
    """Scores per clip, of `output` (B, F, H, W, 3) uint8 and of `ceiling`, the truth after the codec, alike."""
    output, ceiling, copy = from_bytes(output), from_bytes(ceiling), from_bytes(to_bytes(batch.source))
    areas = regions(batch)
    decibels = [_by_region(clips, batch.target, areas) for clips in (output, ceiling, copy)]
    tracks = track_distance(output, batch).tolist()
    return [ClipScores(is_right(batch, row, output[row]), *(found[row] for found in decibels), tracks[row])
            for row in range(len(batch))]


def is_right(batch: EditBatch, row: int, output: Tensor) -> bool:
    """Whether `output` (F, H, W, 3) is nearest, in pixels, to the truth among truth, source and all wrong edits."""
    frames, height, width = output.shape[:3]
    wrong = render(batch.wrong(row), frames, height, width)
    return nearest(output, torch.cat([batch.target[row:row + 1], batch.source[row:row + 1], wrong])) == 0


def regions(batch: EditBatch) -> dict[str, Tensor]:
    """REGIONS → (B, F, H, W) bool."""
    edited = edit_mask(batch.source, batch.target)
    edited = edited | torch.tensor([kind in WHOLE_EDITS for kind in batch.kinds]).view(-1, 1, 1, 1)
    return {"whole": torch.ones_like(edited), "edit": edited, "kept": ~edited}


def _by_region(clips: Tensor, truth: Tensor, areas: dict[str, Tensor]) -> list[dict[str, float]]:
    columns = {name: psnr(clips, truth, area).tolist() for name, area in areas.items()}
    return [{name: column[row] for name, column in columns.items()} for row in range(len(clips))]
