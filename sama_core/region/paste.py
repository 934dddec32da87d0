"""The edit inside the mask, the source's own pixels outside of it."""

import torch
from torch import Tensor

from .pair import require_pair


def paste_back(source: Tensor, edited: Tensor, mask: Tensor) -> Tensor:
    """source + mask · (edited − source), for clips (F, H, W, 3) and a fitted mask (F, H, W) → (F, H, W, 3).

    Where the mask is 0 the result is the source bit for bit, where it is 1 the edit bit for bit: they are chosen
    there, not computed. Raises RegionError if the clips are not of one size and length.
    """
    source, edited = require_pair(source, edited)
    weight = mask[..., None]
    blended = torch.where(weight == 1, edited, torch.lerp(source, edited, weight))
    return torch.where(weight == 0, source, blended)
