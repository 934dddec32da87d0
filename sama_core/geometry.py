"""Clip, latent and token geometry: every rule about sizes and frame counts lives here, once.

    ClipShape  (frames, height, width)          pixels
       │  4k+1 frames, sides multiples of 16: 8 for the VAE, 2 for the patch
    LatentShape (frames, height, width)         Wan 2.1 latents, 16 channels
       │  patch (1, 2, 2)
    token count = frames · height/2 · width/2   per video segment

Source: SAMA release `infer_sh/inference.py` (frame padding, bucket choice) and
`custom_utils.get_all_resolution` (buckets); Wan 2.1 VAE (8× in space, 4× in time).
"""

import math
from dataclasses import dataclass, field, replace

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
    name: str = field(default="Wan", compare=False)
    """What people call the VAE, for messages."""

    @property
    def side_multiple(self) -> int:
        """What both sides of a frame must be a multiple of."""
        return self.spatial * max(self.patch[1:])

    @property
    def frame_rule(self) -> str:
        """The rule for frame counts in words, such as "4k+1"."""
        return f"{self.temporal}k+1"

    def takes_count(self, frames: int) -> bool:
        """Whether a clip of so many frames can be encoded as it is."""
        return frames > 0 and (frames - 1) % self.temporal == 0

    def takes_size(self, width: int, height: int) -> bool:
        """Whether frames of this size can be encoded and cut into patches as they are."""
        multiple = self.side_multiple
        return min(width, height) > 0 and width % multiple == 0 and height % multiple == 0

    def latents_of(self, frames: int) -> int:
        """Latent frames of a clip of a count that `takes_count` accepts."""
        return (frames - 1) // self.temporal + 1

    def frames_of(self, latents: int) -> int:
        """Frames of a clip of so many latent frames."""
        return (latents - 1) * self.temporal + 1


WAN_21 = Lattice(channels=16, spatial=8, temporal=4, patch=(1, 2, 2), name="Wan 2.1")
"""Wan 2.1's VAE and DiT, which SAMA-14B is made of."""
WAN_22 = Lattice(channels=48, spatial=16, temporal=4, patch=(1, 2, 2), name="Wan 2.2")
"""Wan 2.2's VAE of 48 channels, with the same patches: that of Wan's 5B model."""
LATTICES = (WAN_21, WAN_22)
"""The lattices of Wan's video models, which differ in their number of channels."""


def lattice_of(channels: int, patch: tuple[int, int, int] = WAN_21.patch) -> Lattice:
    """The lattice of a model with so many latent channels and this patch.

    No tensor of a DiT states the factors of its VAE, but its channels tell which VAE it is. For
    channels of no known VAE the factors are Wan 2.1's.
    """
    known = next((lattice for lattice in LATTICES if lattice.channels == channels), WAN_21)
    return replace(known, channels=channels, patch=patch)


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
            self.lattice.frames_of(self.frames),
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
        if not self.lattice.takes_count(self.frames):
            raise GeometryError(
                needed(
                    "frame count",
                    self.frames,
                    f"{self.lattice.frame_rule} frames (1, {time + 1}, {2 * time + 1}, … "
                    f"{12 * time + 1}, {20 * time + 1})",
                    f"Use {pad_frame_count(max(self.frames, 1), self.lattice)} frames, or let SAMA "
                    "Source Video pad the clip.",
                )
            )
        if not self.lattice.takes_size(self.width, self.height):
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
            self.lattice.latents_of(self.frames),
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


def round_up_size(width: int, height: int, multiple: int = WAN_21.side_multiple) -> tuple[int, int]:
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
    """The bucket `(width, height)` of the nearest aspect ratio; of two equally near, the first."""
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
