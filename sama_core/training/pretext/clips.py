"""One clip or a batch of clips: the shapes every pretext takes."""

from collections.abc import Callable

import torch
from torch import Tensor

from ...errors import SamaError, needed


def each_clip(frames: Tensor, perturb: Callable[[Tensor], Tensor]) -> Tensor:
    """`perturb` on a clip (F, H, W, C), or on each clip of a batch (B, F, H, W, C) in order, with its own decisions.

    Raises SamaError for any other number of axes.
    """
    if frames.ndim == 4:
        return perturb(frames)
    if frames.ndim != 5:
        raise SamaError(needed("frames", f"shape {tuple(frames.shape)}", "(F, H, W, C), or (B, F, H, W, C) for a batch",
                               "Move the colour channels last and keep the frame axis."))
    return torch.stack([perturb(clip) for clip in frames]) if len(frames) else frames.clone()
