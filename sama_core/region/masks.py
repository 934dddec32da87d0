"""Masks over the model's frames: fitting, softening, and a clip with its mask.

A mask of any size and length is brought to the frames in three steps (`fit_mask`):

    size    cropped and resized as the clip was (bilinear, antialiased)
    soften  grown and feathered, in pixels of the model's frames
    frames  one mask is used for all frames; the padding frames repeat the last mask

The edge of a softened mask: white pixels stay 1, the ramp lies outside of them, and every pixel
further away than `feather` is exactly 0. With an even feather f the ramp beside a straight edge is
linear: 1 − d / (f + 1) at d pixels from the white.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..clip.info import ClipInfo
from ..clip.placement import Box, Fit
from ..errors import RegionError, needed
from ..geometry import WAN_21, ClipShape, LatentShape, Lattice, crop_box, pad_frame_count

_STEPS = 4096
"""Levels of a resized mask, so that rounding errors do not leave white or black."""


@dataclass(frozen=True)
class FittedClip:
    """What goes into an edit: frames that the model takes, and where they may change.

    Build it with `check`, once; what receives it relies on the shapes below.
    """

    frames: Tensor
    """(F, H, W, 3) float in 0…1; F is 4k+1, the sides are multiples of 16 (for Wan 2.1)."""
    mask: Tensor | None = None
    """float32 (F, H, W) in 0…1, 0 where nothing may change; None lets everything change."""
    lattice: Lattice = WAN_21
    """The model's division of a clip."""
    anchor: Tensor | None = None
    """(1, H, W, 3) float in 0…1: the first frame of the edit; None where it is not given."""

    @classmethod
    def check(
        cls,
        images: Tensor,
        mask: Tensor | None = None,
        lattice: Lattice = WAN_21,
        anchor: Tensor | None = None,
    ) -> "FittedClip":
        """From IMAGE (F, H, W, 3 or more), alpha dropped, and a MASK and an anchor IMAGE, which are
        fitted to it.

        Raises GeometryError for frames that the model does not take, and RegionError for a mask
        that does not fit them or is black everywhere, and for what is no anchor.
        """
        frames, height, width = images.shape[:3]
        ClipShape(frames, height, width, lattice).latent()
        if mask is not None:
            mask = require_region(fit_mask(mask, frames, height, width, lattice=lattice))
        if anchor is not None:
            anchor = fit_anchor(anchor, frames, height, width)
        return cls(images[..., :3], mask, lattice, anchor)

    @property
    def latent(self) -> LatentShape:
        """Shape of the latent that the frames encode to."""
        frames, height, width = self.frames.shape[:3]
        return ClipShape(frames, height, width, self.lattice).latent()

    def part(self, frames: slice) -> "FittedClip":
        """The clip of some of the frames, a view. Its mask may be black everywhere."""
        mask = None if self.mask is None else self.mask[frames]
        return FittedClip(self.frames[frames], mask, self.lattice)


def fit_mask(
    mask: Tensor,
    frames: int,
    height: int,
    width: int,
    info: ClipInfo | None = None,
    grow: int = 0,
    feather: int = 0,
    lattice: Lattice = WAN_21,
) -> Tensor:
    """A MASK (F, H, W) or (H, W) in 0…1 → float32 (frames, height, width) in 0…1 over a clip.

    A mask of the frames' size is not resized. Any other size is taken as that of the source, or
    a smaller copy of it: with `info` the mask is placed as the clip was (cropped, stretched, with
    black bars), without `info` it is cropped in the centre, which is the default fit. `grow` and
    `feather` are pixels. A mask without the padding frames is one of a count that `lattice` pads to
    `frames`. Raises RegionError for another number of frames, for NaN or infinite values, and for
    an `info` of another clip.
    """
    mask = _check_mask(mask)
    if info is not None and (info.fitted_width, info.fitted_height) != (width, height):
        raise RegionError(
            needed(
                "clip info",
                f"that of a clip fitted to {info.fitted_width}x{info.fitted_height}",
                f"that of these {width}x{height} frames",
                "Connect frames and clip info of one SAMA Source Video.",
            )
        )
    _check_count(len(mask), frames, info, lattice)
    soft = soften(_fit_size(mask, height, width, info), grow, feather)
    return (
        soft.expand(frames, -1, -1)
        if len(soft) == 1
        else torch.cat([soft, *[soft[-1:]] * (frames - len(soft))])
    )


