"""Fitting a clip to the model: nearest bucket, centre crop, bicubic resize, 4k+1 frames.

Source: SAMA release `infer_sh/inference.py` (`load_clip_frames`, crop and resize). `Fit.CROP` is
equal to it bit for bit, see tests/golden/pixels.json; the other ways to fit are ours.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..geometry import DEFAULT_AREA, WAN_21, Lattice, pad_frame_count
from ..threads import count_workers, in_order, open_pool
from .clip_range import ClipRange
from .colours import Scratch
from .info import ClipInfo, measured_timing
from .picture import Picture
from .placement import Fit, Placement, lay_in, place
from .source import ClipSource

Progress = Callable[[int, int], None]
"""Called with the number of frames done and their total."""


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
    with open_pool() as pool:
        for picture, frame in place_pictures(source.pictures(clip_range), tally.placement, pool):
            kept.append(frame)
            tally.add(picture)
            if progress is not None:
                progress(len(kept), tally.total)
        info = tally.info()
        frames = torch.empty(info.padded_count, *kept[0].shape, dtype=torch.float32)
        # Each is let go when it is written, so that both are never held whole.
        writing = (partial(write_float, target, kept.popleft()) for target in frames[: len(kept)])
        for _ in in_order(pool, writing, count_workers()):
            pass
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
    pictures: Iterable[Picture], placement: Placement, pool: ThreadPoolExecutor
) -> Iterator[tuple[Picture, np.ndarray]]:
    """Pictures with their fitted frames, in order; converted and fitted by the threads of `pool`
    while more are decoded.
    """

    def place_one(picture: Picture) -> tuple[Picture, np.ndarray]:
        return picture, lay_in(picture.lend_pixels(_of_thread.scratch), placement)

    return in_order(pool, (partial(place_one, picture) for picture in pictures), count_workers())


class _OfThread(threading.local):
    """What each thread has for itself."""

    def __init__(self) -> None:
        self.scratch = Scratch()


_of_thread = _OfThread()


def write_float(target: Tensor, frame: np.ndarray) -> None:
    """A fitted frame, uint8 (H, W, 3), into float32 (H, W, 3) in 0…1."""
    np.divide(frame, np.float32(255), out=target.numpy())
