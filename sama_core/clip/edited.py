"""An edit as the source of another edit: restored as it is read, with the times and pixel shape of the first source."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np
import torch

from .clip_range import ClipRange
from .info import ClipInfo
from .picture import WHITE, Picture
from .restore import check_frames, restored_frames
from .source import ClipFacts, check_start


class EditedSource:
    """Edited frames and the receipt of their source. Raises ClipError if they are not that clip's."""

    name = "edit"

    def __init__(self, frames: torch.Tensor, info: ClipInfo):
        check_frames(frames, info)
        self.edited, self.info = frames, info

    def facts(self) -> ClipFacts:
        """Those of the first source, with the edit's rate and count."""
        return replace(self.info.facts, fps=self.info.fps, frame_count=self.info.frame_count, has_audio=False,
                       rotation=0, mirrored=False, alpha=False)

    def pictures(self, clip_range: ClipRange, deep: bool = False) -> Iterator[Picture]:
        """Restored pictures in `clip_range`; raises ClipError if the start lies beyond the end."""
        info, count = self.info, self.info.frame_count
        check_start(self.name, clip_range.start, count)
        stop = count if clip_range.last is None else min(clip_range.last + 1, count)
        part = info.part(clip_range.start, stop - clip_range.start)
        ends = (*info.timing.starts[1:], info.duration_seconds)
        kind, white = (torch.uint16, WHITE[np.dtype(np.uint16)]) if deep else (torch.uint8, WHITE[np.dtype(np.uint8)])
        restored = restored_frames(self.edited[clip_range.start:stop], part)
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
        return following - 1 if following and seconds - before <= times[following] - seconds else following

    def time_of(self, number: int) -> Fraction:
        """Seconds after the first frame at which frame `number` is shown. Raises ClipError beyond the end."""
        check_start(self.name, number, self.info.frame_count)
        return self.info.timing.starts[number]

    def audio(self, start_seconds: float | Fraction, duration_seconds: float | Fraction) -> None:
        """None: an edit's sound is carried beside it."""
