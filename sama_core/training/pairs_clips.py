"""Frames of a row, read by the pack's own clip reader and fitted to the training size."""

import numpy as np
import torch
from torch import Tensor

from ..clip import ClipRange, FileSource, resize_frame
from ..errors import ClipError
from ..geometry import ClipShape, crop_box
from .pairs_rows import Row, row_error, unreadable

ASPECT_SLACK = 0.02
"""Largest relative difference of two aspect ratios that still crop alike."""


def read_row(row: Row, shape: ClipShape) -> tuple[Tensor | None, Tensor]:
    """Source and target frames, each (F, H, W, 3) float32 in 0..1; no source for a clip to restore.

    The first F frames of both, centre-cropped and resized as `fit_clip` does, without resampling the rate. Raises
    RowError for a file that cannot be read or is too short, and for a target that the source's crop does not fit.
    Deviation: the released loader crops source and target apart, whatever their sizes, and to the source's bucket;
    here all samples have the size of the settings.
    """
    try:
        target = FileSource(row.target)
        if row.source is None:
            return None, _frames(row, target, shape)
        source = FileSource(row.source)
        _check_aspects(row, source, target)
        return _frames(row, source, shape), _frames(row, target, shape)
    except ClipError as error:
        raise unreadable(row, error) from error


def _frames(row: Row, source: FileSource, shape: ClipShape) -> Tensor:
    facts = source.facts()
    box = crop_box(facts.width, facts.height, shape.width, shape.height)
    frames = [resize_frame(frame, box, shape.width, shape.height)
              for frame in source.frames(ClipRange(frames=shape.frames))]
    if len(frames) < shape.frames:
        raise row_error(row.number, f"{len(frames)} frames in {source.name!r}", f"{shape.frames}")
    return torch.from_numpy(np.stack(frames)).to(torch.float32).div_(255)


def _check_aspects(row: Row, source: FileSource, target: FileSource) -> None:
    sizes = [(facts.width, facts.height) for facts in (source.facts(), target.facts())]
    (width, height), (target_width, target_height) = sizes
    if abs(width * target_height / (height * target_width) - 1) > ASPECT_SLACK:
        raise row_error(row.number, f"a target of {target_width}x{target_height}",
                        f"the shape of its source, {width}x{height}")
