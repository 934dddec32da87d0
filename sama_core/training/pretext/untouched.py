"""No pretext: the source is the clip itself."""

from torch import Generator, Tensor

from .clips import each_clip

TAG = ""
"""Unverified: the paper gives a tag for the three pretexts only; nothing is put before the caption here."""


def none(frames: Tensor, generator: Generator | None = None) -> Tensor:
    """Frames (F, H, W, C) or (B, F, H, W, C), copied; draws nothing.

    Unverified: that the source of these samples is the target itself. The paper does not say, and the framework
    SAMA was trained in does so where a sample has no source.
    """
    return each_clip(frames, Tensor.clone)
