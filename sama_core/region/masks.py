"""A mask of any size and length → one over the model's frames.

    size    laid in as the clip was: cropped, then resized (bilinear, antialiased)
    soften  grown and feathered, in pixels of the model's frames
    frames  one stands for all; the padding's frames repeat the last one

Growing, shrinking, blurring and feathering masks, in pixels and in squares.

The edge of a softened mask: what was white stays 1, the ramp lies outside of it, and everything further away than
`feather` pixels is exactly 0. With an even feather f the ramp beside a straight edge is linear: 1 − d / (f + 1) at
d pixels from the white.
"""

import torch
from torch import Tensor
from torch.nn import functional

from ..clip.info import ClipInfo
from ..clip.placement import Box, Fit
from ..errors import RegionError, needed
from ..geometry import crop_box, pad_frame_count

_STEPS = 4096


def fit_mask(
    mask: Tensor,
    frames: int,
    height: int,
    width: int,
    info: ClipInfo | None = None,
    grow: int = 0,
    feather: int = 0,
) -> Tensor:
    """A MASK (F, H, W) or (H, W) in 0…1 over a fitted clip → float32 (frames, height, width) in 0…1.

    A mask of the frames' size is taken as it is. Any other is a picture of the source, at its size or smaller: with
    `info` it is laid in as the clip was (cropped, stretched, with black bars), without it is cropped in the centre, the
    usual fit. Raises RegionError for another number of frames, values that are no numbers, and an `info` of another
    clip.
    """
    mask = _checked(mask)
    if info is not None and (info.fitted_width, info.fitted_height) != (width, height):
        raise RegionError(
            needed(
                "clip info",
                f"that of a clip fitted to {info.fitted_width}x{info.fitted_height}",
                f"that of these {width}x{height} frames",
                "Connect frames and clip info of one SAMA Source Video.",
            )
        )
    _check_count(len(mask), frames, info)
    soft = soften(_sized(mask, height, width, info), grow, feather)
    return (
        soft.expand(frames, -1, -1)
        if len(soft) == 1
        else torch.cat([soft, *[soft[-1:]] * (frames - len(soft))])
    )


def require_region(mask: Tensor) -> Tensor:
    """`mask` itself. Raises RegionError if it is empty: nothing would be edited."""
    if not mask.any():
        raise RegionError(
            needed(
                "mask",
                "black everywhere in the frames",
                "some white: only white may change",
                "Paint the region white, or put Invert Mask before it if it is the wrong way round.",
            )
        )
    return mask


def _checked(mask: Tensor) -> Tensor:
    mask = mask[None] if mask.ndim == 2 else mask
    if mask.ndim != 3 or 0 in mask.shape:
        raise RegionError(
            needed(
                "mask",
                f"shape {list(mask.shape)}",
                "a MASK (frames, height, width)",
                "Connect a MASK, or put Convert Image to Mask before it.",
            )
        )
    mask = mask.to("cpu", torch.float32)
    if not torch.isfinite(mask).all():
        raise RegionError(
            needed(
                "mask",
                "values that are no numbers (NaN or infinite)",
                "values from 0 to 1",
                "Look at the node that makes the mask.",
            )
        )
    return mask.clamp(0, 1)


def _check_count(count: int, frames: int, info: ClipInfo | None) -> None:
    unpadded = count == info.frame_count if info is not None else pad_frame_count(count) == frames
    if count in (1, frames) or (count < frames and unpadded):
        return
    or_unpadded = f" (or {info.frame_count}, without padding)" if info is not None else ""
    raise RegionError(
        needed(
            "mask",
            f"{count} frames",
            f"1 frame for the whole clip, or {frames}{or_unpadded}",
            "Make the mask from the frames of SAMA Source Video, or choose one frame of it.",
        )
    )


def _sized(mask: Tensor, height: int, width: int, info: ClipInfo | None) -> Tensor:
    """Cropped, resized and laid into (F, height, width) as the clip's pictures were."""
    size = (mask.shape[2], mask.shape[1])
    if size == (width, height):
        return mask
    if info is None:
        return _resized(mask, crop_box(*size, width, height), width, height)
    box = _scaled(info.placement.source_box, (info.width, info.height), size)
    left, top, right, bottom = info.placement.inset_box
    part = _resized(mask, box, right - left, bottom - top)
    margins = (left, width - right, top, height - bottom)
    mode = "replicate" if info.placement.fit == Fit.KEEP else "constant"
    return functional.pad(part[:, None], margins, mode=mode)[:, 0]


def _scaled(box: Box, picture: tuple[int, int], size: tuple[int, int]) -> Box:
    """A box of the source's picture in a mask of another size, one pixel wide and high at least."""
    left, top, right, bottom = (
        round(edge * size[axis % 2] / picture[axis % 2]) for axis, edge in enumerate(box)
    )
    left, top = min(left, size[0] - 1), min(top, size[1] - 1)
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _resized(mask: Tensor, box: Box, width: int, height: int) -> Tensor:
    """The part `box` at another size, rounded to steps of 1 / `_STEPS`: white stays exactly 1, black exactly 0."""
    left, top, right, bottom = box
    part = mask[:, None, top:bottom, left:right]
    resized = functional.interpolate(part, (height, width), mode="bilinear", antialias=True)[:, 0]
    return (resized * _STEPS).round().clamp(0, _STEPS) / _STEPS


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
    return functional.avg_pool2d(
        functional.avg_pool2d(padded, (1, size), stride=1), (size, 1), stride=1
    )[:, 0]
