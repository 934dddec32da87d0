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

SPATIAL_FACTOR = 8
TEMPORAL_FACTOR = 4
PATCH = (1, 2, 2)
SIDE_MULTIPLE = SPATIAL_FACTOR * PATCH[1]

DEFAULT_AREA = 480 * 832
RELEASE_FRAMES = 81
"""Frames SAMA was released for."""
BUCKET_STEP = 32
BUCKET_ASPECTS = (0.5, 2.0)


@dataclass(frozen=True)
class LatentShape:
    """Size of a Wan 2.1 video latent, without batch and channels."""

    frames: int
    height: int
    width: int

    def grid(self) -> tuple[int, int, int]:
        """The DiT's token grid (frames, rows, columns) of one video segment. GeometryError if patches do not fit."""
        if self.height % PATCH[1] or self.width % PATCH[2]:
            raise GeometryError(
                needed(
                    "latent size",
                    f"{self.width}x{self.height}",
                    "an even width and height",
                    f"Make the frames a multiple of {SIDE_MULTIPLE} pixels on each side.",
                )
            )
        return self.frames // PATCH[0], self.height // PATCH[1], self.width // PATCH[2]

    def tokens(self) -> int:
        """Number of DiT tokens of one video segment. Raises GeometryError if patches do not fit."""
        return math.prod(self.grid())

    def clip(self) -> "ClipShape":
        """The pixel clip this latent decodes to."""
        return ClipShape(
            (self.frames - 1) * TEMPORAL_FACTOR + 1,
            self.height * SPATIAL_FACTOR,
            self.width * SPATIAL_FACTOR,
        )


@dataclass(frozen=True)
class ClipShape:
    """Size of a clip in pixels."""

    frames: int
    height: int
    width: int

    def latent(self) -> LatentShape:
        """The latent this clip encodes to. Raises GeometryError unless frames are 4k+1 and sides ÷16."""
        if self.frames < 1 or self.frames % TEMPORAL_FACTOR != 1:
            raise GeometryError(
                needed(
                    "frame count",
                    self.frames,
                    "4k+1 frames (1, 5, 9, … 49, 81)",
                    f"Use {pad_frame_count(max(self.frames, 1))} frames, or let SAMA Source Video pad the clip.",
                )
            )
        if (
            self.height % SIDE_MULTIPLE
            or self.width % SIDE_MULTIPLE
            or min(self.height, self.width) < 1
        ):
            width, height = round_up_size(self.width, self.height)
            raise GeometryError(
                needed(
                    "frame size",
                    f"{self.width}x{self.height}",
                    f"sides that are multiples of {SIDE_MULTIPLE}",
                    f"Use {width}x{height}, or let SAMA Source Video fit the clip.",
                )
            )
        return LatentShape(
            (self.frames - 1) // TEMPORAL_FACTOR + 1,
            self.height // SPATIAL_FACTOR,
            self.width // SPATIAL_FACTOR,
        )


def pad_frame_count(frames: int) -> int:
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
    return frames + (1 - frames) % TEMPORAL_FACTOR


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
