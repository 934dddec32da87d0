"""How a picture is placed in the model's frame: which part is taken, and where it lies."""

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from numbers import Integral

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from ..errors import ClipError, needed
from ..geometry import (
    DEFAULT_AREA,
    WAN_21,
    Lattice,
    choose_bucket,
    crop_box,
    round_up_size,
)
from .clip_range import brief

LARGEST_AREA = 1 << 24
"""Pixels of a frame: 4096 x 4096."""

Box = tuple[int, int, int, int]


class Fit(StrEnum):
    """Ways to give a picture a size the model takes."""

    CROP = "crop to bucket"
    """The release's rule: nearest bucket, what does not fit is cut off on both sides."""
    LETTERBOX = "letterbox"
    """The whole picture in the nearest bucket, with black bars around it."""
    STRETCH = "stretch"
    """The whole picture, stretched to the nearest bucket's shape."""
    KEEP = "keep size"
    """Pixel for pixel; right and bottom are filled up to multiples of 16, with copies of the last
    column and row.
    """


@dataclass(frozen=True)
class Placement:
    """Where a picture lies in a frame, in stored pixels; boxes are (left, top, right, bottom)."""

    fit: Fit
    """The way to fit."""
    picture_width: int
    """Width of the picture."""
    picture_height: int
    """Height of the picture."""
    source_box: Box
    """The part of the picture that is taken."""
    width: int
    """Width of the model's frame."""
    height: int
    """Height of the model's frame."""
    inset_box: Box
    """Where that part lies in the model's frame."""

    @property
    def takes_all(self) -> bool:
        """Whether nothing of the picture is cut off."""
        return self.source_box == (0, 0, self.picture_width, self.picture_height)

    @property
    def share_cut(self) -> float:
        """The part of the picture that is cut off, from 0 to 1."""
        left, top, right, bottom = self.source_box
        return 1 - (right - left) * (bottom - top) / (self.picture_width * self.picture_height)

    def describe_cut(self) -> str:
        """How many pixels are cut off at which sides, in words; empty for none."""
        left, top, right, bottom = self.source_box
        cut = {
            "at the left": left,
            "at the right": self.picture_width - right,
            "at the top": top,
            "at the bottom": self.picture_height - bottom,
        }
        sides = [f"{pixels} {side}" for side, pixels in cut.items() if pixels]
        return " and ".join(sides).replace(" ", " pixels ", 1)

    @property
    def fills_all(self) -> bool:
        """Whether nothing of the model's frame is bars or padding."""
        return self.inset_box == (0, 0, self.width, self.height)

    @property
    def changes_nothing(self) -> bool:
        """Whether the frame is the picture, pixel for pixel."""
        return (
            self.takes_all
            and self.fills_all
            and (self.width, self.height) == (self.picture_width, self.picture_height)
        )


def place(
    width: int,
    height: int,
    area: int = DEFAULT_AREA,
    fit: Fit = Fit.CROP,
    pixel_aspect: Fraction = Fraction(1),
    size: tuple[int, int] | None = None,
    lattice: Lattice = WAN_21,
) -> Placement:
    """Place a picture of `width` x `height` stored pixels in a frame of the model's.

    The frame is the bucket of `area` that is nearest in shape, or of `size` (width, height) if that
    is given; `Fit.KEEP` ignores both and takes the next multiples that `lattice` needs. A stored
    pixel is `pixel_aspect` times as wide as high. Pixels become square, so that the model sees the
    picture as it is shown; only `Fit.KEEP` leaves them as stored. Raises ClipError for an area that
    no frame has.
    """
    if not isinstance(area, Integral) or not 1 <= area <= LARGEST_AREA:
        raise ClipError(
            needed("area", brief(area), f"1 to {LARGEST_AREA} pixels", f"Set it to {DEFAULT_AREA}.")
        )
    everything = (0, 0, width, height)
    if fit == Fit.KEEP:
        rounded = round_up_size(width, height, lattice.side_multiple)
        return Placement(fit, width, height, everything, *rounded, everything)
    shown_width, shown_height = shown_size(width, height, pixel_aspect)
    frame_width, frame_height = size or choose_bucket(shown_width, shown_height, area)
    source, inset = everything, (0, 0, frame_width, frame_height)
    if fit == Fit.CROP:
        source = _as_stored(
            crop_box(shown_width, shown_height, frame_width, frame_height),
            (shown_width, shown_height),
            (width, height),
        )
    elif fit == Fit.LETTERBOX:
        inset = _centre(shown_width, shown_height, frame_width, frame_height)
    return Placement(fit, width, height, source, frame_width, frame_height, inset)


