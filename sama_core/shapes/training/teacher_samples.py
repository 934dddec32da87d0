"""What SAMA-Shapes is aligned with: exact features of the procedural world, or a tracker's.

    scenes ──▶ "scene": scene_features            ┐
    frames ──▶ "tracker:FILE": Tracker, both ways ┴─▶ make_targets ──▶ a pool beside the clips' own

A pair's teacher sees the target, as its scenes are known. Which cells matter ("saliency") is exact
too: `named` is the object that the instruction names, `changed` where source and target differ.
Shapes: B scenes, F frames, T = 1 + (F − 1) / 4 latent frames, h × w cells.
"""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from ...errors import RuntimeSetupError, needed
from ...geometry import WAN_21
from ...training.alignment import AlignConfig, changed_cells, make_targets
from ...training.alignment.saliency import reduce_mask
from ...training.recipe import ConfigError
from ..scene_features import WIDTH, scene_features
from ..tracker import Tracker, load_tracker
from ..world import Edits, EditSampler, Scenes, apply, render
from ..world.render import coverage

Plan = Callable[[int, int], tuple[Scenes, Scenes, Edits | None]]
"""(number, size) → source and target scenes of a shard, and the edits between them if any."""

_AT_ONCE = 8
"""Scenes whose features are made together."""


class SceneTeacher:
    """Targets of the alignment for scenes, on cells of `config.cell` pixels."""

    def __init__(self, config: AlignConfig, frames: int, height: int, width: int):
        """Raises RuntimeSetupError for a teacher that is none of this world, ConfigError for a
        saliency that nobody has here.
        """
        self.config, self.size = config, (frames, height, width)
        self.cells = (height // config.cell, width // config.cell)
        self.tracker, teacher = _open_tracker(config.teacher)
        self.key = repr((teacher, config.targets_key()))
        """All that the targets of a scene depend on."""
        if config.saliency == "learned":
            need = '"none", "named" or "changed" with data "shapes"'
            raise ConfigError(needed("align.saliency", "learned", need, "Change it in the recipe."))

    @property
    def width(self) -> int:
        """Channels of a feature."""
        return WIDTH if self.tracker is None else self.tracker.width

    def samples(self, plan: Plan, size: int, number: int) -> dict[str, Tensor]:
        """Targets of a shard, float16, each with the scenes first."""
        source, target, edits = plan(number, size)
        made = [
            make_targets(self.config, features, self.cells, saliency)
            for features, saliency in zip(
                self._features(target), self._saliency(source, target, edits), strict=True
            )
        ]
        return {name: torch.stack([each[name] for each in made]).half() for name in made[0]}

    @torch.no_grad()
    def _features(self, scenes: Scenes) -> Iterator[dict[str, Tensor]]:
        """Of each scene: (T, h, w, C), or a flow's (F, h, w, C); two directions of a tracker."""
        for begin in range(0, len(scenes), _AT_ONCE):
            part = scenes[begin : begin + _AT_ONCE]
            if self.tracker is None:
                found = {"features": scene_features(part, *self.size, self.config.cell)[0]}
            else:
                masks = subject_masks(part, *self.size)
                clips = render(part, *self.size)
                found = self.tracker.track_both_ways(clips, masks[:, 0], masks[:, -1])
            for row in range(len(part)):
                yield {name: self._choose_frames(value[row]) for name, value in found.items()}

    def _choose_frames(self, features: Tensor) -> Tensor:
        """A flow's teacher sees every frame, others the last one of each latent frame."""
        flow = self.config.relation == "flow"
        return features if flow else features[:: WAN_21.temporal]

    def _saliency(
        self, source: Scenes, target: Scenes, edits: Edits | None
    ) -> Iterator[Tensor | None]:
        """Of each scene (T, h, w), or (F, h, w) for a flow."""
        if self.config.saliency == "none":
            yield from [None] * len(target)
            return
        frames = self.size[0]
        slices = frames if self.config.relation == "flow" else 1 + (frames - 1) // WAN_21.temporal
        cells = (slices, *self.cells)
        if self.config.saliency == "changed":
            yield from changed_cells(render(source, *self.size), render(target, *self.size), cells)
        else:
            yield from reduce_mask(named_masks(source, target, edits, *self.size), cells)


def named_masks(
    source: Scenes, target: Scenes, edits: Edits | None, frames: int, height: int, width: int
) -> Tensor:
    """(B, F, H, W) in 0..1: where that is, in source or target, which the text of an edit names.

    The object of an edit of an object, the ground for a background, everything for a style. Without
    edits, all objects.
    """
    after = _visible(target, frames, height, width)
    objects = after.sum(1).clamp(0, 1)
    if edits is None:
        return objects
    covers = torch.maximum(_visible(source, frames, height, width), after)
    named = covers[torch.arange(len(target)), edits.slot.clamp(min=0)]
    ground, style = ((asked >= 0)[:, None, None, None] for asked in (edits.ground, edits.style))
    named = torch.where(ground, 1 - objects, named)
    return torch.where(style, torch.ones_like(named), named)


def subject_masks(scenes: Scenes, frames: int, height: int, width: int) -> Tensor:
    """(B, F, H, W): where the upper object is seen, which the other one never hides."""
    upper = scenes.present[:, 1].long()
    return _visible(scenes, frames, height, width)[torch.arange(len(scenes)), upper]


def plan_clips(draw: Callable[[int, int], Scenes]) -> Plan:
    """Clips without an edit: they are their own source."""

    def plan(number: int, size: int) -> tuple[Scenes, Scenes, Edits | None]:
        scenes = draw(number, size)
        return scenes, scenes, None

    return plan


def plan_edits(sampler: EditSampler) -> Plan:
    """The sampler's pairs."""

    def plan(number: int, size: int) -> tuple[Scenes, Scenes, Edits | None]:
        source, edits, _ = sampler.plan(number, size)
        return source, apply(source, edits), edits

    return plan


def _visible(scenes: Scenes, frames: int, height: int, width: int) -> Tensor:
    """(B, N, F, H, W): how much of each pixel shows each object. The second one lies on top."""
    covers = coverage(scenes, frames, height, width)
    covers[:, 0] *= 1 - covers[:, 1]
    return covers


def _open_tracker(teacher: str) -> tuple[Tracker | None, str]:
    """The tracker of "tracker:FILE" and a name of its weights; None for "scene"."""
    kind, _, path = teacher.partition(":")
    if kind == "tracker" and path:
        tracker = load_tracker(Path(path))
        return tracker, f"tracker {hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]}"
    if teacher != "scene":
        need = '"scene" or "tracker:FILE" with data "shapes"'
        raise RuntimeSetupError(
            needed("align.teacher", repr(teacher), need, "Set it in the recipe.")
        )
    return None, teacher
