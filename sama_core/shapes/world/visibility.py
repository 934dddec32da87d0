"""Where objects are seen, and what an instruction is about: exact masks of scenes.

Shapes: B scenes, N object slots, F frames, H x W pixels.
"""

import torch
from torch import Tensor

from .edits import Edits
from .render import coverage
from .scene import Scenes


def visible_objects(scenes: Scenes, frames: int, height: int, width: int) -> Tensor:
    """(B, N, F, H, W): how much of each pixel shows each object. The second one lies on top."""
    covers = coverage(scenes, frames, height, width)
    covers[:, 0] *= 1 - covers[:, 1]
    return covers


def named_masks(
    source: Scenes, target: Scenes, edits: Edits | None, frames: int, height: int, width: int
) -> Tensor:
    """(B, F, H, W) in 0..1: where that is, in source or target, which the text of an edit names.

    The object of an edit of an object, the ground for a background, everything for a style. Without
    edits, all objects.
    """
    after = visible_objects(target, frames, height, width)
    objects = after.sum(1).clamp(0, 1)
    if edits is None:
        return objects
    covers = torch.maximum(visible_objects(source, frames, height, width), after)
    named = covers[torch.arange(len(target)), edits.slot.clamp(min=0)]
    ground, style = ((asked >= 0)[:, None, None, None] for asked in (edits.ground, edits.style))
    named = torch.where(ground, 1 - objects, named)
    return torch.where(style, torch.ones_like(named), named)


def subject_masks(scenes: Scenes, frames: int, height: int, width: int) -> Tensor:
    """(B, F, H, W): where the upper object is seen, which the other one never hides."""
    upper = scenes.present[:, 1].long()
    return visible_objects(scenes, frames, height, width)[torch.arange(len(scenes)), upper]
