"""Motion follow: does the edit move where, when and how the source moves?

With v and w the motion of the same block in source and edit, over the blocks whose motion is distinct in both and that
the source's earlier frame holds too,

    follow = 1 − Σ max(0, |w − v| − UNSURE) / Σ max(|w| + |v|, REST)     0…1, higher is better
    pixels = mean |w − v| / gap over the blocks that move by more than UNSURE in either clip
                                                                         pixels per frame, lower is better

1 is the source's motion; near 0 is motion where the source rests, rest where it moves, or the opposite direction.
Where all rest the motion is the source's: 1. |w − v| is the endpoint error of optical flow (Baker et al., "A Database
and Evaluation Methodology for Optical Flow", 2011) with the source in the place of the truth; Yatim et al.
("Space-Time Diffusion Features for Zero-Shot Text-Driven Motion Transfer", 2024) compare directions of tracked points
to the same end. The normalised form is ours.

Motion is measured over `gap` frames, chosen so that what moves in the source moves by about `TRAVEL` shrunk pixels;
between neighbouring frames slow motion drowns in the VAE's noise. The score sees motion alone: a removed object on a
plain ground leaves no block to compare, and does not count.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .block_motion import Motion

# Shrunk pixels: what block matching may err by, and the weight of a block that rests.
UNSURE, REST = 0.5, 0.1
TRAVEL, LONGEST_GAP = 4.0, 8
_FAST_SHARE = 0.95


class MotionFollow(NamedTuple):
    follow: float
    """nan for one frame, or where no block can be compared."""
    pixels: float
    frames: Tensor
    """(F,) `pixels` per frame, nan in the first `gap` ones and where no block can be compared"""


def travel_gap(motion: Motion, frames: int) -> int:
    """Over how many frames to measure, given the source's motion between neighbouring ones."""
    speeds = motion.vectors.norm(dim=-1)[motion.distinct & motion.found]
    longest = max(1, min(LONGEST_GAP, frames - 1))
    fast = float(speeds.quantile(_FAST_SHARE)) if len(speeds) else 0.0
    return longest if fast * longest <= TRAVEL else max(1, round(TRAVEL / fast))


def motion_follow(source: Motion, edited: Motion, factor: int) -> MotionFollow:
    """Of the motion of both clips over the same gap; `factor` is the frames' pixels per shrunk pixel."""
    counts = source.distinct & edited.distinct & source.found
    apart = (edited.vectors - source.vectors).norm(dim=-1)
    speed, other = source.vectors.norm(dim=-1), edited.vectors.norm(dim=-1)
    moving, scale = counts & (torch.maximum(speed, other) > UNSURE), factor / source.gap
    frames = _mean((apart * moving).sum((1, 2)), moving.sum((1, 2)), counts.sum((1, 2))) * scale
    frames = torch.cat([torch.full((source.gap,), torch.nan), frames])
    pixels = float(_mean((apart * moving).sum(), moving.sum(), counts.sum()) * scale)
    astray = ((apart - UNSURE).clamp(min=0) * counts).sum()
    travelled = ((speed + other).clamp(min=REST) * counts).sum()
    return MotionFollow(float((1 - astray / travelled).clamp(min=0)), pixels, frames)


def _mean(apart: Tensor, moving: Tensor, counted: Tensor) -> Tensor:
    """Mean distance of the moving blocks; 0 where all rest, nan where there are none."""
    return torch.where(counted == 0, torch.nan, apart / moving.clamp(min=1))
