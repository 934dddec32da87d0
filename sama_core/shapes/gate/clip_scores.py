"""Scores of a clip: whether the edit is right, its distance from the truth, the object's motion.

Shape legend: B clips, F frames, H x W pixels, K candidates. Clips are (B, F, H, W, 3) float32 in
0..1; frames that went through a codec are uint8.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ...scores.fidelity import psnr
from ..world import EditBatch, Scenes, edit_mask, render
from ..world.edits import NOT_ASKED
from ..world.scene import EMPTY, REACH, centres, sizes

REGIONS = ("whole", "edit", "kept")
WHOLE_EDITS = ("style",)
"""Edits that change all of a clip: it is one edit region, and nothing is kept."""

THRESHOLD, FAINT, LOST_SHARE, NEIGHBOURHOOD = 0.12, 0.4, 0.2, 2.0
"""See `track_distance`. FAINT is 4 pixels of weight 0.1."""
WITHIN_PIXELS = 2.0
"""Objects up to this far from their true place count as right in the summary."""

_NORMAL_95 = 1.959964


@dataclass(frozen=True)
class ClipScores:
    """The numbers of one clip; NaN where there is no kept region or no object to follow."""

    right: bool
    """Nearer to the truth than to the source and to every wrong edit."""
    output: dict[str, float]
    """dB per region of REGIONS, output against truth."""
    ceiling: dict[str, float]
    """The same for the truth after the codec's round trip."""
    copy: dict[str, float]
    """The same for the source returned unchanged."""
    track: float
    """Mean distance of the object from its true place in pixels, see `track_distance`."""


def score_batch(batch: EditBatch, output: Tensor, ceiling: Tensor) -> list[ClipScores]:
    """Scores per clip of `output`, given `ceiling`, the truth after the codec.

    Both are uint8 (B, F, H, W, 3).
    """
    results = from_bytes(output)
    clips = {"output": results, "ceiling": from_bytes(ceiling)}
    clips["copy"] = from_bytes(to_bytes(batch.source))
    areas = regions(batch)
    decibels = {name: _by_region(part, batch.target, areas) for name, part in clips.items()}
    tracks = track_distance(results, batch).tolist()
    return [
        ClipScores(
            right=is_right(batch, row, results[row]),
            output=decibels["output"][row],
            ceiling=decibels["ceiling"][row],
            copy=decibels["copy"][row],
            track=tracks[row],
        )
        for row in range(len(batch))
    ]


def is_right(batch: EditBatch, row: int, output: Tensor) -> bool:
    """Whether `output` (F, H, W, 3) is nearer, in pixels, to the truth than to all others.

    The others are the source and all wrong edits.
    """
    frames, height, width = output.shape[:3]
    wrong = render(batch.wrong(row), frames, height, width)
    truth, source = batch.target[row : row + 1], batch.source[row : row + 1]
    return nearest(output, torch.cat([truth, source, wrong])) == 0


def nearest(clip: Tensor, candidates: Tensor) -> int:
    """Index of the candidate (K, F, H, W, 3) of least squared error to `clip` (F, H, W, 3)."""
    return int((candidates - clip).square().flatten(1).mean(1).argmin())


def regions(batch: EditBatch) -> dict[str, Tensor]:
    """REGIONS → (B, F, H, W) bool."""
    edited = edit_mask(batch.source, batch.target)
    edited = edited | torch.tensor([kind in WHOLE_EDITS for kind in batch.kinds]).view(-1, 1, 1, 1)
    return {"whole": torch.ones_like(edited), "edit": edited, "kept": ~edited}


def _by_region(clips: Tensor, truth: Tensor, areas: dict[str, Tensor]) -> list[dict[str, float]]:
    columns = {name: psnr(clips, truth, area).tolist() for name, area in areas.items()}
    return [{name: column[row] for name, column in columns.items()} for row in range(len(clips))]


class Track(NamedTuple):
    """An object's centroid per frame."""

    mass: Tensor
    """(B, F) Σ w"""
    place: Tensor
    """(B, F, 2) x, y in pixels; meaningless where the mass is 0"""


