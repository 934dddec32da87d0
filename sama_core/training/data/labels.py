"""What is where in scenes, cell by cell: what `SceneReader` learns to read from the model's tokens.

Shape legend: B scenes, F frames, T = 1 + (F - 1) / 4 latent frames, h x w cells of 16 x 16 pixels (one token each).
"""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ...geometry import SIDE_MULTIPLE, TEMPORAL_FACTOR
from .edits import Edits, apply
from .render import coverage
from .scene import COLOURS, SHAPES, Scenes

SCENE_LABELS = len(SHAPES) + len(COLOURS)
"""Labels of a scene: each shape, then each object colour."""
EDIT_LABELS = 2 * SCENE_LABELS + 1
"""Labels of an edit: the source's, the target's, and whether the object that is meant lies there."""
_SEEN = 0.08
"""Part of a cell that an object must cover to count."""


def edit_labels(source: Scenes, edits: Edits, frames: int, height: int, width: int) -> Tensor:
    """(B, T · h · w, EDIT_LABELS) bool, cells in the order of tokens."""
    target = apply(source, edits)
    before, after = (_seen(scenes, frames, height, width) for scenes in (source, target))
    rows, slot = torch.arange(len(edits)), edits.slot.clamp(min=0)
    meant = (before | after)[rows, slot] & (edits.slot >= 0)[:, None]
    return torch.cat([_labels(source, before), _labels(target, after), meant[..., None]], -1)


def _seen(scenes: Scenes, frames: int, height: int, width: int) -> Tensor:
    """(B, N, T · h · w) bool: the cells where each object is visible."""
    covers = coverage(scenes, frames, height, width)
    covers[:, 0] *= 1 - covers[:, 1]  # the second object lies on top
    covers = avg_pool2d(covers.flatten(0, 2)[:, None], SIDE_MULTIPLE).view(*covers.shape[:3], -1)
    later = covers[:, :, 1:].unflatten(2, (-1, TEMPORAL_FACTOR)).mean(3)
    return (torch.cat([covers[:, :, :1], later], 2) > _SEEN).flatten(2)


def _labels(scenes: Scenes, seen: Tensor) -> Tensor:
    """(B, cells, SCENE_LABELS) bool."""
    labels = [(seen & (kind == number)[..., None]).any(1) for kind, names in ((scenes.shape, SHAPES),
              (scenes.colour, COLOURS)) for number in range(len(names))]
    return torch.stack(labels, -1)
