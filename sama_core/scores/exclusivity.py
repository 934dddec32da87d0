"""Exclusivity: how much of the change lies where it was wanted.

With c(p) = mean over RGB of |edited − source| at pixel p, and the region R = {mask > 0}, feather included:

    share       Σ c over R / Σ c over all pixels      0…1, higher is better; 1 where nothing changed at all
    outside_db  PSNR of the pixels outside R          dB, higher is better; at most 60, finer than 8 bits show
    leak        mean c outside R per frame, · 255     grey levels, lower is better

outside_db is the background preservation of PIE-Bench (Ju et al., "Direct Inversion", 2023), over a clip. share and
leak are ours. The VAE changes every pixel a little, so without paste-back 1 and 60 dB are out of reach.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .decibels import psnr

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
