"""TODO."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import ConditioningError, needed
from .conditioning import encode_instruction
from .distilled import advice
from .edit import EditSettings, _edit, checked
from .stages import Stages


def edit_anchors(
    model,
    clip,
    vae,
    images: Tensor,
    indices: list[int],
    settings: EditSettings,
    say: Callable[[str], None] | None = None,
) -> Tensor:
    """Edit single frames, each as a one-frame clip with the same seed → (len(indices), H, W, 3)."""
    model, images = checked(model, vae, images[:1]), images[..., :3]
    stages = Stages(settings.steps, len(indices), say, advice(model, settings.steps, settings.cfg))
    with stages.stage("reading the instruction"):
        prompts = encode_instruction(clip, settings.instruction, settings.tag)
    return torch.cat(
        [_edit(model, vae, images[i : i + 1], prompts, settings, stages) for i in indices]
    )


def anchor_frames(frame_count: int, anchors: int, first: int = 0) -> list[int]:
    """`anchors` frame numbers spread evenly from `first` to the end; one anchor is `first` itself.

    SAMA samples its anchors uniformly and was trained with one (§3.2).
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
    """Source frames above their edits, side by side → one image (1, 2H + gap, n·W + gaps, 3)."""
    source, (count, height, width) = source[..., :3], source.shape[:3]
    sheet = torch.ones(1, 2 * height + gap, count * width + (count - 1) * gap, 3)
    for column, pair in enumerate(zip(source, edited, strict=True)):
        left = column * (width + gap)
        for row, frame in enumerate(pair):
            top = row * (height + gap)
            sheet[0, top : top + height, left : left + width] = frame
    return sheet
