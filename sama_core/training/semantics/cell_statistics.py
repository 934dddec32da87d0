"""Colour and shape statistics of picture cells: what the pixel encoder's tokens are made of.

A cell is seen through 4 planes (brightness, red against green, blue against yellow, and how little it looks like the
background) on 4 x 4 points. A cosine transform of each plane turns them into 64 nearly uncorrelated numbers, coarse
ones first: number 0 to 3 are the cell's mean in each plane, the next ones its slopes, and so on. Most cells of a
picture are flat and few hold an edge, so everything but the means is compressed: asinh(x / 0.02), linear below.

Deviation: not SAMA's. A stand-in for SigLIP that needs no weights.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

POINTS = 4
"""Points per side of a cell."""
PLANES = 4
STATISTICS = PLANES * POINTS**2

_KNEE = 0.02
_OPPONENT = ((1 / 3, 1 / 3, 1 / 3), (0.5, -0.5, 0.0), (-0.25, -0.25, 0.5))
_BACKGROUND_REACH = 0.25
"""Distance in RGB at which a pixel is 39 % foreground."""


def cell_statistics(frame: Tensor, cells: int) -> Tensor:
    """Frames (B, H, W, 3) in 0..1 → (B, cells², 64), cells row by row, statistics from coarse to fine.

    Frames of fewer than 4 points per cell repeat pixels, larger ones average them.
    """
    points = F.adaptive_avg_pool2d(_planes(frame), cells * POINTS)
    patches = points.unflatten(3, (cells, POINTS)).unflatten(2, (cells, POINTS))  # (B, plane, row, y, column, x)
    cosines = _cosines(frame)
    spectrum = torch.einsum("bpryqx,uy,vx->brquvp", patches, cosines, cosines)
    order = sorted(range(POINTS**2), key=lambda k: (sum(divmod(k, POINTS)), k))
    means, details = spectrum.flatten(3, 4)[:, :, :, order].flatten(3).flatten(1, 2).tensor_split([PLANES], dim=-1)
    return torch.cat([means, (details / _KNEE).asinh()], dim=-1)


def _planes(frame: Tensor) -> Tensor:
    """(B, H, W, 3) → (B, 4, H, W): three opponent colours, and foreground from 0 to 1."""
    colours = frame @ frame.new_tensor(_OPPONENT).T
    foreground = 1 - torch.exp(-0.5 * ((frame - _background(frame)) / _BACKGROUND_REACH).square().sum(-1, keepdim=True))
    return torch.cat([colours, foreground], dim=-1).movedim(-1, 1)


def _background(frame: Tensor) -> Tensor:
    """(B, 1, 1, 3) background colour: the border's median, which an object at the border does not move."""
    border = torch.cat([frame[:, 0], frame[:, -1], frame[:, :, 0], frame[:, :, -1]], dim=1)
    return border.median(dim=1).values[:, None, None]


def _cosines(like: Tensor) -> Tensor:
    """(frequency, point) cosine transform that keeps means: row 0 averages."""
    point = torch.arange(POINTS, device=like.device, dtype=like.dtype)
    waves = torch.cos(math.pi / POINTS * torch.outer(point, point + 0.5)) / POINTS
    return torch.cat([waves[:1], waves[1:] * math.sqrt(2)])
