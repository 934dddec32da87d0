"""Fitting a clip to the model: nearest bucket, centre crop, bicubic resize, 4k+1 frames.

Source: SAMA release `infer_sh/inference.py` (`load_clip_frames`, crop and resize). `Fit.CROP` is
equal to it bit for bit, see tests/golden/pixels.json; the other ways to fit are ours.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from ..geometry import DEFAULT_AREA, WAN_21, Lattice, pad_frame_count
from .clip_range import ClipRange
from .info import ClipInfo, measured_timing
from .picture import Picture
from .placement import Fit, Placement, lay_in, place
from .source import ClipSource

Progress = Callable[[int, int], None]
"""Called with the number of frames done and their total."""

WORKERS = min(4, os.cpu_count() or 1)
"""Threads that resize while the next pictures are decoded."""


def fit_clip(
    source: ClipSource,
    clip_range: ClipRange,
    area: int = DEFAULT_AREA,
    progress: Progress | None = None,
    fit: Fit = Fit.CROP,
    size: tuple[int, int] | None = None,
    lattice: Lattice = WAN_21,
) -> tuple[Tensor, ClipInfo]:
    """Read `clip_range` of `source` as the model wants it.

    Returns frames, float32 (padded_count, H, W, 3) in 0…1, and the ClipInfo that undoes it. Their
    size follows from `area`, `fit` and `size` as in `place`, their padded count from `lattice`.
    `progress` is called after every frame, with a total of 0 where the source does not say one.
    Frames are fitted as they are decoded; beside the result a few decoded pictures are held. Raises
    ClipError for what cannot be read.
    """
    tally = Tally(source, clip_range, area, fit, size, lattice)
    kept: deque[np.ndarray] = deque()
    for picture, frame in place_pictures(source.pictures(clip_range), tally.placement):
        kept.append(frame)
        tally.add(picture)
        if progress is not None:
            progress(len(kept), tally.total)
    info = tally.info()
    frames = torch.empty(info.padded_count, *kept[0].shape, dtype=torch.float32)
    for number in range(len(kept)):
        write_float(frames[number], kept.popleft())  # so that both are never held whole
    frames[info.frame_count :] = frames[info.frame_count - 1]
    return frames, info


def measure_clip(
    source: ClipSource,
    clip_range: ClipRange,
    area: int = DEFAULT_AREA,
    progress: Progress | None = None,
    fit: Fit = Fit.CROP,
    size: tuple[int, int] | None = None,
    lattice: Lattice = WAN_21,
) -> ClipInfo:
    """The ClipInfo of `fit_clip`, without its frames: decodes the range, and keeps times alone."""
    tally = Tally(source, clip_range, area, fit, size, lattice)
    for picture in source.marks(clip_range):
        tally.add(picture)
        if progress is not None:
            progress(len(tally.times), tally.total)
    return tally.info()


class Tally:
    """What is to be known of a range's pictures, gathered as they come."""

    def __init__(
        self,
        source: ClipSource,
        clip_range: ClipRange,
        area: int,
        fit: Fit,
        size: tuple[int, int] | None,
        lattice: Lattice,
    ):
        """The arguments are those of `fit_clip`. Raises ClipError for a source that cannot be
        used.
        """
        self.source, self.clip_range, self.lattice = source, clip_range, lattice
        self.facts = facts = source.facts()
        self.placement = place(
            facts.width, facts.height, area, fit, facts.pixel_aspect, size, lattice
        )
        self.total = clip_range.count_in(facts.frame_count) or clip_range.frames
        self.times: list[Fraction] = []
        self.length: Fraction | None = None
        self.interlaced = self.damaged = self.moved = 0

    def add(self, picture: Picture) -> None:
        """Count a picture; they come in order."""
        self.times.append(picture.time)
        self.length = picture.length
        self.interlaced += picture.interlaced
        self.damaged += picture.damaged
        self.moved += picture.moved

    def info(self) -> ClipInfo:
        """The record, after the last picture."""
        return ClipInfo(
            self.source,
            self.clip_range,
            self.facts,
            self.placement,
            measured_timing(self.times, self.length, self.facts.fps, self.clip_range.stride),
            pad_frame_count(len(self.times), self.lattice),
            self.interlaced,
            self.damaged,
            self.moved,
        )


def place_pictures(
    pictures: Iterable[Picture], placement: Placement
) -> Iterator[tuple[Picture, np.ndarray]]:
    """Pictures with their fitted frames, in order; fitted on other cores while more are decoded."""
    with ThreadPoolExecutor(WORKERS) as workers:
        waiting: deque[tuple[Picture, Future[np.ndarray]]] = deque()
        for picture in pictures:
            waiting.append((picture, workers.submit(lay_in, picture.pixels, placement)))
            if len(waiting) > WORKERS:
                first, work = waiting.popleft()
                yield first, work.result()
        for first, work in waiting:
            yield first, work.result()


def write_float(target: Tensor, frame: np.ndarray) -> None:
    """A fitted frame, uint8 (H, W, 3), into float32 (H, W, 3) in 0…1."""
    target.numpy()[:] = frame
    target.div_(255)
