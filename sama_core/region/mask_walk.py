"""The mask of a clip of any length, a stretch at a time: one frame for all, a batch, or a video."""

import hashlib
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ..clip.clip_range import ClipRange
from ..clip.fit import measure_clip
from ..clip.info import ClipInfo
from ..clip.placement import Placement
from ..clip.source import ClipSource
from ..clip.walk import FrameWalk
from ..errors import RegionError, needed
from ..geometry import Lattice
from .masks import fit_mask, require_region, scale_box

BLACK, WHITE = 0.05, 0.95
"""Brightness of a mask video from which on it is black, and white: codecs change levels a little,
and a mask that is nowhere quite black would let everything change.
"""


class MaskWalk:
    """Masks of the frames of one clip, float32 in 0…1. By default there is none."""

    digest = ""
    """Digits that tell its content from any other."""

    def take(self, frames: slice) -> Tensor | None:
        """Masks (F, H, W) of `frames`, counted as in the padded clip; None without a mask."""
        return None


class MaskBatch(MaskWalk):
    """A MASK: one frame for the whole clip, or one for each of its frames."""

    def __init__(self, mask: Tensor, info: ClipInfo, lattice: Lattice):
        """Raises RegionError for a mask that does not fit the clip, or is black everywhere."""
        size = info.fitted_height, info.fitted_width
        count = info.padded_count if mask.ndim == 3 and len(mask) > 1 else 1
        given = info if count > 1 else info.part(0, 1)
        self.masks = require_region(fit_mask(mask, count, *size, given, lattice=lattice))
        self.digest = hashlib.sha256(self.masks.contiguous().numpy().data).hexdigest()

    def take(self, frames: slice) -> Tensor:
        """See `MaskWalk.take`."""
        if len(self.masks) == 1:
            return self.masks.expand(frames.stop - frames.start, -1, -1)
        return self.masks[frames]


class MaskVideo(MaskWalk):
    """A video whose bright parts may change, frame by frame as the clip; it is read along."""

    def __init__(
        self,
        source: ClipSource,
        clip_range: ClipRange,
        info: ClipInfo,
        lattice: Lattice,
        progress: Callable[[int, int], None] | None = None,
    ):
        """`clip_range` is the part of it that stands beside the clip of `info`.

        Raises RegionError for another number of frames.
        """
        size = info.fitted_width, info.fitted_height
        own = measure_clip(
            source,
            clip_range,
            progress=progress,
            fit=info.placement.fit,
            size=size,
            lattice=lattice,
        )
        if own.frame_count != info.frame_count:
            raise RegionError(
                needed(
                    "mask video",
                    f"{own.frame_count} frames",
                    f"{info.frame_count}, as many as the clip",
                    "Make the mask from the same clip, with its rate and length.",
                )
            )
        self.walk = FrameWalk(replace(own, placement=_lay_as(own.placement, info.placement)))
        self.digest = f"{source.digest()} {clip_range}"

    def take(self, frames: slice) -> Tensor:
        """See `MaskWalk.take`."""
        light = torch.stack([frame.mean(-1) for frame in self.walk.take(frames)])
        return ((light - BLACK) / (WHITE - BLACK)).clamp(0, 1)


def _lay_as(mask: Placement, clip: Placement) -> Placement:
    """A mask's picture where that of the clip lies, whatever its size and shape; one of the size of
    the model's frames is taken as it is. As `masks.fit_mask` places a MASK.
    """
    size = mask.picture_width, mask.picture_height
    box, inset = (0, 0, *size), (0, 0, clip.width, clip.height)
    if size != (clip.width, clip.height):
        box = scale_box(clip.source_box, (clip.picture_width, clip.picture_height), size)
        inset = clip.inset_box
    return replace(mask, source_box=box, width=clip.width, height=clip.height, inset_box=inset)
