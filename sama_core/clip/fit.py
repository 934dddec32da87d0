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
    facts = source.facts()
    placement = place(facts.width, facts.height, area, fit, facts.pixel_aspect, size, lattice)
    total = clip_range.count_in(facts.frame_count) or clip_range.frames
    kept: deque[np.ndarray] = deque()
    times: list[Fraction] = []
    length, interlaced, damaged, moved = None, 0, 0, 0
    for picture, frame in _place_pictures(source.pictures(clip_range), placement):
        kept.append(frame)
        times.append(picture.time)
        length = picture.length
        interlaced, damaged = interlaced + picture.interlaced, damaged + picture.damaged
        moved += picture.moved
        if progress is not None:
            progress(len(kept), total)
    timing = measured_timing(times, length, facts.fps, clip_range.stride)
    info = ClipInfo(
        source,
        clip_range,
        facts,
        placement,
        timing,
        pad_frame_count(len(kept), lattice),
        interlaced,
        damaged,
        moved,
    )
    return _to_float(kept, info.padded_count), info


def _place_pictures(
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


def _to_float(kept: deque[np.ndarray], padded_count: int) -> Tensor:
    """uint8 frames → float32 (padded_count, H, W, 3) in 0…1, the last frame repeated.

    Empties `kept` as it goes, so that both are never held whole.
    """
    count = len(kept)
    frames = torch.empty(padded_count, *kept[0].shape, dtype=torch.float32)
    for number in range(count):
        frames[number].numpy()[:] = kept.popleft()
        frames[number].div_(255)
    frames[count:] = frames[count - 1]
    return frames