def track_distance(output: Tensor, batch: EditBatch) -> Tensor:
    """(B,) mean distance of the object in `output` (B, F, H, W, 3) from its true place, in pixels.

    NaN where the truth has no object to follow. An object's weight at a pixel is how much a clip
    differs there from the truth rendered without the object,

        w(x, y) = max(0, mean over RGB of |clip − truth without the object| − THRESHOLD),

    within NEIGHBOURHOOD times the object's true radius (including its corners) of its true centre.
    Its place in a frame is the centroid Σ w·(x, y) / Σ w, computed alike for output and truth.
    Frames in which the true object is hardly visible (covered, or without contrast:
    Σ w below FAINT) do not count. An object whose Σ w in the output is less than LOST_SHARE of the
    true one is lost: its distance is the radius of the neighbourhood.
    """
    frames, height, width = output.shape[1:4]
    slot = tracked_slot(batch)
    followed = slot != EMPTY
    slot = slot.clamp(min=0)
    empty = render(remove_object(batch.target_scenes, slot), frames, height, width)
    near, radius = find_neighbourhood(batch.target_scenes, slot, frames, height, width)
    distance = track_distances(
        find_track(output, empty, near), find_track(batch.target, empty, near), radius
    )
    return torch.where(followed, distance, torch.nan)


def tracked_slot(batch: EditBatch) -> Tensor:
    """(B,) the object that is followed, EMPTY where the truth has none.

    recolour, replace, add: the edited object · remove: the one that stays · background, style: the
    first.
    """
    present = batch.target_scenes.present
    slot = torch.where(batch.edits.slot == NOT_ASKED, present.long().argmax(1), batch.edits.slot)
    gone = ~present[torch.arange(len(slot)), slot]
    slot = torch.where(gone, 1 - slot, slot)
    return torch.where(present.any(1), slot, EMPTY)


def track_distances(found: Track, true: Track, radius: Tensor) -> Tensor:
    """(B,) mean distance over the frames that count; `radius` (B, F) applies to lost objects."""
    apart = (found.place - true.place).norm(dim=-1)
    apart = torch.where(found.mass < LOST_SHARE * true.mass, radius, apart)
    counts = true.mass >= FAINT
    return (apart.nan_to_num() * counts).sum(1) / counts.sum(1)


def find_track(clips: Tensor, empty: Tensor, near: Tensor) -> Track:
    """The object's track in clips (B, F, H, W, 3), within `near` (B, F, H, W) bool."""
    weight = ((clips - empty).abs().mean(-1) - THRESHOLD).clamp(min=0) * near
    mass = weight.sum((2, 3))
    x, y = torch.arange(clips.shape[3]) + 0.5, torch.arange(clips.shape[2]) + 0.5
    place = torch.stack([(weight.sum(2) * x).sum(-1), (weight.sum(3) * y).sum(-1)], -1)
    return Track(mass, place / mass.clamp(min=1e-9)[..., None])


def remove_object(scenes: Scenes, slot: Tensor) -> Scenes:
    """The scenes with the object in `slot` (B,) taken out."""
    shape = scenes.shape.clone()
    shape[torch.arange(len(slot)), slot] = EMPTY
    return scenes.replace(shape=shape)


def find_neighbourhood(
    scenes: Scenes, slot: Tensor, frames: int, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """(B, F, H, W) bool around the object's true centre, and its radius (B, F) in pixels."""
    rows, short = torch.arange(len(slot)), min(height, width)
    centre = centres(scenes, frames, height, width)[rows, slot] * short
    radius = NEIGHBOURHOOD * REACH * sizes(scenes, frames)[rows, slot] * short
    x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    square = (x - centre[..., 0, None, None]) ** 2 + (y[:, None] - centre[..., 1, None, None]) ** 2
    return square <= radius[..., None, None] ** 2, radius


def wilson(hits: int, count: int) -> tuple[float, float]:
    """95 % interval of a share estimated from `hits` of `count` (Wilson's score interval)."""
    share, z2 = hits / count, _NORMAL_95**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    reach = (
        _NORMAL_95 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    )
    return max(0.0, middle - reach), min(1.0, middle + reach)


def to_bytes(clips: Tensor) -> Tensor:
    """Rendered frames in 0..1 as uint8, rounded: the clips that editors get."""
    return (clips.clamp(0, 1) * 255).round().to(torch.uint8)


def saved_bytes(clips: Tensor) -> Tensor:
    """Decoded frames in 0..1 as uint8, truncated as in ComfyUI's Save Image and Save Video."""
    return (clips * 255).clamp(0, 255).to(torch.uint8)


def from_bytes(frames: Tensor) -> Tensor:
    """uint8 frames as float32 in 0..1."""
    return frames.float() / 255
