"""Scores of what an edit changes: PSNR, how much lies where it was wanted, and flicker.

Exclusivity: with c(p) = mean over RGB of |edited − source| at pixel p, and the region R =
{mask > 0}, feather included,

    share       Σ c over R / Σ c over all pixels     0…1, higher is better; 1 where nothing changed
    outside_db  PSNR of the pixels outside R         dB, higher is better; at most `CEILING_DB`
    leak        mean c outside R per frame, · 255    grey levels, lower is better

outside_db is the background preservation of PIE-Bench (Ju et al., "Direct Inversion", 2023), over a
clip. share and leak are ours. The VAE changes every pixel a little, so without paste-back a share
of 1 and 60 dB are not reached.

Flicker: what the edit adds to the source from one frame to the next,

    E(V, t) = mean over visible pixels and RGB of (V(t) − V(t − 1) moved along the source's motion)²
    flicker = 255 · √ max(0, mean over t of E(edited, t) − E(source, t))

in grey levels, lower is better. E is the warping error of Lai et al., "Learning Blind Video
Temporal Consistency", 2018. They take motion from FlowNet2 and leave out occlusions by a
forward-backward check; here motion is block matching on shrunk frames, in whole pixels, and a pixel
is visible where the source itself is found again within 10 grey levels. The source's own error,
from noise and from motion finer than the blocks, is subtracted.

Limits: an edit that moves otherwise than the source is compared along the source's path, and the
difference counts as flicker. Detail finer than one shrunk pixel does not count.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .motion import BLOCK, FOUND, Motion

CEILING_DB = 60.0
"""The highest PSNR: finer differences do not show in 8-bit frames. Keeps equal clips finite."""
LEVELS = 255
"""Grey levels of a difference of 1."""
_CUT = 0.05
"""Where less than this share of the source is found again, the shot changes; not counted."""


class Exclusivity(NamedTuple):
    """How much of the change lies in the region, see the module's docstring."""

    share: float
    """Change in the region / change in the clip, 0…1."""
    outside_db: float
    """PSNR outside the region, dB; NaN where the region is the whole clip."""
    leak: Tensor
    """(F,) grey levels of change outside the region; NaN in frames that are all region."""


class Flicker(NamedTuple):
    """What the edit adds from frame to frame, see the module's docstring."""

    levels: float
    """Grey levels of 255; 0 if the edit adds nothing, NaN for one frame or only cuts."""
    frames: Tensor
    """(F,) the same per frame, NaN in the first frame and after a cut."""


def psnr(clips: Tensor, others: Tensor, region: Tensor | None = None, peak: float = 1.0) -> Tensor:
    """(B,) decibels of each clip (B, F, H, W, 3) against its other, at most `CEILING_DB`.

    `peak` is the distance of black and white: 1 for values in 0…1, 2 for -1…1. With `region`
    (B, F, H, W) bool only its pixels count; where it is empty the result is NaN. Without a region
    the order of the axes after the first does not matter.
    """
    error = (clips - others).square().mean(-1)
    region = torch.ones_like(error, dtype=torch.bool) if region is None else region
    mean = (error * region).sum((1, 2, 3)) / region.sum((1, 2, 3)) / peak**2
    return -10 * mean.clamp(min=10 ** (-CEILING_DB / 10)).log10()


def exclusivity(source: Tensor, edited: Tensor, mask: Tensor) -> Exclusivity:
    """Measure how much of an edit lies in its region.

    `source` and `edited` are (F, H, W, 3). The region is where `mask` (F, H, W) is not 0. One frame
    is enough.
    """
    outside = mask <= 0
    change = (edited - source).abs().mean(-1)
    leaked, total = (change * outside).sum(), change.sum()
    share = 1.0 if total == 0 else float((total - leaked) / total)
    leak = torch.where(outside, change, torch.nan).nanmean((1, 2)) * LEVELS
    return Exclusivity(share, float(psnr(edited[None], source[None], outside[None])), leak)


def flicker(source: Tensor, edited: Tensor, motion: Motion) -> Flicker:
    """Measure the flicker that an edit adds: on shrunk frames (F, h, w, 3), along the source's
    motion between neighbouring frames."""
    own, visible = _errors(source, motion)
    added = _errors(edited, motion)[0] - own
    mean = (added * visible).sum((1, 2)) / visible.sum((1, 2))
    mean = torch.where(visible.float().mean((1, 2)) < _CUT, torch.nan, mean)
    frames = torch.cat([torch.full((1,), torch.nan), _levels(mean)])
    return Flicker(float(_levels(mean.nanmean())), frames)


def _levels(squares: Tensor) -> Tensor:
    """Mean squared differences → grey levels."""
    return squares.clamp(min=0).sqrt() * LEVELS


def _errors(clip: Tensor, motion: Motion) -> tuple[Tensor, Tensor]:
    """Predict each frame from the one before, moved along `motion`.

    Returns the squared error (F-1, h, w), and bool (F-1, h, w): True where the error is within
    `FOUND`.
    """
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
