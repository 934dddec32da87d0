"""One clip or a batch of clips: the shapes every pretext takes.

No pretext: the source is the clip itself.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from ...errors import SamaError, needed


def each_clip(frames: Tensor, perturb: Callable[[Tensor], Tensor]) -> Tensor:
    """`perturb` on a clip (F, H, W, C), or on each clip of a batch (B, F, H, W, C) in order, with its own decisions.

    Raises SamaError for any other number of axes.
    """
    if frames.ndim == 4:
        return perturb(frames)
    if frames.ndim != 5:
        raise SamaError(
            needed(
                "frames",
                f"shape {tuple(frames.shape)}",
                "(F, H, W, C), or (B, F, H, W, C) for a batch",
                "Move the colour channels last and keep the frame axis.",
            )
        )
    return torch.stack([perturb(clip) for clip in frames]) if len(frames) else frames.clone()


TAG = ""
"""Unverified: the paper gives a tag for the three pretexts only; nothing is put before the caption here."""


def none(frames: Tensor, generator: Generator | None = None) -> Tensor:
    """Frames (F, H, W, C) or (B, F, H, W, C), copied; draws nothing.

    Unverified: that the source of these samples is the target itself. The paper does not say, and the framework
    SAMA was trained in does so where a sample has no source.
    """
    return each_clip(frames, Tensor.clone)
