"""Giving the original back: frame count, size and the borders that fitting cropped away.

Resampling is torch's antialiased bicubic: the kernel of Pillow's bicubic, which fitted the frames,
but in float, so the model's result is not rounded to 8 bits on its way.
"""

from itertools import repeat

import numpy as np
import torch
import torch.nn.functional as F

from ..errors import ClipError, needed
from .fit import Progress
from .info import ClipInfo


def restore_frames(frames: torch.Tensor, info: ClipInfo, progress: Progress | None = None) -> torch.Tensor:
    """Undo `fit_clip`: float (F, H, W, 3) → float32 (info.frame_count, info.height, info.width, 3).

    F may be `padded_count` or `frame_count`. Frames of the original size pass through unchanged.
    Borders are read from the source again, one frame at a time; `progress(done, total)` counts frames.
    Raises ClipError if the frames are not this clip's, or the source has changed since.
    """
    _check_shape(frames, info)
    kept = frames[:info.frame_count].to("cpu", torch.float32)
    if kept.shape[1:3] == (info.height, info.width):
        return kept
    restored = torch.empty(info.frame_count, info.height, info.width, 3)
    done = 0
    for canvas, frame, original in zip(restored, kept, _originals(info), strict=False):
        _compose(canvas, frame, original, info)
        done += 1
        if progress is not None:
            progress(done, info.frame_count)
    if done < info.frame_count:
        raise _source_changed(f"{done} frames", f"{info.frame_count} frames")
    return restored


def _originals(info: ClipInfo):
    """The source's frames where a border of them will show, else None for each frame."""
    if info.crop_box == (0, 0, info.width, info.height):
        return repeat(None)
    return info.source.frames(info.clip_range)


def _compose(canvas: torch.Tensor, frame: torch.Tensor, original: np.ndarray | None, info: ClipInfo) -> None:
    """Fill `canvas` (height, width, 3) with the original, then `frame` over the crop box."""
    left, top, right, bottom = info.crop_box
    if original is not None:
        if original.shape[:2] != (info.height, info.width):
            raise _source_changed(f"{original.shape[1]}x{original.shape[0]}", f"{info.width}x{info.height}")
        canvas.copy_(torch.from_numpy(original)).div_(255)
    canvas[top:bottom, left:right] = _resize(frame, bottom - top, right - left)


def _resize(frame: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """(h, w, 3) → (height, width, 3) in 0..1; the frame itself when its size is right."""
    if frame.shape[:2] == (height, width):
        return frame
    planes = F.interpolate(frame.permute(2, 0, 1)[None], (height, width), mode="bicubic", antialias=True)
    return planes[0].permute(1, 2, 0).clamp(0, 1)


def _check_shape(frames: torch.Tensor, info: ClipInfo) -> None:
    if frames.dim() != 4 or frames.shape[-1] != 3:
        raise ClipError(needed("frames", f"shape {tuple(frames.shape)}", "(frames, height, width, 3)",
                               "Connect the IMAGE output of the VAE decoder."))
    count, height, width = frames.shape[:3]
    if count not in (info.padded_count, info.frame_count):
        raise ClipError(needed("frame count", count, f"{info.padded_count} (or {info.frame_count} without padding)",
                               "Connect the clip info of the same source video, and keep its frame count."))
    if (width, height) not in ((info.fitted_width, info.fitted_height), (info.width, info.height)):
        raise ClipError(needed("frame size", f"{width}x{height}", f"{info.fitted_width}x{info.fitted_height} "
                               f"(or the original {info.width}x{info.height})",
                               "Connect the clip info of the same source video, and resize only afterwards."))


def _source_changed(got: str, need: str) -> ClipError:
    return ClipError(needed("source video", got, f"{need}, as when it was loaded",
                            "It was changed or replaced meanwhile: run the source node again."))
