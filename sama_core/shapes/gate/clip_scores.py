"""Which of several clips is nearest, 8-bit frames, and the interval of a share.

Shape legend: B clips, F frames, H x W pixels, K candidates. Clips are (B, F, H, W, 3) float32 in 0..1.

Scores of every clip of a batch: is it the asked edit, how near is it to the truth, does the object move right?

Shape legend: B clips, F frames, H x W pixels, 3 colours; frames that went through a codec are uint8.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...scores.fidelity import psnr
from ..world import EditBatch, edit_mask, render
from .tracking import track_distance

_NORMAL_95 = 1.959964


def nearest(clip: Tensor, candidates: Tensor) -> int:
    """Index of the candidate (K, F, H, W, 3) with the least mean squared error to `clip` (F, H, W, 3)."""
    return int((candidates - clip).square().flatten(1).mean(1).argmin())


def wilson(hits: int, count: int) -> tuple[float, float]:
    """95 % interval of a share of which `hits` of `count` were seen (Wilson's score interval)."""
    share, z2 = hits / count, _NORMAL_95**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    reach = (
        _NORMAL_95 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    )
    return max(0.0, middle - reach), min(1.0, middle + reach)


def to_bytes(clips: Tensor) -> Tensor:
    """Rendered frames in 0..1 as uint8, rounded: what a clip that is given to an editor holds."""
    return (clips.clamp(0, 1) * 255).round().to(torch.uint8)


def saved_bytes(clips: Tensor) -> Tensor:
    """Decoded frames in 0..1 as uint8, truncated: what ComfyUI's Save Image and Save Video keep."""
    return (clips * 255).clamp(0, 255).to(torch.uint8)


def from_bytes(frames: Tensor) -> Tensor:
    """uint8 frames as float32 in 0..1."""
    return frames.float() / 255


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
    output, ceiling, copy = (
        from_bytes(output),
        from_bytes(ceiling),
        from_bytes(to_bytes(batch.source)),
    )
    areas = regions(batch)
    decibels = [_by_region(clips, batch.target, areas) for clips in (output, ceiling, copy)]
    tracks = track_distance(output, batch).tolist()
    return [
        ClipScores(
            is_right(batch, row, output[row]), *(found[row] for found in decibels), tracks[row]
        )
        for row in range(len(batch))
    ]


def is_right(batch: EditBatch, row: int, output: Tensor) -> bool:
    """Whether `output` (F, H, W, 3) is nearest, in pixels, to the truth among truth, source and all wrong edits."""
    frames, height, width = output.shape[:3]
    wrong = render(batch.wrong(row), frames, height, width)
    return (
        nearest(
            output, torch.cat([batch.target[row : row + 1], batch.source[row : row + 1], wrong])
        )
        == 0
    )


def regions(batch: EditBatch) -> dict[str, Tensor]:
    """REGIONS → (B, F, H, W) bool."""
    edited = edit_mask(batch.source, batch.target)
    edited = edited | torch.tensor([kind in WHOLE_EDITS for kind in batch.kinds]).view(-1, 1, 1, 1)
    return {"whole": torch.ones_like(edited), "edit": edited, "kept": ~edited}


def _by_region(clips: Tensor, truth: Tensor, areas: dict[str, Tensor]) -> list[dict[str, float]]:
    columns = {name: psnr(clips, truth, area).tolist() for name, area in areas.items()}
    return [{name: column[row] for name, column in columns.items()} for row in range(len(clips))]
