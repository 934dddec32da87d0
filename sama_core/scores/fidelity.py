"""PSNR, over a clip or a region of it.

Exclusivity: how much of the change lies where it was wanted.

With c(p) = mean over RGB of |edited − source| at pixel p, and the region R = {mask > 0}, feather included:

    share       Σ c over R / Σ c over all pixels      0…1, higher is better; 1 where nothing changed at all
    outside_db  PSNR of the pixels outside R          dB, higher is better; at most 60, finer than 8 bits show
    leak        mean c outside R per frame, · 255     grey levels, lower is better

outside_db is the background preservation of PIE-Bench (Ju et al., "Direct Inversion", 2023), over a clip. share and
leak are ours. The VAE changes every pixel a little, so without paste-back 1 and 60 dB are out of reach.

Flicker: what the edit adds to the source from one frame to the next.

    E(V, t) = mean over visible pixels and RGB of (V(t) − V(t − 1) moved along the source's motion)²
    flicker = 255 · √ max(0, mean over t of E(edited, t) − E(source, t))     grey levels, lower is better

E is the warping error of Lai et al., "Learning Blind Video Temporal Consistency", 2018. Theirs takes motion from
FlowNet2 and leaves out occlusions by a forward-backward check; ours takes it from block matching on shrunk frames, in
whole pixels, and counts a pixel as visible where the source itself is found again within 10 grey levels. The source's
own error, from noise and motion finer than the blocks, is taken off.

It is no measure of an edit that moves otherwise than the source: where a walking dog becomes a parked car, the car is
compared along the dog's path, which counts as flicker. Fine detail under one shrunk pixel does not count.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .motion import BLOCK, FOUND, Motion

# Differences below this are finer than 8-bit frames show; it keeps the PSNR of equal clips finite.
CEILING_DB = 60.0


def psnr(clips: Tensor, others: Tensor, region: Tensor | None = None) -> Tensor:
    """(B,) decibels of each clip (B, F, H, W, 3) against its other, peak 1, at most `CEILING_DB`.

    With `region` (B, F, H, W) bool only its pixels count; where it is empty the result is NaN.
    """
    error = (clips - others).square().mean(-1)
    region = torch.ones_like(error, dtype=torch.bool) if region is None else region
    mean = (error * region).sum((1, 2, 3)) / region.sum((1, 2, 3))
    return -10 * mean.clamp(min=10 ** (-CEILING_DB / 10)).log10()


LEVELS = 255


class Exclusivity(NamedTuple):
    share: float
    outside_db: float
    """nan where the region is the whole clip."""
    leak: Tensor
    """(F,) nan in frames that are all region."""


def exclusivity(source: Tensor, edited: Tensor, mask: Tensor) -> Exclusivity:
    """Of an edit of `source`, both (F, H, W, 3), that was wanted inside `mask` (F, H, W). One frame is enough."""
    outside = mask <= 0
    change = (edited - source).abs().mean(-1)
    leaked, total = (change * outside).sum(), change.sum()
    share = 1.0 if total == 0 else float((total - leaked) / total)
    leak = torch.where(outside, change, torch.nan).nanmean((1, 2)) * LEVELS
    return Exclusivity(share, float(psnr(edited[None], source[None], outside[None])), leak)


# A pair of frames in which less than this share of the source is found again is a cut, and does not count.
_CUT = 0.05


class Flicker(NamedTuple):
    levels: float
    """Grey levels of 255; 0 where the edit adds nothing, nan for one frame or nothing but cuts."""
    frames: Tensor
    """(F,) the same per frame, nan in the first one and after a cut"""


def flicker(source: Tensor, edited: Tensor, motion: Motion) -> Flicker:
    """Of shrunk frames (F, h, w, 3) and the source's motion between neighbouring ones."""
    own, visible = _errors(source, motion)
    added = _errors(edited, motion)[0] - own
    mean = (added * visible).sum((1, 2)) / visible.sum((1, 2))
    mean = torch.where(visible.float().mean((1, 2)) < _CUT, torch.nan, mean)
    frames = torch.cat([torch.full((1,), torch.nan), _levels(mean)])
    return Flicker(float(_levels(mean.nanmean())), frames)


def _levels(squares: Tensor) -> Tensor:
    return squares.clamp(min=0).sqrt() * LEVELS


def _errors(clip: Tensor, motion: Motion) -> tuple[Tensor, Tensor]:
    """Squared error (F-1, h, w) of predicting each frame from the one before, and where that comes within `FOUND`."""
    count, height, width = len(clip) - 1, *clip.shape[1:3]
    rows, columns = motion.vectors.shape[1:3]
    y, x = torch.arange(height)[:, None], torch.arange(width)
    vectors = (
        motion.vectors[:, (y // BLOCK).clamp(max=rows - 1), (x // BLOCK).clamp(max=columns - 1)]
        .round()
        .long()
    )
    from_x, from_y = x - vectors[..., 0], y - vectors[..., 1]
    inside = (from_x >= 0) & (from_x < width) & (from_y >= 0) & (from_y < height)
    frame = torch.arange(count).view(-1, 1, 1)
    predicted = clip[:-1][frame, from_y.clamp(0, height - 1), from_x.clamp(0, width - 1)]
    difference = clip[1:] - predicted
    return difference.square().mean(-1), inside & (difference.abs().mean(-1) <= FOUND)
