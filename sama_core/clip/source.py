"""Where frames come from: one interface for video files, images in memory, and edits.

A source streams: it decodes what a `ClipRange` asks for, one frame at a time, and can be read again
later, which is how restoring puts cropped borders back. Files are in `file_source`, edits in
`restore`.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from numbers import Rational, Real
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..errors import ClipError, needed
from .audio import Heard, Sound
from .clip_range import ClipRange, Seconds, brief, check_one_start
from .colours import RGB_MATRIX, UNTAGGED, Colours
from .decode import HIGHEST_FPS, unusable
from .packets import TrackPackets
from .picture import NO_PIXELS, Picture


@dataclass(frozen=True)
class ClipFacts:
    """What is known about a source before its frames are read."""

    width: int
    """Pixels as stored, but upright (after rotation)."""
    height: int
    """Pixels as stored, but upright."""
    fps: Fraction
    """Frames per second, on average."""
    frame_count: int | None
    """Frames in the source; None where only decoding all of it would tell."""
    pixel_aspect: Fraction = Fraction(1)
    """Width / height of a pixel as shown; anything but 1 means that the picture is shown wider or
    narrower than stored.
    """
    rotation: int = 0
    """Degrees counterclockwise by which stored pictures were turned upright: 0, 90, 180 or 270."""
    mirrored: bool = False
    """Whether top and bottom of stored pictures were swapped before that."""
    bit_depth: int = 8
    """Bits per colour component."""
    alpha: bool = False
    """Whether the first picture is transparent somewhere."""
    colours: Colours = UNTAGGED
    """The colour tags."""
    brightest: float = 1.0
    """The largest number of a pixel, where 1 is white; images alone can have more."""


class ClipSource(Protocol):
    """What fitting, restoring and saving need of a source.

    The answers about sound are those of a source that has none; `FileSource` gives its own.
    """

    name: str
    """What errors call the source."""

    def facts(self) -> ClipFacts:
        """Size, rate and more. Raises ClipError for a source that cannot be used."""
        ...

    def pictures(self, clip_range: ClipRange, deep: bool = False) -> Iterator[Picture]:
        """The pictures in `clip_range`, in 16 bits if `deep` and the source has as many.

        Raises ClipError if the start lies beyond the end, or a picture cannot be read.
        """
        ...

    def frames(self, clip_range: ClipRange) -> Iterator[np.ndarray]:
        """The frames in `clip_range`, uint8 (H, W, 3) RGB, upright; as `pictures`."""
        return (picture.pixels for picture in self.pictures(clip_range))

    def marks(self, clip_range: ClipRange) -> Iterator[Picture]:
        """The pictures in `clip_range` with empty pixels: their times and states alone."""
        return (replace(picture, content=NO_PIXELS) for picture in self.pictures(clip_range))

    def digest(self) -> str:
        """Hexadecimal digits that tell the source's content from any other, by all of its bytes."""
        ...

    def frame_at(self, seconds: Fraction) -> int:
        """Number of the frame whose time after the first one is nearest.

        The frame count if that frame is over by then.
        """
        ...

    def time_of(self, number: int) -> Fraction:
        """Seconds after the first frame at which frame `number` is shown."""
        ...

    def is_unchanged(self) -> bool:
        """Whether the source is still the clip that was opened."""
        return True

    def sound(
        self,
        start_seconds: float | Fraction,
        duration_seconds: float | Fraction,
        wait: Callable[[], None] = lambda: None,
    ) -> Sound:
        """The sound of a range, and what there is to say about it; see `read_sound`."""
        return Sound(None)

    def audio(
        self, start_seconds: float | Fraction, duration_seconds: float | Fraction
    ) -> dict | None:
        """The sound of a range as ComfyUI AUDIO, or None; see `read_sound`."""
        return self.sound(start_seconds, duration_seconds).audio

    def listen(
        self, start_seconds: Fraction, duration_seconds: Fraction, wait: Callable[[], None]
    ) -> Heard:
        """What the sound of a range is like, without its samples; see `audio.listen`."""
        return Heard()

    def packets(
        self, start_seconds: Fraction, duration_seconds: Fraction
    ) -> AbstractContextManager[TrackPackets | None]:
        """The coded sound of a range for an mp4, valid in the context; None where it takes none."""
        return nullcontext()


