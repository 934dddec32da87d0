"""Motion between frames by exhaustive block matching, on frames shrunk to about 128 pixels.

For each block of 8x8 shrunk pixels, over all displacements v of up to `REACH` pixels each way,

    cost(v) = mean over the 16x16 pixels around it of |Y(t, p) − Y(t − gap, p − v)|,   Y = luma
    motion  = the v that minimises cost(v) + PENALTY · |v|, moved by up to half a pixel to the vertex of the parabolas
              through its neighbours' costs

A block tells its motion only where that is distinct: any displacement further than a pixel away must cost more by
`MARGIN`. So flat blocks, and edges that could slide along themselves, do not count. Motion beyond `REACH` shrunk
pixels in `gap` frames is not found; at 480 pixels a shrunk pixel is 4 pixels wide.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import RegionError, needed

SHORT_SIDE, BLOCK, REACH = 128, 8, 7
PENALTY, MARGIN = 0.25 / 255, 1.5 / 255
# A block whose best match differs by more than this has not been found again.
FOUND = 10 / 255
_LUMA = (0.299, 0.587, 0.114)


class Motion(NamedTuple):
    """Motion into every frame but the first `gap`, on a grid of blocks."""

    vectors: Tensor
    """(F - gap, rows, columns, 2) x, y in shrunk pixels, from frame t - gap to t"""
    distinct: Tensor
    """(F - gap, rows, columns) bool: no other motion explains the block as well"""
    found: Tensor
    """(F - gap, rows, columns) bool: the block of frame t is in frame t - gap too"""
    gap: int


def shrink_factor(height: int, width: int) -> int:
    """Pixels per shrunk pixel. Raises RegionError for frames smaller than 16x16."""
    if min(height, width) < 2 * BLOCK:
        raise RegionError(needed("frame size", f"{width}x{height}", f"at least {2 * BLOCK}x{2 * BLOCK}",
                                 "Motion and flicker cannot be measured on smaller frames."))
    return math.ceil(min(height, width) / SHORT_SIDE)


def shrink(frames: Tensor) -> Tensor:
    """(F, H, W, 3) → (F, H // f, W // f, 3), means of f x f pixels with f = `shrink_factor`."""
    factor = shrink_factor(*frames.shape[1:3])
    return functional.avg_pool2d(frames.movedim(-1, 1), factor).movedim(1, -1) if factor > 1 else frames


def block_motion(shrunk: Tensor, gap: int = 1) -> Motion:
    """Motion of shrunk frames (F, h, w, 3), at least 16x16 of them; with F ≤ `gap` there are no vectors."""
    costs = _costs((shrunk * torch.tensor(_LUMA)).sum(-1), gap)
    reach = torch.arange(-REACH, REACH + 1, dtype=torch.float32)
    lengths = torch.cartesian_prod(reach, reach).norm(dim=-1)
    best = (costs + PENALTY * lengths).argmin(-1, keepdim=True)
    least = costs.gather(-1, best)[..., 0]
    row, column = best // len(reach), best % len(reach)
    indices = torch.arange(len(lengths))
    near = ((indices // len(reach) - row).abs() <= 1) & ((indices % len(reach) - column).abs() <= 1)
    distinct = costs.masked_fill(near, torch.inf).amin(-1) >= least + MARGIN
    moves = [(place[..., 0] - REACH) + _vertex(costs, best, place[..., 0], step)
             for place, step in ((column, 1), (row, len(reach)))]
    return Motion(torch.stack(moves, -1), distinct, least <= FOUND, gap)


def _costs(luma: Tensor, gap: int) -> Tensor:
    """(F - gap, rows, columns, (2·REACH + 1)²), the displacements in rows of equal y."""
    now, (height, width) = luma[gap:], luma.shape[1:]
    if len(now) == 0:
        return luma.new_zeros(0, height // BLOCK, width // BLOCK, (2 * REACH + 1) ** 2)
    before = functional.pad(luma[:-gap, None], (REACH,) * 4, mode="replicate")[:, 0]
    found = []
    for y in range(-REACH, REACH + 1):
        for x in range(-REACH, REACH + 1):
            top, left = REACH - y, REACH - x
            found.append(_around_blocks((now - before[:, top:top + height, left:left + width]).abs()))
    return torch.stack(found, -1)


def _vertex(costs: Tensor, best: Tensor, place: Tensor, step: int) -> Tensor:
    """Where between its two neighbours, `step` apart in `costs`, the best one's parabola is lowest: −0.5 … 0.5."""
    edge = (place == 0) | (place == 2 * REACH)
    last = costs.shape[-1] - 1
    before, at, after = (costs.gather(-1, (best + move).clamp(0, last))[..., 0] for move in (-step, 0, step))
    vertex = 0.5 * (before - after) / (before - 2 * at + after).clamp(min=1e-6)
    return torch.where(edge, 0, vertex.clamp(-0.5, 0.5))


def _around_blocks(values: Tensor) -> Tensor:
    """Mean over the 16x16 pixels around every block: (N, h, w) → (N, h // 8, w // 8)."""
    return functional.avg_pool2d(values[:, None], 2 * BLOCK, BLOCK, BLOCK // 2, count_include_pad=False)[:, 0]
