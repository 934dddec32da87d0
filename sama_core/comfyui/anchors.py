"""Anchor frames: single frames of a clip, edited as stills, as a cheap draft of the whole edit.

SAMA itself was trained to predict semantics at sparse anchor frames, which it samples uniformly
(paper, section 3.2); released with one.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import ConditioningError, needed
from ..region import FittedClip
from .edit import EditRun, EditSettings


def edit_anchors(
    model,
    clip,
    vae,
    images: Tensor,
    indices: list[int],
    settings: EditSettings,
    say: Callable[[str], object] | None = None,
) -> Tensor:
    """Edit the frames `indices` of (F, H, W, 3), each as a one-frame clip with the same seed.

    Returns (len(indices), H, W, 3). Errors are those of `edit_clip`.
    """
    anchors = [FittedClip.check(images[index : index + 1]) for index in indices]
    run = EditRun.prepare(model, clip, vae, settings, say, len(indices))
    return torch.cat([run.edit(anchor) for anchor in anchors])


def anchor_frames(frame_count: int, anchors: int, first: int = 0) -> list[int]:
    """`anchors` frame numbers spread evenly from `first` to the end; one anchor is `first` itself.

    Raises ConditioningError if the clip has no frame `first`.
    """
    if not 0 <= first < frame_count:
        raise ConditioningError(
            needed("anchor frame", first, f"0 to {frame_count - 1}", "Choose a frame of the clip.")
        )
    anchors = min(anchors, frame_count - first)
    if anchors == 1:
        return [first]
    return [first + round(i * (frame_count - 1 - first) / (anchors - 1)) for i in range(anchors)]


def contact_sheet(source: Tensor, edited: Tensor, gap: int = 8) -> Tensor:
    """Source frames above their edits, side by side, `gap` pixels apart, on white.

    Takes two of (n, H, W, 3); returns one image (1, 2H + gap, n·W + (n - 1)·gap, 3).
    """
    source, (count, height, width) = source[..., :3], source.shape[:3]
    sheet = torch.ones(1, 2 * height + gap, count * width + (count - 1) * gap, 3)
    for column, pair in enumerate(zip(source, edited, strict=True)):
        left = column * (width + gap)
        for row, frame in enumerate(pair):
            top = row * (height + gap)
            sheet[0, top : top + height, left : left + width] = frame
    return sheet
