"""Colours held to the source where an edit changed nothing, so that segments do not drift apart.

Per frame and channel: edited · gain + offset ≈ source over the pixels that this explains to within
a tolerance; the others are the edit. Both are applied to whole frames, so what was edited moves
along with its surroundings. Nothing is averaged over time: that made joins worse and flicker no
better (benchmarks/long_joins.py).

If too few pixels are unchanged (a new style, another background everywhere), nothing is corrected.
"""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..errors import ClipError, needed

LOOSE, TIGHT = 0.12, 0.04
"""First and last tolerance in units of 0..1: drifts up to the first are found."""
ROUNDS = 6
SUPPORT = 0.2
"""Least part of a frame's pixels that must agree."""
GAINS, OFFSETS = (0.8, 1.25), (-0.12, 0.12)
SIDE = 96
"""Longer side of the pictures that are measured."""
_STIFFNESS = 1e-3
"""Pull of the gain towards 1, against flat pictures."""


def anchor_colours(edited: Tensor, source: Tensor) -> Tensor:
    """Edited and source frames (F, H, W, 3) in 0..1 → the edited ones with their drift taken out,
    on the source's device: with --gpu-only an edit stays on the card.

    Raises ClipError for other shapes.
    """
    if edited.shape != source.shape:
        raise ClipError(
            needed(
                "frames",
                f"{tuple(edited.shape)}",
                f"the source's {tuple(source.shape)}",
                "Give both as they left SAMA Source Video and the edit.",
            )
        )
    edited = edited.to(source.device)
    gain, offset, _ = colour_drift(edited, source)
    return (edited * gain[:, None, None] + offset[:, None, None]).clamp(0, 1)


def colour_drift(edited: Tensor, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gain and offset (F, 3) that take each edited frame back to the source, and the part (F,) of
    pixels that agree.

    Where too few agree: 1, 0 and 0.
    """
    seen, truth = _small(edited), _small(source)
    gain, offset = seen.new_ones(len(seen), 3), seen.new_zeros(len(seen), 3)
    for tolerance in torch.linspace(LOOSE, TIGHT, ROUNDS).tolist():
        agree = (
            (seen * gain[:, None] + offset[:, None] - truth).abs().amax(-1, keepdim=True)
            < tolerance
        ).float()
        gain, offset = _fit(seen, truth, agree)
    support = agree.mean((1, 2))
    enough = (support >= SUPPORT).float()
    return 1 + (gain - 1) * enough[:, None], offset * enough[:, None], support * enough


def _small(frames: Tensor) -> Tensor:
    """(F, pixels, 3), averaged down to SIDE."""
    height, width = frames.shape[1:3]
    scale = min(1.0, SIDE / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    small = interpolate(frames.movedim(-1, 1).float(), size=size, mode="area")
    return small.flatten(2).transpose(1, 2)


def _fit(seen: Tensor, truth: Tensor, agree: Tensor) -> tuple[Tensor, Tensor]:
    """Least squares per frame and channel over the pixels that agree, within the limits."""
    count = agree.sum(1).clamp(min=1)
    mean_seen, mean_truth = (agree * seen).sum(1) / count, (agree * truth).sum(1) / count
    spread, wanted = agree * (seen - mean_seen[:, None]), truth - mean_truth[:, None]
    variance = (spread * spread).sum(1) / count
    gain = ((spread * wanted).sum(1) / count + _STIFFNESS) / (variance + _STIFFNESS)
    gain = gain.clamp(*GAINS)
    return gain, (mean_truth - gain * mean_seen).clamp(*OFFSETS)
