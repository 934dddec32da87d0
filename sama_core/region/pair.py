"""Source and edit of each other: as many frames, of one size, and nothing that is no number."""

import torch
from torch import Tensor

from ..errors import RegionError, needed


def require_pair(source: Tensor, edited: Tensor) -> tuple[Tensor, Tensor]:
    """Both clips as float32 (F, H, W, 3) on the CPU, the very tensors where they are that already.

    Raises RegionError for other shapes, different counts or sizes, and NaN or infinite pixels.
    """
    source, edited = _clip(source, "source frames"), _clip(edited, "edited frames")
    if len(source) != len(edited):
        raise RegionError(needed("edited frames", len(edited), f"{len(source)}, as many as the source frames",
                                 "Connect the source and the edit of one clip, both with or both without padding."))
    if source.shape != edited.shape:
        got, want = (f"{clip.shape[2]}x{clip.shape[1]}" for clip in (edited, source))
        raise RegionError(needed("edited frames", got, f"{want}, the source frames' size",
                                 "Connect both before resizing, or resize both alike."))
    return source, edited


def _clip(frames: Tensor, what: str) -> Tensor:
    if frames.ndim != 4 or frames.shape[-1] < 3 or 0 in frames.shape:
        raise RegionError(needed(what, f"shape {list(frames.shape)}", "frames of a clip (frames, height, width, 3)",
                                 "Connect an IMAGE."))
    frames = frames[..., :3].to("cpu", torch.float32)
    if not torch.isfinite(frames).all():
        raise RegionError(needed(what, "pixels that are no numbers (NaN or infinite)", "finite pixels",
                                 "The model or the VAE failed: try the VAE in bf16 or fp32."))
    return frames
