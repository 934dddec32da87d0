"""Growing, shrinking, blurring and feathering masks, in pixels and in squares.

The edge of a softened mask: what was white stays 1, the ramp lies outside of it, and everything further away than
`feather` pixels is exactly 0. With an even feather f the ramp beside a straight edge is linear: 1 − d / (f + 1) at
d pixels from the white.
"""

import torch
from torch import Tensor
from torch.nn import functional


def soften(mask: Tensor, grow: int = 0, feather: int = 0) -> Tensor:
    """`mask` (F, H, W) grown by `grow` pixels, with a ramp of `feather` more pixels around it."""
    grown = dilate(mask, grow)
    if feather == 0:
        return grown
    half = feather // 2
    return torch.maximum(box_blur(dilate(grown, half), feather - half), grown).clamp(max=1)


def dilate(mask: Tensor, radius: int) -> Tensor:
    """Maximum over (2·radius + 1)² pixels of each frame (F, H, W)."""
    if radius == 0:
        return mask
    size = 2 * radius + 1
    rows = functional.max_pool2d(mask[:, None], (1, size), stride=1, padding=(0, radius))
    return functional.max_pool2d(rows, (size, 1), stride=1, padding=(radius, 0))[:, 0]


def erode(mask: Tensor, radius: int) -> Tensor:
    """Minimum over (2·radius + 1)² pixels of each frame (F, H, W); the frame's edge takes nothing away."""
    return -dilate(-mask, radius)


def box_blur(mask: Tensor, radius: int) -> Tensor:
    """Mean over (2·radius + 1)² pixels of each frame (F, H, W), the border pixels repeated outwards."""
    if radius == 0:
        return mask
    size = 2 * radius + 1
    padded = functional.pad(mask[:, None], (radius,) * 4, mode="replicate")
    return functional.avg_pool2d(functional.avg_pool2d(padded, (1, size), stride=1), (size, 1), stride=1)[:, 0]
