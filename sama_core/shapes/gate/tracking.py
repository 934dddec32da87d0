"""Motion agreement: does the object in the output go where the true one goes?

The object's weight at a pixel is how far a clip differs there from the truth rendered without the object,

    w(x, y) = max(0, mean over RGB of |clip − truth without the object| − 0.12),

within twice the object's true radius (times its corners' reach) of its true centre. Its place in a frame is the
centroid Σ w·(x, y) / Σ w, of the output and, by the same formula, of the truth; their distance is in pixels. A frame
in which the true object hardly shows (covered, or no contrast: Σ w below 4 pixels' worth of 0.1) does not count. An
object whose Σ w in the output is under a fifth of the true one is lost: its distance is the neighbourhood's radius.

Shape legend: B clips, F frames, H x W pixels.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..world import EditBatch, Scenes, render
from ..world.edits import NOT_ASKED
from ..world.scene import EMPTY, REACH, centres, sizes

THRESHOLD, FAINT, LOST_SHARE, NEIGHBOURHOOD = 0.12, 0.4, 0.2, 2.0
WITHIN_PIXELS = 2.0


class Track(NamedTuple):
    """An object's centroid per frame."""

    mass: Tensor
    """(B, F) Σ w"""
    place: Tensor
    """(B, F, 2) x, y in pixels; meaningless where the mass is 0"""


def tracked_slot(batch: EditBatch) -> Tensor:
    """(B,) the object followed in the truth, EMPTY where there is none.

    recolour, replace, add: the object the edit is about · remove: the one that stays · background, style: the first.
    """
    present = batch.target_scenes.present
    slot = torch.where(batch.edits.slot == NOT_ASKED, present.long().argmax(1), batch.edits.slot)
    gone = ~present[torch.arange(len(slot)), slot]
    slot = torch.where(gone, 1 - slot, slot)
    return torch.where(present.any(1), slot, EMPTY)


def track_distance(output: Tensor, batch: EditBatch) -> Tensor:
    """(B,) mean distance in pixels between the object's tracks in `output` (B, F, H, W, 3) and in the truth.

    NaN where the truth has no object to follow.
    """
    frames, height, width = output.shape[1:4]
    slot = tracked_slot(batch)
    followed = slot != EMPTY
    slot = slot.clamp(min=0)
    empty = render(_without(batch.target_scenes, slot), frames, height, width)
    near, radius = _neighbourhood(batch.target_scenes, slot, frames, height, width)
    distance = distances(_track(output, empty, near), _track(batch.target, empty, near), radius)
    return torch.where(followed, distance, torch.nan)


def distances(found: Track, true: Track, radius: Tensor) -> Tensor:
    """(B,) mean over the frames that count; `radius` (B, F) is the distance of a lost object."""
    apart = (found.place - true.place).norm(dim=-1)
    apart = torch.where(found.mass < LOST_SHARE * true.mass, radius, apart)
    counts = true.mass >= FAINT
    return (apart.nan_to_num() * counts).sum(1) / counts.sum(1)


def _track(clips: Tensor, empty: Tensor, near: Tensor) -> Track:
    weight = ((clips - empty).abs().mean(-1) - THRESHOLD).clamp(min=0) * near
    mass = weight.sum((2, 3))
    x, y = torch.arange(clips.shape[3]) + 0.5, torch.arange(clips.shape[2]) + 0.5
    place = torch.stack([(weight.sum(2) * x).sum(-1), (weight.sum(3) * y).sum(-1)], -1)
    return Track(mass, place / mass.clamp(min=1e-9)[..., None])


def _without(scenes: Scenes, slot: Tensor) -> Scenes:
    """The scenes with the object in `slot` (B,) taken out."""
    shape = scenes.shape.clone()
    shape[torch.arange(len(slot)), slot] = EMPTY
    return scenes.replace(shape=shape)


def _neighbourhood(
    scenes: Scenes, slot: Tensor, frames: int, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """(B, F, H, W) bool around the object's true centre, and its radius (B, F) in pixels."""
    rows, short = torch.arange(len(slot)), min(height, width)
    centre = centres(scenes, frames, height, width)[rows, slot] * short
    radius = NEIGHBOURHOOD * REACH * sizes(scenes, frames)[rows, slot] * short
    x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    square = (x - centre[..., 0, None, None]) ** 2 + (y[:, None] - centre[..., 1, None, None]) ** 2
    return square <= radius[..., None, None] ** 2, radius
