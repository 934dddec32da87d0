"""The region that an edit changed, found by comparing it with the source.

    d = mean over RGB of |edited − source|, then over (2u + 1)² pixels and 3 frames
    changed where d > m + threshold · s,   m = median(d),  s = 1.4826 · median(|d − m|)

u is 1 pixel at 64x64 and 2 at 832x480. m and s describe what the VAE alone does to every pixel: median and median
absolute deviation are not moved by an edit of less than half the clip (1.4826 makes s a normal deviation: Rousseeuw
and Croux, "Alternatives to the median absolute deviation", 1993). The limit is kept between `FAINTEST` and `PLAINEST`,
so that a perfect codec does not make rounding a change, and an edit of the whole picture still is one. Specks under
2u + 1 pixels are dropped, holes up to 4u pixels filled.
"""

from torch import Tensor

from .pair import require_pair
from .soften import box_blur, dilate, erode, soften

DEFAULT_THRESHOLD = 8.0
FAINTEST, PLAINEST = 4 / 255, 32 / 255
_MAD_TO_DEVIATION = 1.4826


def changed_mask(source: Tensor, edited: Tensor, threshold: float = DEFAULT_THRESHOLD, grow: int = 0,
                 feather: int = 0) -> Tensor:
    """Where `edited` differs from `source`, both (F, H, W, 3) → float32 (F, H, W), grown and feathered.

    All 0 if nothing changed. Raises RegionError if the clips are not of one size and length.
    """
    source, edited = require_pair(source, edited)
    unit = max(1, round(min(source.shape[1:3]) / 240))
    difference = _over_time(box_blur((edited - source).abs().mean(-1), unit))
    changed = (difference > change_limit(difference, threshold)).float()
    solid = dilate(erode(changed, unit), unit)
    filled = erode(dilate(solid, 2 * unit), 2 * unit)
    return soften(filled, grow, feather)


def change_limit(difference: Tensor, threshold: float) -> float:
    """The least difference that is a change, see the module's docstring."""
    middle = difference.median()
    spread = _MAD_TO_DEVIATION * (difference - middle).abs().median()
    return float((middle + threshold * spread).clamp(FAINTEST, PLAINEST))


def _over_time(difference: Tensor) -> Tensor:
    """Mean of each frame (F, H, W) and its two neighbours; the first and the last frame are their own."""
    before, after = difference[[0, *range(len(difference) - 1)]], difference[[*range(1, len(difference)), -1]]
    return (before + difference + after) / 3
