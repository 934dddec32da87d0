"""All scores of one edit."""

from dataclasses import dataclass

from torch import Tensor

from ..region.pair import require_pair
from .block_motion import block_motion, shrink, shrink_factor
from .exclusivity import Exclusivity, exclusivity
from .flicker import Flicker, flicker
from .motion_follow import MotionFollow, motion_follow, travel_gap


@dataclass(frozen=True)
class Scores:
    """What `measure` found."""

    shape: tuple[int, int, int]
    """Frames, height, width."""
    exclusivity: Exclusivity | None
    """None without a mask."""
    flicker: Flicker
    """How much restlessness the edit adds."""
    motion: MotionFollow
    """How well it moves with the source."""


def measure(source: Tensor, edited: Tensor, mask: Tensor | None = None) -> Scores:
    """Scores of an edit of `source`, both (F, H, W, 3), wanted inside the fitted `mask` (F, H, W) if there is one.

    Raises RegionError if the clips are not of one size and length, or smaller than 16x16.
    """
    source, edited = require_pair(source, edited)
    shape = tuple(source.shape[:3])
    small, small_edit = shrink(source), shrink(edited)
    steps = block_motion(small)
    gap = travel_gap(steps, len(source))
    travel = steps if gap == 1 else block_motion(small, gap)
    return Scores(shape, None if mask is None else exclusivity(source, edited, mask),
                  flicker(small, small_edit, steps),
                  motion_follow(travel, block_motion(small_edit, gap), shrink_factor(*shape[1:])))
