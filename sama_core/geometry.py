"""Clip, latent and token geometry: every rule about sizes and frame counts lives here, once.

    ClipShape  (frames, height, width)          pixels
       │  4k+1 frames, sides ÷16: 8 for the VAE, 2 for the patch
    LatentShape (frames, height, width)         Wan 2.1 latents, 16 channels
       │  patch (1, 2, 2)
    token count = frames · height/2 · width/2   per video segment

Source: SAMA release `infer_sh/inference.py` (frame padding, bucket choice) and
`custom_utils.get_all_resolution` (buckets); Wan 2.1 VAE (8× in space, 4× in time).
"""

import math
from dataclasses import dataclass

from .errors import GeometryError, needed


@dataclass(frozen=True)
class Lattice:
    """How a VAE and the patches of a DiT divide a clip into tokens."""

    channels: int
    """Channels of a latent."""
    spatial: int
    """Pixels to a latent cell, in each direction."""
    temporal: int
    """Frames to a latent frame; the first latent frame is one frame alone."""
    patch: tuple[int, int, int]
    """Latent frames, rows and columns to a token."""

    @property
    def side_multiple(self) -> int:
        """What both sides of a frame must be a multiple of."""
        return self.spatial * max(self.patch[1:])


WAN_21 = Lattice(channels=16, spatial=8, temporal=4, patch=(1, 2, 2))
"""Wan 2.1's VAE and DiT, which SAMA-14B is made of."""
SPATIAL_FACTOR, TEMPORAL_FACTOR, PATCH = WAN_21.spatial, WAN_21.temporal, WAN_21.patch
SIDE_MULTIPLE = WAN_21.side_multiple

DEFAULT_AREA = 480 * 832
BUCKET_STEP = 32
BUCKET_ASPECTS = (0.5, 2.0)


@dataclass(frozen=True)
class LatentShape:
    """Size of a video latent, without batch and channels."""

    frames: int
    """Latent frames T."""
    height: int
    """Rows H."""
    width: int
    """Columns W."""
    lattice: Lattice = WAN_21
    """The model's division of a clip."""

    def grid(self) -> tuple[int, int, int]:
        """The DiT's token grid (frames, rows, columns) of one video segment.

        GeometryError if patches do not fit.
        """
        time, rows, columns = self.lattice.patch
        if self.height % rows or self.width % columns:
            raise GeometryError(
                needed(
                    "latent size",
                    f"{self.width}x{self.height}",
                    "an even width and height"
                    if (rows, columns) == (2, 2)
                    else f"multiples of {columns} and {rows}",
                    f"Make the frames a multiple of {self.lattice.side_multiple} pixels on each "
                    "side.",
                )
            )
        return self.frames // time, self.height // rows, self.width // columns

    def tokens(self) -> int:
        """Number of DiT tokens of one video segment. Raises GeometryError if patches do not fit."""
        return math.prod(self.grid())

    def clip(self) -> "ClipShape":
        """The pixel clip this latent decodes to."""
        return ClipShape(
            (self.frames - 1) * self.lattice.temporal + 1,
            self.height * self.lattice.spatial,
            self.width * self.lattice.spatial,
            self.lattice,
        )


@dataclass(frozen=True)
class ClipShape:
    """Size of a clip in pixels."""

    frames: int
    """Frames F."""
    height: int
    """Pixels from top to bottom."""
    width: int
    """Pixels from left to right."""
    lattice: Lattice = WAN_21
    """The model's division of a clip."""

    def latent(self) -> LatentShape:
        """The latent this clip encodes to. Raises GeometryError unless frames are 4k+1 and sides
        ÷16 (of Wan 2.1; of another lattice by its own factors)."""
        time, multiple = self.lattice.temporal, self.lattice.side_multiple
        if self.frames < 1 or self.frames % time != 1:
            raise GeometryError(
                needed(
                    "frame count",
                    self.frames,
                    f"{time}k+1 frames (1, {time + 1}, {2 * time + 1}, … {12 * time + 1}, "
                    f"{20 * time + 1})",
                    f"Use {pad_frame_count(max(self.frames, 1), self.lattice)} frames, or let SAMA "
                    "Source Video pad the clip.",
                )
            )
        if self.height % multiple or self.width % multiple or min(self.height, self.width) < 1:
            width, height = round_up_size(self.width, self.height, multiple)
            raise GeometryError(
                needed(
                    "frame size",
                    f"{self.width}x{self.height}",
                    f"sides that are multiples of {multiple}",
                    f"Use {width}x{height}, or let SAMA Source Video fit the clip.",
                )
            )
        return LatentShape(
            (self.frames - 1) // time + 1,
            self.height // self.lattice.spatial,
            self.width // self.lattice.spatial,
            self.lattice,
        )


def pad_frame_count(frames: int, lattice: Lattice = WAN_21) -> int:
    """Smallest 4k+1 that is ≥ `frames`; the missing frames are copies of the last one."""
    if frames < 1:
        raise GeometryError(
            needed(
                "frame count",
                frames,
                "at least 1 frame",
                "Check the start frame, the frame limit and the file.",
            )
        )
    return frames + (1 - frames) % lattice.temporal


def round_up_size(width: int, height: int, multiple: int = SIDE_MULTIPLE) -> tuple[int, int]:
    """`(width, height)` rounded up to multiples of `multiple`."""
    return (
        max(1, math.ceil(width / multiple)) * multiple,
        max(1, math.ceil(height / multiple)) * multiple,
    )


def buckets(area: int = DEFAULT_AREA) -> list[tuple[int, int]]:
    """All `(width, height)` buckets of about `area` pixels, sides ÷32, aspect 0.5 to 2.

    Deviation: below 2·32² pixels the reference divides by a height of zero. Here heights start at
    32, and 32×32 stands in where no width fits.
    """
    low, high = BUCKET_ASPECTS
    first = math.floor(math.sqrt(area / high) / BUCKET_STEP) * BUCKET_STEP
    last = math.ceil(math.sqrt(area / low) / BUCKET_STEP) * BUCKET_STEP
    found = []
    for height in range(max(first, BUCKET_STEP), last + 1, BUCKET_STEP):
        width = round(area / height / BUCKET_STEP) * BUCKET_STEP
        if low <= width / height <= high:
            found.append((width, height))
    return found or [(BUCKET_STEP, BUCKET_STEP)]


def choose_bucket(width: int, height: int, area: int = DEFAULT_AREA) -> tuple[int, int]:
    """The bucket `(width, height)` whose aspect ratio is nearest; the first one wins a tie."""
    if width < 1 or height < 1:
        raise GeometryError(
            needed(
                "frame size", f"{width}x{height}", "at least 1x1 pixels", "Check the video file."
            )
        )
    aspect = width / height
    return min(buckets(area), key=lambda size: abs(size[0] / size[1] - aspect))


def crop_box(
    width: int, height: int, target_width: int, target_height: int
) -> tuple[int, int, int, int]:
    """Centre crop `(left, top, right, bottom)` of a frame to the target's aspect ratio.

    At least one pixel is kept on each side. Deviation: for extreme aspects of tiny frames the
    reference computes an empty crop and fails.
    """
    if height / width < target_height / target_width:
        cropped = max(1, int(height / target_height * target_width))
        left = (width - cropped) // 2
        return left, 0, left + cropped, height
    cropped = max(1, int(width / target_width * target_height))
    top = (height - cropped) // 2
    return 0, top, width, top + cropped