def shown_size(width: int, height: int, pixel_aspect: Fraction) -> tuple[int, int]:
    """`(width, height)` in square pixels: the side that is stored too small grows."""
    if pixel_aspect >= 1:
        return round(width * pixel_aspect), height
    return width, round(height / pixel_aspect)


def lay_in(frame: np.ndarray, placement: Placement) -> np.ndarray:
    """A picture, uint8 (picture_height, picture_width, 3) → frame, uint8 (height, width, 3).

    `Fit.CROP` is the release's arithmetic, bit for bit; the others are within a level of it, in a
    fifth of the time.
    """
    left, top, right, bottom = placement.inset_box
    resize = resize_frame if placement.fit == Fit.CROP else resize_quickly
    part = resize(frame, placement.source_box, right - left, bottom - top)
    if placement.fills_all:
        return part
    margins = ((top, placement.height - bottom), (left, placement.width - right), (0, 0))
    return np.pad(part, margins, mode="edge" if placement.fit == Fit.KEEP else "constant")


def resize_frame(frame: np.ndarray, box: Box, width: int, height: int) -> np.ndarray:
    """The part `box` of a uint8 (H, W, 3) frame, resized to uint8 (height, width, 3) as Pillow does
    it.
    """
    left, top, right, bottom = box
    part = np.ascontiguousarray(frame[top:bottom, left:right])
    return np.asarray(Image.fromarray(part).resize((width, height), Image.Resampling.BICUBIC))


def resize_quickly(frame: np.ndarray, box: Box, width: int, height: int) -> np.ndarray:
    """As `resize_frame`, to one level; where a side grows, one value in 10,000 may be two off.

    torch's bicubic for 8 bits has Pillow's kernel, and rounds its weights to 16 bits where Pillow
    keeps 22.
    """
    left, top, right, bottom = box
    part = np.ascontiguousarray(frame[top:bottom, left:right])
    planes = torch.from_numpy(part).permute(2, 0, 1)[None]
    # Values are cut to 0…255 between the two directions, so their order matters: torch begins with
    # the width, Pillow with the height where that shrinks, and more than the width.
    rows, columns = part.shape[:2]
    if height < rows and height * columns < width * rows:
        planes = _interpolate(planes, height, columns)
    planes = _interpolate(planes, height, width)
    return np.ascontiguousarray(planes[0].permute(1, 2, 0).numpy())


def _interpolate(planes: torch.Tensor, height: int, width: int) -> torch.Tensor:
    return functional.interpolate(planes, (height, width), mode="bicubic", antialias=True)


def _as_stored(box: Box, shown: tuple[int, int], stored: tuple[int, int]) -> Box:
    """A box in square pixels in stored ones, one pixel wide and high at least."""
    edges = [
        round(Fraction(edge * stored[axis % 2], shown[axis % 2])) for axis, edge in enumerate(box)
    ]
    left, top = min(edges[0], stored[0] - 1), min(edges[1], stored[1] - 1)
    return left, top, max(edges[2], left + 1), max(edges[3], top + 1)


def _centre(width: int, height: int, frame_width: int, frame_height: int) -> Box:
    """Where a picture of that shape lands in the frame, as large as it goes."""
    scale = min(Fraction(frame_width, width), Fraction(frame_height, height))
    inner_width, inner_height = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (frame_width - inner_width) // 2, (frame_height - inner_height) // 2
    return left, top, left + inner_width, top + inner_height
