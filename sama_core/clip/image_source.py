"""An edit as the source of another edit: restored as it is read, with the times and pixel shape of the first source."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np
import torch

from ..errors import ClipError, needed
from .clip_range import ClipRange
from .colours import RGB_MATRIX, Colours
from .info import ClipInfo
from .picture import WHITE, Picture
from .restore import check_frames, restored_frames
from .source import ClipFacts, _by_rate, _no_frames, _rate, check_start


class ImageSource:
    """A batch of images, float (F, H, W, 3) in 0..1, played at `fps`. Raises ClipError for other shapes and rates."""

    def __init__(self, images: torch.Tensor, fps: Fraction | float):
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
        self._fps = _rate(fps)

    def facts(self) -> ClipFacts:
        """Size, rate and count. Raises ClipError for an empty batch."""
        count, height, width, _ = self.images.shape
        if not (count and width and height):
            raise _no_frames(self.name)
        return ClipFacts(width, height, self._fps, count, False, colours=Colours(matrix=RGB_MATRIX))

    def pictures(self, clip_range: ClipRange, deep: bool = False) -> Iterator[Picture]:
        """The pictures in `clip_range`, always in 8 bits; raises ClipError if the start lies beyond the end."""
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

    def frame_at(self, seconds: Fraction) -> int:
        """Number of the image whose time is nearest; the count if that is over."""
        return min(_by_rate(seconds, self._fps), len(self.images))

    def time_of(self, number: int) -> Fraction:
        """Seconds after the first image at which image `number` is shown."""
        return number / self._fps

    def audio(self, start_seconds: float | Fraction, duration_seconds: float | Fraction) -> None:
        """Images have no sound."""


class EditedSource:
    """Edited frames and the receipt of their source. Raises ClipError if they are not that clip's."""

    name = "edit"

    def __init__(self, frames: torch.Tensor, info: ClipInfo):
        check_frames(frames, info)
        self.edited, self.info = frames, info

    def facts(self) -> ClipFacts:
        """Those of the first source, with the edit's rate and count."""
        return replace(
            self.info.facts,
            fps=self.info.fps,
            frame_count=self.info.frame_count,
            has_audio=False,
            rotation=0,
            mirrored=False,
            alpha=False,
        )

    def pictures(self, clip_range: ClipRange, deep: bool = False) -> Iterator[Picture]:
        """Restored pictures in `clip_range`; raises ClipError if the start lies beyond the end."""
        info, count = self.info, self.info.frame_count
        check_start(self.name, clip_range.start, count)
        stop = count if clip_range.last is None else min(clip_range.last + 1, count)
        part = info.part(clip_range.start, stop - clip_range.start)
        ends = (*info.timing.starts[1:], info.duration_seconds)
        kind, white = (
            (torch.uint16, WHITE[np.dtype(np.uint16)])
            if deep
            else (torch.uint8, WHITE[np.dtype(np.uint8)])
        )
        restored = restored_frames(self.edited[clip_range.start : stop], part)
        for number, frame in enumerate(restored, clip_range.start):
            if clip_range.keeps(number):
                pixels = (frame.clamp(0, 1) * white).round().to(kind).numpy()
                time = info.timing.starts[number]
                yield Picture(number, pixels, time, ends[number] - time)

    def frame_at(self, seconds: Fraction) -> int:
        """Number of the frame whose time is nearest; the count if that is over."""
        times = (*self.info.timing.starts, self.info.duration_seconds)
        following = min(bisect_left(times, seconds), len(times) - 1)
        before = times[following - 1] if following else None
        return (
            following - 1
            if following and seconds - before <= times[following] - seconds
            else following
        )

    def time_of(self, number: int) -> Fraction:
        """Seconds after the first frame at which frame `number` is shown. Raises ClipError beyond the end."""
        check_start(self.name, number, self.info.frame_count)
        return self.info.timing.starts[number]

    def audio(self, start_seconds: float | Fraction, duration_seconds: float | Fraction) -> None:
        """None: an edit's sound is carried beside it."""
