"""Which of several clips is nearest, 8-bit frames, and the interval of a share.

Shape legend: B clips, F frames, H x W pixels, K candidates. Clips are (B, F, H, W, 3) float32 in 0..1.
"""

import math

import torch
from torch import Tensor

_NORMAL_95 = 1.959964


def nearest(clip: Tensor, candidates: Tensor) -> int:
    """Index of the candidate (K, F, H, W, 3) with the least mean squared error to `clip` (F, H, W, 3)."""
    return int((candidates - clip).square().flatten(1).mean(1).argmin())


def wilson(hits: int, count: int) -> tuple[float, float]:
    """95 % interval of a share of which `hits` of `count` were seen (Wilson's score interval)."""
    share, z2 = hits / count, _NORMAL_95 ** 2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    reach = _NORMAL_95 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count ** 2))
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
