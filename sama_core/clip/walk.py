"""Walking through a clip of any length: its fitted frames, a stretch at a time.

Only the stretch is held, and what the next one shares with it. Stretches in order are decoded once;
one that lies before the last begins to decode anew.
"""

from collections import deque
from collections.abc import Generator

import numpy as np
import torch
from torch import Tensor

from ..threads import open_pool
from .fit import place_pictures, write_float
from .info import ClipInfo
from .restore import require_unchanged, source_changed


class FrameWalk:
    """The frames that `fit_clip` gives for the clip of `info`, bit for bit."""

    def __init__(self, info: ClipInfo):
        """Nothing is read until frames are taken."""
        self.info = info
        self._kept: deque[np.ndarray] = deque()
        self._first = 0
        self._coming: Generator[np.ndarray] | None = None

    def take(self, frames: slice) -> Tensor:
        """Frames `frames.start` to `frames.stop` as float32 (F, H, W, 3) in 0…1.

        Numbers count as in the padded clip; behind its end the last frame is repeated. Raises
        ClipError where the source has changed, or cannot be read.
        """
        count = self.info.frame_count
        start, stop = min(frames.start, count - 1), min(frames.stop, count)
        self._go_to(start)
        while self._first + len(self._kept) < stop:
            frame = next(self._coming, None) if self._coming else None
            if frame is None:
                got = f"{self._first + len(self._kept)} frames"
                raise source_changed(got, f"{count} frames")
            self._kept.append(frame)
        taken = torch.empty(frames.stop - frames.start, *self._kept[0].shape, dtype=torch.float32)
        for number, target in enumerate(taken, frames.start):
            write_float(target, self._kept[min(number, count - 1) - self._first])
        return taken

    def close(self) -> None:
        """Stop decoding, and let go of the frames."""
        if self._coming is not None:
            self._coming.close()
        self._kept.clear()
        self._coming = None

    def _go_to(self, start: int) -> None:
        """Let go of the frames before `start`; decode from there where none lead to it."""
        if self._coming is None or not self._first <= start <= self._first + len(self._kept):
            self.close()
            self._first, self._coming = start, self._read(start)
        while self._first < start:
            self._kept.popleft()
            self._first += 1

    def _read(self, start: int) -> Generator[np.ndarray]:
        """Fitted frames from `start` on, as they are decoded."""
        info = self.info
        require_unchanged(info.source)
        wanted = info.clip_range.part(start, info.frame_count - start)
        pictures = info.source.pictures(wanted)
        with open_pool() as pool:
            for _, frame in place_pictures(pictures, info.placement, pool):
                yield frame