class ImageSource(ClipSource):
    """A batch of images, float (F, H, W, 3) in 0..1, played at `fps`. Raises ClipError for other
    shapes and rates.
    """

    def __init__(self, images: Tensor, fps: Fraction | float):
        if images.dim() != 4 or images.shape[-1] != 3:
            raise ClipError(
                needed(
                    "images",
                    f"shape {tuple(images.shape)}",
                    "(frames, height, width, 3)",
                    "Connect an IMAGE output without transparency.",
                )
            )
        self.images = images
        self.name = "images"
        self._fps = exact_rate(fps)

    def facts(self) -> ClipFacts:
        """Size, rate and count. Raises ClipError for an empty batch."""
        count, height, width, _ = self.images.shape
        if not (count and width and height):
            raise no_frames(self.name)
        colours = Colours(matrix=RGB_MATRIX)
        return ClipFacts(
            width, height, self._fps, count, colours=colours, brightest=self._brightest
        )

    @cached_property
    def _brightest(self) -> float:
        return float(self.images.max())

    def pictures(self, clip_range: ClipRange, deep: bool = False) -> Iterator[Picture]:
        """The pictures in `clip_range`, always in 8 bits; raises ClipError if the start lies beyond
        the end.
        """
        count = len(self.images)
        check_start(self.name, clip_range.start, count)
        stop = count if clip_range.last is None else min(clip_range.last + 1, count)
        for number in range(clip_range.start, stop, clip_range.stride):
            pixels = (
                (self.images[number].float() * 255)
                .round()
                .clamp(0, 255)
                .to("cpu", torch.uint8)
                .numpy()
            )
            yield Picture(number, pixels, number / self._fps, 1 / self._fps)

    def frames(self, clip_range: ClipRange) -> Iterator[np.ndarray]:
        """The frames in `clip_range`, uint8 (H, W, 3); as `pictures`."""
        return (picture.pixels for picture in self.pictures(clip_range))

    def digest(self) -> str:
        """Hexadecimal digits for the images and their rate."""
        found = hashlib.sha256(f"images {tuple(self.images.shape)} {self._fps}".encode())
        for image in self.images:
            found.update(image.cpu().float().contiguous().numpy().data)
        return found.hexdigest()

    def frame_at(self, seconds: Fraction) -> int:
        """Number of the image whose time is nearest; the count if that is over."""
        return min(frame_by_rate(seconds, self._fps), len(self.images))

    def time_of(self, number: int) -> Fraction:
        """Seconds after the first image at which image `number` is shown."""
        return number / self._fps


def check_start(name: str, start: int, frame_count: int) -> None:
    """Raises ClipError unless a source of `frame_count` frames has a frame `start`."""
    if not frame_count:
        raise no_frames(name)
    if start >= frame_count:
        raise unusable(
            name,
            f"start frame {start}",
            f"a start from 0 to {frame_count - 1} (frame count: {frame_count})",
            f"Set the start frame to {frame_count - 1} or less.",
        )


def no_frames(name: str) -> ClipError:
    """The error of a source without frames."""
    return unusable(name, "0 frames", "at least 1 frame")


def in_frames(
    source: ClipSource, clip_range: ClipRange, seconds: Seconds, first: int = 0
) -> ClipRange:
    """`clip_range`, with frame numbers in place of what `seconds` sets.

    Both count from frame `first`; the result counts from 0. Begin and end become the frame that the
    source shows nearest to that time, the interval the nearest whole number of frames, at least 1.
    Raises ClipError where the start is given in both.
    """
    check_one_start(clip_range, seconds)
    start, frames, stride = first + clip_range.start, clip_range.frames, clip_range.stride
    if seconds.start:
        start = source.frame_at(source.time_of(first) + Fraction(seconds.start))
    if seconds.every:
        stride = max(1, round(Fraction(seconds.every) * source.facts().fps))
    if seconds.duration:
        end = source.frame_at(source.time_of(start) + Fraction(seconds.duration))
        frames = max(1, -(-(end - start) // stride))
    return ClipRange(start, frames, stride)


def exact_rate(fps: Fraction | float) -> Fraction:
    """Frames per second as an exact number. Raises ClipError for other than usual rates.

    A rate that is typed, as 23.976, becomes a fraction of few digits, not a float's of 50.
    """
    rate = Fraction(0)
    if isinstance(fps, Real) and 0 < fps <= HIGHEST_FPS:
        rate = (
            Fraction(fps)
            if isinstance(fps, Rational)
            else Fraction(float(fps)).limit_denominator(1001)
        )
    if not rate:
        raise ClipError(
            needed(
                "frame rate",
                brief(fps),
                f"more than 0 and at most {HIGHEST_FPS} frames per second",
                "Set fps to 24.",
            )
        )
    return rate


def frame_by_rate(seconds: Fraction, fps: Fraction) -> int:
    """Frames shown before `seconds`, to the nearest frame, at one rate."""
    return max(0, -((1 - 2 * seconds * fps) // 2))
