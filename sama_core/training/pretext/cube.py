"""Cube inpainting: one run of frames is black, and the model completes it.

Source: SAMA §3.3 and App. C (30 %, one continuous temporal block); release `MaskRandomFrames`.
"""

import torch
from torch import Generator, Tensor

from .clips import each_clip

TAG = "[Complete the missing regions in the video.]"
MASK_RATIO = 0.3


def cube_inpainting(frames: Tensor, generator: Generator, ratio: float = MASK_RATIO) -> Tensor:
    """Frames (F, H, W, C) or (B, F, H, W, C) with one run of whole frames set to 0; the same shape."""
    return each_clip(
        frames, lambda clip: blackened(clip, masked_frames(len(clip), generator, ratio))
    )


def masked_frames(frames: int, generator: Generator, ratio: float = MASK_RATIO) -> range:
    """The frames to black out: round(ratio · frames) in a row, with a uniformly drawn start.

    Frame 0 is never masked, so at most frames - 1 are. Python rounds halves to even: 15 of 49, 24 of 81, 5 of 17.
    When nothing is to be masked (an image, a ratio near 0) the range is empty and nothing is drawn.
    """
    count = min(round(frames * ratio), frames - 1)
    if count <= 0:
        return range(0)
    start = int(torch.randint(1, frames - count + 1, (1,), generator=generator))
    return range(start, start + count)


def blackened(clip: Tensor, masked: range) -> Tensor:
    """A copy of `clip` (F, H, W, C) with the frames `masked` set to 0."""
    clip = clip.clone()
    clip[masked.start : masked.stop] = 0
    return clip
