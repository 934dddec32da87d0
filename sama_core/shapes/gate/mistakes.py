"""What went wrong in an edit: which wrong edit it looks like, and how many objects it shows.

An output is compared in pixels with the truth, the source and all wrong edits, as for the accuracy
of the gate. The nearest one says what was bound wrongly (SARA: attribute binding, omission):

    truth    as asked
    source   nothing was done: an omission
    colour, shape, place, object, ground, style      see `sort_wrong_scenes`

Shape legend: B clips, F frames, H x W pixels, frames (B, F, H, W, 3) float32 in 0..1.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ...scores.fidelity import psnr
from ..world import EditBatch, Scenes, render
from ..world.edits import sort_wrong_scenes
from ..world.scene import EMPTY
from .clip_scores import from_bytes, nearest, regions

TRUTH, SOURCE = "truth", "source"
MISTAKES = (SOURCE, "colour", "shape", "place", "object", "ground", "style")
"""What an output that is not right can look like."""
DIFFERENT, LEAST_AREA = 0.15, 30
"""See `count_objects`. Chosen such that the codec changes the count of as few clips as possible:
5 of 300."""


@dataclass(frozen=True)
class EditOutcome:
    """What became of one edit."""

    nearest: str
    """TRUTH or one of MISTAKES"""
    counted: float
    """Share of the frames that show as many objects as the truth, see `count_objects`."""
    whole: float
    """dB of the whole clip against the truth"""
    kept: float
    """dB where the edit must change nothing; NaN where there is no such place"""

    @property
    def right(self) -> bool:
        """Nearest to the truth, as in `is_right`."""
        return self.nearest == TRUTH


def judge_edits(batch: EditBatch, output: Tensor) -> list[EditOutcome]:
    """The outcome of each edit, given uint8 frames `output` (B, F, H, W, 3)."""
    results, areas = from_bytes(output), regions(batch)
    whole, kept = (psnr(results, batch.target, areas[name]).tolist() for name in ("whole", "kept"))
    true = count_objects(batch.target, batch.target_scenes)
    counted = (count_objects(results, batch.target_scenes) == true).float().mean(1).tolist()
    return [
        EditOutcome(find_nearest(batch, row, results[row]), counted[row], whole[row], kept[row])
        for row in range(len(batch))
    ]


def find_nearest(batch: EditBatch, row: int, output: Tensor) -> str:
    """What `output` (F, H, W, 3) is nearest to, by mean squared error: TRUTH or one of MISTAKES."""
    frames, height, width = output.shape[:3]
    wrong = sort_wrong_scenes(batch.source_scenes[row], batch.edits[row])
    clips = [render(scenes, frames, height, width) for scenes in wrong.values()]
    candidates = torch.cat([batch.target[row : row + 1], batch.source[row : row + 1], *clips])
    kinds = [kind for kind, scenes in wrong.items() for _ in range(len(scenes))]
    return (TRUTH, SOURCE, *kinds)[nearest(output, candidates)]


def count_objects(clips: Tensor, scenes: Scenes) -> Tensor:
    """(B, F) number of objects that a picture shows over the background of `scenes`.

    Counted are the connected parts (8 neighbours) of LEAST_AREA pixels or more of the pixels that,
    with all their neighbours, have

        mean over RGB of |clip − background| > DIFFERENT.

    So thin bridges between objects do not join them. Objects that touch are one part: compare with
    the count of the truth's own pictures.
    """
    background = render(
        scenes.replace(shape=torch.full_like(scenes.shape, EMPTY)), *clips.shape[1:4]
    )
    alike = (clips - background).abs().mean(-1).flatten(0, 1) <= DIFFERENT
    rim = functional.max_pool2d(alike[:, None].float(), 3, stride=1, padding=1)[:, 0] > 0
    return count_parts(~rim).view(clips.shape[:2])


def count_parts(masks: Tensor) -> Tensor:
    """(M,) connected parts of LEAST_AREA pixels or more in masks (M, H, W) bool."""
    pixels = masks[0].numel()
    # Every pixel takes the highest number among its neighbours until nothing changes.
    numbers = torch.arange(1.0, pixels + 1, device=masks.device).view(masks.shape[1:]) * masks
    while True:
        spread = functional.max_pool2d(numbers[:, None], 3, stride=1, padding=1)[:, 0] * masks
        if torch.equal(spread, numbers):
            break
        numbers = spread
    places = torch.arange(len(masks), device=masks.device)[:, None] * (pixels + 1)
    areas = torch.bincount(
        (numbers.flatten(1).long() + places).flatten(), minlength=len(masks) * (pixels + 1)
    )
    return (areas.view(len(masks), -1)[:, 1:] >= LEAST_AREA).sum(1)


def count_mistakes(outcomes: Sequence[EditOutcome]) -> dict[str, float]:
    """Share of outcomes by what they are nearest to: TRUTH and all MISTAKES, which add up to 1."""
    counts = Counter(outcome.nearest for outcome in outcomes)
    return {kind: counts[kind] / len(outcomes) for kind in (TRUTH, *MISTAKES)}
