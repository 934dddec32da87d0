"""PSNR, over a clip or a region of it."""

import torch
from torch import Tensor

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
