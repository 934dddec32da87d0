"""Where frames come from: a video file or a batch of images, behind one small interface.

A source streams: it decodes what a `ClipRange` asks for, one frame at a time, and can be read again
later, which is how `restore_frames` puts cropped borders back.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np
import torch

from ..errors import ClipError, needed
from .audio import audible_track, read_audio
from .decode import Stream, display_name, numbered_pictures, opened, picture_stream, to_rgb, unusable, upright_size

# For streams that state no rate at all (a still image, some one-frame files).
FALLBACK_FPS = Fraction(24)


@dataclass(frozen=True)
class ClipRange:
    """Which frames of a source are wanted. Raises ClipError for values that mean nothing."""

    start: int = 0
    "First frame, counted from 0."
    frames: int = 0
    "How many frames, after the stride; 0 means to the end. A shorter source gives what it has."
    stride: int = 1
    "Take every n-th frame."

    def __post_init__(self):
        for what, value, least in (("start frame", self.start, 0), ("frame limit", self.frames, 0),
                                   ("frame stride", self.stride, 1)):
            if value < least:
                raise ClipError(needed(what, value, f"{least} or more", f"Set it to {least}."))

    @property
    def last(self) -> int | None:
        """Number of the last frame wanted, None for "to the end"."""
        return self.start + (self.frames - 1) * self.stride if self.frames else None

    def keeps(self, number: int) -> bool:
        """Whether frame `number` is one of the wanted ones."""
        ends = self.last is not None and number > self.last
        return number >= self.start and not ends and (number - self.start) % self.stride == 0

    def count_in(self, frame_count: int | None) -> int | None:
        """How many frames this range takes from a source of `frame_count` frames; None if unknown."""
        if frame_count is None:
            return None
        available = max(0, -(-(frame_count - self.start) // self.stride))
        return min(self.frames, available) if self.frames else available


@dataclass(frozen=True)
class ClipFacts:
    """What is known about a source before its frames are read."""

    width: int
    "Pixels, as shown (after rotation)."
    height: int
    "Pixels, as shown."
    fps: Fraction
    "Frames per second, on average."
    frame_count: int | None
    "Frames in the source; None where only decoding all of it would tell."
    has_audio: bool
    "Whether there is sound that can be decoded."


class ClipSource(Protocol):
    """What fitting and restoring need of a source."""

    def facts(self) -> ClipFacts: ...

    def frames(self, clip_range: ClipRange) -> Iterator[np.ndarray]: ...

    def audio(self, start_seconds: float | Fraction, duration_seconds: float | Fraction) -> dict | None: ...


class FileSource:
    """A video file: a path, or a BytesIO as ComfyUI's `VideoInput.get_stream_source()` may give."""

    def __init__(self, stream: Stream):
        self.stream = stream
        self.name = display_name(stream)
        self._facts: ClipFacts | None = None

    def facts(self) -> ClipFacts:
        """Size, rate and sound; decodes one frame. Raises ClipError if the file is not a usable video."""
        if self._facts is None:
            self._facts = self._read_facts()
        return self._facts

    def frames(self, clip_range: ClipRange) -> Iterator[np.ndarray]:
        """The frames in `clip_range`, uint8 (H, W, 3) RGB, upright. Decoding stops after the last one.

        Raises ClipError if the start lies beyond the end, the data is damaged or the size changes.
        """
        facts, seen = self.facts(), 0
        for number, picture in numbered_pictures(self.stream, self.name, clip_range.start):
            seen = number + 1
            if clip_range.keeps(number):
                if upright_size(picture) != (facts.width, facts.height):
                    raise _size_change(self.name, number, upright_size(picture), facts)
                yield to_rgb(picture)
            if number == clip_range.last:
                return
        _check_start(self.name, clip_range.start, seen)

    def audio(self, start_seconds: float | Fraction, duration_seconds: float | Fraction) -> dict | None:
        """The sound of a range, see `read_audio`."""
        return read_audio(self.stream, self.name, start_seconds, duration_seconds)

    def _read_facts(self) -> ClipFacts:
        _, picture = next(numbered_pictures(self.stream, self.name, 0), (0, None))
        if picture is None:
            raise _no_frames(self.name)
        with opened(self.stream, self.name) as container:
            stream = picture_stream(container, self.name)
            fps = stream.average_rate or stream.guessed_rate or FALLBACK_FPS
            return ClipFacts(*upright_size(picture), Fraction(fps), _stated_frame_count(container, stream),
                             audible_track(container) is not None)


class ImageSource:
    """A batch of images, float (F, H, W, 3) in 0..1, played at `fps`. Raises ClipError for other shapes."""

    def __init__(self, images: torch.Tensor, fps: Fraction):
        if images.dim() != 4 or images.shape[-1] != 3:
            raise ClipError(needed("images", f"shape {tuple(images.shape)}", "(frames, height, width, 3)",
                                   "Connect an IMAGE output without transparency."))
        if fps <= 0:
            raise ClipError(needed("frame rate", fps, "more than 0 frames per second", "Set fps to 24."))
        self.images = images
        self.name = "images"
        self._fps = Fraction(fps)

    def facts(self) -> ClipFacts:
        """Size, rate and count. Raises ClipError for an empty batch."""
        count, height, width, _ = self.images.shape
        if not count:
            raise _no_frames(self.name)
        return ClipFacts(width, height, self._fps, count, False)

    def frames(self, clip_range: ClipRange) -> Iterator[np.ndarray]:
        """The frames in `clip_range` as uint8 (H, W, 3); raises ClipError if the start lies beyond the end."""
        _check_start(self.name, clip_range.start, len(self.images))
        stop = None if clip_range.last is None else clip_range.last + 1
        for image in self.images[clip_range.start:stop:clip_range.stride]:
            yield (image.float() * 255).round().clamp(0, 255).to("cpu", torch.uint8).numpy()

    def audio(self, start_seconds: float | Fraction, duration_seconds: float | Fraction) -> None:
        """Images have no sound."""


def _stated_frame_count(container, stream) -> int | None:
    # AVI and edit lists (clips trimmed without re-encoding) state counts that are not what plays.
    # mp4 and mov are believed where count, duration and rate agree.
    if "mp4" not in container.format.name.split(",") or not (stream.frames and stream.duration and stream.average_rate):
        return None
    played = round(stream.duration * stream.time_base * stream.average_rate)
    return stream.frames if played == stream.frames else None


def _check_start(name: str, start: int, frame_count: int) -> None:
    if not frame_count:
        raise _no_frames(name)
    if start >= frame_count:
        raise unusable(name, f"start frame {start}",
                       f"a start from 0 to {frame_count - 1} (frame count: {frame_count})",
                       f"Set the start frame to {frame_count - 1} or less.")


def _no_frames(name: str) -> ClipError:
    return unusable(name, "0 frames", "at least 1 frame")


def _size_change(name: str, number: int, got: tuple[int, int], facts: ClipFacts) -> ClipError:
    return unusable(name, f"frame {number} of {got[0]}x{got[1]} pixels", f"the first frame's size, "
                    f"{facts.width}x{facts.height}, throughout",
                    f"Set the frame limit to end before frame {number}, or export the file again.")
