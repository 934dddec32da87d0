"""Fitting a clip to the model: nearest bucket, centre crop, bicubic resize, 4k+1 frames.

Source: SAMA release `infer_sh/inference.py` (`load_clip_frames`, crop and resize); equal to it bit
for bit, see tests/golden/pixels.json.
"""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from ..geometry import DEFAULT_AREA, choose_bucket, crop_box, pad_frame_count
from .info import ClipInfo
from .source import ClipRange, ClipSource

Progress = Callable[[int, int], None]


def fit_clip(source: ClipSource, clip_range: ClipRange, area: int = DEFAULT_AREA,
             progress: Progress | None = None) -> tuple[torch.Tensor, ClipInfo]:
    """Read `clip_range` of `source` as the model wants it.

    Returns frames, float32 (padded_count, H, W, 3) in 0..1, and the ClipInfo that undoes it.
    `progress(done, total)` is called after every frame; total is 0 where the source does not say.
    Raises ClipError for what cannot be read.
    """
    facts = source.facts()
    width, height = choose_bucket(facts.width, facts.height, area)
    box = crop_box(facts.width, facts.height, width, height)
    total = clip_range.count_in(facts.frame_count) or clip_range.frames
    kept = []
    for frame in source.frames(clip_range):
        kept.append(resize_frame(frame, box, width, height))
        if progress is not None:
            progress(len(kept), total)
    padded_count = pad_frame_count(len(kept))
    info = ClipInfo(source, clip_range, facts.width, facts.height, facts.fps / clip_range.stride,
                    len(kept), padded_count, box, width, height)
    return _to_float(kept, padded_count), info


def resize_frame(frame: np.ndarray, box: tuple[int, int, int, int], width: int, height: int) -> np.ndarray:
    """The part `box` (left, top, right, bottom) of a uint8 (H, W, 3) frame as uint8 (height, width, 3)."""
    return np.asarray(Image.fromarray(frame).crop(box).resize((width, height), Image.Resampling.BICUBIC))


def _to_float(kept: list[np.ndarray], padded_count: int) -> torch.Tensor:
    """uint8 frames → float32 (padded_count, H, W, 3) in 0..1, the last frame repeated."""
    frames = np.stack(kept + kept[-1:] * (padded_count - len(kept)))
    return torch.from_numpy(frames).to(torch.float32).div_(255)