def fit_anchor(anchor: Tensor, frames: int, height: int, width: int) -> Tensor:
    """An IMAGE of one picture (1, h, w, 3 or more) → (1, height, width, 3) in 0…1.

    Alpha is dropped. Another size is cropped in the centre and resized, as the default fit does
    with a clip of that size. Raises RegionError for several pictures, for what is no IMAGE, for NaN
    or infinite values, and for a clip of one frame, which has no frame to carry it to.
    """
    if anchor.ndim != 4 or anchor.shape[-1] < 3 or 0 in anchor.shape:
        got, fix = f"shape {list(anchor.shape)}", "Connect an IMAGE."
        raise RegionError(needed("anchor", got, "one picture (1, height, width, 3)", fix))
    if len(anchor) != 1:
        fix = "Choose one with Get Image from Batch: it stands for the first frame."
        raise RegionError(needed("anchor", f"{len(anchor)} pictures", "one", fix))
    if frames == 1:
        fix = "Take more frames in SAMA Source Video, or leave the anchor out."
        raise RegionError(needed("clip with an anchor", "1 frame", "more frames", fix))
    picture = anchor[..., :3].to("cpu", torch.float32)
    if not torch.isfinite(picture).all():
        got, fix = "values that are no numbers", "Look at the node that makes the picture."
        raise RegionError(needed("anchor", got, "values from 0 to 1", fix))
    if picture.shape[1:3] != (height, width):
        left, top, right, bottom = crop_box(picture.shape[2], picture.shape[1], width, height)
        part = picture[:, top:bottom, left:right].movedim(-1, 1)
        sized = functional.interpolate(part, (height, width), mode="bicubic", antialias=True)
        picture = sized.movedim(1, -1)
    return picture.clamp(0, 1)


def require_region(mask: Tensor) -> Tensor:
    """`mask` itself. Raises RegionError if it is 0 everywhere: nothing would be edited."""
    if not mask.any():
        raise RegionError(
            needed(
                "mask",
                "black everywhere in the frames",
                "some white: only white may change",
                "Paint the region white, or put Invert Mask before it if black and white are "
                "swapped.",
            )
        )
    return mask


def _check_mask(mask: Tensor) -> Tensor:
    """A MASK as float32 (F, H, W) in 0…1 on the CPU. Raises RegionError for what is no MASK."""
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


def _check_count(count: int, frames: int, info: ClipInfo | None, lattice: Lattice) -> None:
    """Raises RegionError unless `count` masks can stand for `frames` frames, padded or not."""
    padded = pad_frame_count(count, lattice)
    unpadded = count == info.frame_count if info is not None else padded == frames
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


def _fit_size(mask: Tensor, height: int, width: int, info: ClipInfo | None) -> Tensor:
    """Crop, resize and place a mask (F, h, w) as the clip's pictures → (F, height, width)."""
    size = (mask.shape[2], mask.shape[1])
    if size == (width, height):
        return mask
    if info is None:
        return _resize(mask, crop_box(*size, width, height), width, height)
    box = scale_box(info.placement.source_box, (info.width, info.height), size)
    left, top, right, bottom = info.placement.inset_box
    part = _resize(mask, box, right - left, bottom - top)
    margins = (left, width - right, top, height - bottom)
    mode = "replicate" if info.placement.fit == Fit.KEEP else "constant"
    return functional.pad(part[:, None], margins, mode=mode)[:, 0]


def scale_box(box: Box, picture: tuple[int, int], size: tuple[int, int]) -> Box:
    """A box of the source's picture in a mask of another size; at least 1x1 pixels."""
    left, top, right, bottom = (
        round(edge * size[axis % 2] / picture[axis % 2]) for axis, edge in enumerate(box)
    )
    left, top = min(left, size[0] - 1), min(top, size[1] - 1)
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _resize(mask: Tensor, box: Box, width: int, height: int) -> Tensor:
    """The part `box` at another size, rounded to steps of 1 / `_STEPS`.

    White stays exactly 1, black exactly 0.
    """
    left, top, right, bottom = box
    part = mask[:, None, top:bottom, left:right]
    resized = functional.interpolate(part, (height, width), mode="bilinear", antialias=True)[:, 0]
    return (resized * _STEPS).round().clamp(0, _STEPS) / _STEPS


def soften(mask: Tensor, grow: int = 0, feather: int = 0) -> Tensor:
    """`mask` (F, H, W) grown by `grow` pixels, with a ramp of `feather` more pixels around."""
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
    """Minimum over (2·radius + 1)² pixels of each frame (F, H, W); pixels outside do not count."""
    return -dilate(-mask, radius)


def box_blur(mask: Tensor, radius: int) -> Tensor:
    """Mean over (2·radius + 1)² pixels of each frame (F, H, W), border pixels repeated outside."""
    if radius == 0:
        return mask
    size = 2 * radius + 1
    padded = functional.pad(mask[:, None], (radius,) * 4, mode="replicate")
    return functional.avg_pool2d(
        functional.avg_pool2d(padded, (1, size), stride=1), (size, 1), stride=1
    )[:, 0]
