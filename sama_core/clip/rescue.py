"""Keeping an edit that could not be saved: its fitted frames without loss, in a file that any video loader reads."""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import av
import torch

from .save import TAGS, complete_or_absent


def write_lossless(path: str | Path, frames: torch.Tensor, fps: Fraction, deep: bool = False,
                   metadata: Mapping[str, str] | None = None) -> None:
    """Write `frames`, float (F, H, W, 3) in 0..1, as PNG in a mov: to the nearest of 256 levels, 65536 if `deep`.

    PNG is a form that ComfyUI's own loader gives back to the bit; deep pictures to half a level of 10 bits. The file
    appears only when it is complete. Raises ClipError with the cause if it cannot be written.
    """
    white, kind, form, stored = ((65535, torch.uint16, "rgb48le", "rgb48be") if deep else
                                 (255, torch.uint8, "rgb24", "rgb24"))
    with (complete_or_absent(Path(path)) as unfinished,
          av.open(str(unfinished), "w", format="mov", options={"movflags": TAGS}) as container):
        container.metadata.update(metadata or {})
        stream = container.add_stream("png", rate=fps.limit_denominator(100_000))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = stored
        for number, frame in enumerate(frames):
            levels = (frame.cpu().float().nan_to_num().clamp(0, 1) * white).round().to(kind)
            picture = av.VideoFrame.from_ndarray(levels.contiguous().numpy(), format=form).reformat(format=stored)
            picture.pts = number
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
