"""Motion between frames, and whether an edit moves as its source.

Motion is found by exhaustive block matching on frames shrunk to about 128 pixels. For each block of
8x8 shrunk pixels, over all displacements v of up to `REACH` pixels each way,

    cost(v) = mean over the 16x16 pixels around it of |Y(t, p) − Y(t − gap, p − v)|,   Y = luma
    motion  = the v that minimises cost(v) + PENALTY · |v|, moved by up to half a pixel to the
              vertex of the parabolas through the costs of its neighbours

The motion of a block is distinct if every displacement more than a pixel away costs more by
`MARGIN`. Flat blocks, and edges that could slide along themselves, are not distinct and do not
count. Motion beyond `REACH` shrunk pixels in `gap` frames is not found; at 480 pixels a shrunk
pixel is 4 pixels wide.

Motion follow asks whether the edit moves where, when and how the source moves. With v and w the
motion of the same block in source and edit, over the blocks whose motion is distinct in both and
that are in the source's earlier frame too,

    follow = 1 − Σ max(0, |w − v| − UNSURE) / Σ max(|w| + |v|, REST)     0…1, higher is better
    pixels = mean |w − v| / gap over the blocks that move by more than UNSURE in either clip
                                                                 pixels per frame, lower is better

1 is the source's motion; near 0 is motion where the source rests, rest where it moves, or the
opposite direction. Where everything rests the result is 1. |w − v| is the endpoint error of optical
flow (Baker et al., "A Database and Evaluation Methodology for Optical Flow", 2011) with the source
in the place of the truth; Yatim et al. ("Space-Time Diffusion Features for Zero-Shot Text-Driven
Motion Transfer", 2024) compare directions of tracked points for the same purpose. The normalised
form is ours.

Motion is measured over `gap` frames, chosen so that what moves in the source moves by about
`TRAVEL` shrunk pixels; between neighbouring frames slow motion is lost in the VAE's noise. Limit:
an object removed from a plain ground leaves no block to compare, and does not count.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import RegionError, needed

SHORT_SIDE, BLOCK, REACH = 128, 8, 7
"""Shrunk pixels: a frame's short side at most, a block's side, the longest displacement."""
PENALTY, MARGIN = 0.25 / 255, 1.5 / 255
FOUND = 10 / 255
"""A block whose best match differs by more than this has not been found again."""
UNSURE, REST = 0.5, 0.1
"""Shrunk pixels: the possible error of block matching, and the weight of a block that rests."""
TRAVEL, LONGEST_GAP = 4.0, 8
"""Shrunk pixels that fast blocks are to move in `gap` frames; the most frames."""
_LUMA = (0.299, 0.587, 0.114)
_FAST_SHARE = 0.95
"""The quantile of the speeds that counts as fast."""


class Motion(NamedTuple):
    """Motion into every frame but the first `gap`, on a grid of blocks."""

    vectors: Tensor
    """(F - gap, rows, columns, 2) x, y in shrunk pixels, from frame t - gap to t."""
    distinct: Tensor
    """(F - gap, rows, columns) bool: no other motion explains the block as well."""
    found: Tensor
    """(F - gap, rows, columns) bool: the block of frame t is in frame t - gap too."""
    gap: int
    """Frames between the two that are compared."""


def shrink_factor(height: int, width: int) -> int:
    """Pixels per shrunk pixel. Raises RegionError for frames smaller than 16x16."""
    if min(height, width) < 2 * BLOCK:
        raise RegionError(
            needed(
                "frame size",
                f"{width}x{height}",
                f"at least {2 * BLOCK}x{2 * BLOCK}",
                "Motion and flicker cannot be measured on smaller frames.",
            )
        )
    return math.ceil(min(height, width) / SHORT_SIDE)


def shrink(frames: Tensor) -> Tensor:
    """(F, H, W, 3) → (F, H // f, W // f, 3), means of f x f pixels with f = `shrink_factor`."""
    factor = shrink_factor(*frames.shape[1:3])
    return (
        functional.avg_pool2d(frames.movedim(-1, 1), factor).movedim(1, -1)
        if factor > 1
        else frames
    )


def block_motion(shrunk: Tensor, gap: int = 1) -> Motion:
    """Motion of shrunk frames (F, h, w, 3) of at least 16x16; no vectors where F ≤ `gap`."""
    costs = _costs((shrunk * torch.tensor(_LUMA)).sum(-1), gap)
    reach = torch.arange(-REACH, REACH + 1, dtype=torch.float32)
    lengths = torch.cartesian_prod(reach, reach).norm(dim=-1)
    best = (costs + PENALTY * lengths).argmin(-1, keepdim=True)
    least = costs.gather(-1, best)[..., 0]
    row, column = best // len(reach), best % len(reach)
    indices = torch.arange(len(lengths))
    near = ((indices // len(reach) - row).abs() <= 1) & ((indices % len(reach) - column).abs() <= 1)
    distinct = costs.masked_fill(near, torch.inf).amin(-1) >= least + MARGIN
    moves = [
        (place[..., 0] - REACH) + _find_vertex(costs, best, place[..., 0], step)
        for place, step in ((column, 1), (row, len(reach)))
    ]
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
            found.append(
                _average_blocks((now - before[:, top : top + height, left : left + width]).abs())
            )
    return torch.stack(found, -1)


def _find_vertex(costs: Tensor, best: Tensor, place: Tensor, step: int) -> Tensor:
    """The vertex, −0.5…0.5, of the parabola through the best cost and its two neighbours.

    The neighbours lie `step` before and after `best` in `costs`; `place` is the best displacement
    on this axis.
    """
    edge = (place == 0) | (place == 2 * REACH)
    last = costs.shape[-1] - 1
    before, at, after = (
        costs.gather(-1, (best + move).clamp(0, last))[..., 0] for move in (-step, 0, step)
    )
    vertex = 0.5 * (before - after) / (before - 2 * at + after).clamp(min=1e-6)
    return torch.where(edge, 0, vertex.clamp(-0.5, 0.5))


def _average_blocks(values: Tensor) -> Tensor:
    """Mean over the 16x16 pixels around each block: (N, h, w) → (N, h // 8, w // 8)."""
    return functional.avg_pool2d(
        values[:, None], 2 * BLOCK, BLOCK, BLOCK // 2, count_include_pad=False
    )[:, 0]


class MotionFollow(NamedTuple):
    """How well an edit moves with its source, see the module's docstring."""

    follow: float
    """0…1; NaN for one frame, or where no block can be compared."""
    pixels: float
    """Pixels per frame by which the two move apart; NaN as above."""
    frames: Tensor
    """(F,) `pixels` per frame, NaN in the first `gap` frames and where nothing can be compared."""


def travel_gap(motion: Motion, frames: int) -> int:
    """Over how many frames to measure, given the source's motion between neighbouring frames."""
    speeds = motion.vectors.norm(dim=-1)[motion.distinct & motion.found]
    longest = max(1, min(LONGEST_GAP, frames - 1))
    fast = float(speeds.quantile(_FAST_SHARE)) if len(speeds) else 0.0
    return longest if fast * longest <= TRAVEL else max(1, round(TRAVEL / fast))


def motion_follow(source: Motion, edited: Motion, factor: int) -> MotionFollow:
    """Compares the motion of both clips over the same gap; `factor` is that of `shrink_factor`."""
    counts = source.distinct & edited.distinct & source.found
    apart = (edited.vectors - source.vectors).norm(dim=-1)
    speed, other = source.vectors.norm(dim=-1), edited.vectors.norm(dim=-1)
    moving, scale = counts & (torch.maximum(speed, other) > UNSURE), factor / source.gap
    frames = _average((apart * moving).sum((1, 2)), moving.sum((1, 2)), counts.sum((1, 2))) * scale
    frames = torch.cat([torch.full((source.gap,), torch.nan), frames])
    pixels = float(_average((apart * moving).sum(), moving.sum(), counts.sum()) * scale)
    astray = ((apart - UNSURE).clamp(min=0) * counts).sum()
    travelled = ((speed + other).clamp(min=REST) * counts).sum()
    return MotionFollow(float((1 - astray / travelled).clamp(min=0)), pixels, frames)


def _average(apart: Tensor, moving: Tensor, counted: Tensor) -> Tensor:
    """Mean distance of the moving blocks; 0 where all rest, nan where there are none."""
    return torch.where(counted == 0, torch.nan, apart / moving.clamp(min=1))
