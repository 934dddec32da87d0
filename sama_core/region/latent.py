"""The latent cells that a mask over pixels touches.

Wan 2.1's VAE puts 8x8 pixels into a cell; its first latent frame holds one frame, every further one four. A cell with
any mask in it is sampled in full, so that nothing wanted is cut off; the soft edge is made in pixels, by `paste_back`.
"""

import torch
from torch import Tensor
from torch.nn import functional

from ..geometry import SPATIAL_FACTOR, TEMPORAL_FACTOR, ClipShape


def latent_mask(mask: Tensor) -> Tensor:
    """A mask (F, H, W) over a fitted clip → float32 (1, 1, T, H/8, W/8), 1 in the cells to sample, else 0.

    Raises GeometryError unless F is 4k+1 and the sides are multiples of 16.
    """
    shape = ClipShape(*mask.shape).latent()
    cells = functional.max_pool2d(mask[:, None], SPATIAL_FACTOR)[:, 0]
    rest = cells[1:].unflatten(0, (shape.frames - 1, TEMPORAL_FACTOR)).amax(1)
    return (torch.cat([cells[:1], rest]) > 0).float()[None, None]
