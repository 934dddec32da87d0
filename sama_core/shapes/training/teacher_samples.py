"""What SAMA-Shapes is aligned with: exact features of the procedural world, or a tracker's.

    scenes ──▶ "scene": scene_features            ┐
    frames ──▶ "tracker:FILE": Tracker, both ways ┴─▶ make_targets ──▶ a pool beside the clips' own

A pair's teacher sees the target, as its scenes are known. Which cells matter ("saliency") is exact
too: `named` is the object that the instruction names, `changed` where source and target differ;
`learned` is what a small model reads from picture and instruction.
Shapes: B scenes, F frames, T = 1 + (F − 1) / 4 latent frames, h × w cells.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...errors import RuntimeSetupError, needed
from ...released_files import SAMA_SHAPES
from ...training.alignment import AlignConfig, changed_cells, make_targets
from ...training.alignment.saliency import reduce_mask
from ...training.alignment.teacher_targets import fit_half_precision
from ...training.recipe import ConfigError
from ..learned_saliency import InstructionEncoder, LearnedSaliency, load_saliency
from ..scene_features import WIDTH, scene_features
from ..tracker import Tracker, load_tracker
from ..world import Edits, EditSampler, Scenes, apply, render
from ..world.visibility import named_masks, subject_masks


@dataclass(frozen=True)
class Pairs:
    """Source and target scenes of a shard."""

    source: Scenes
    """Before the edit."""
    target: Scenes
    """After it."""
    edits: Edits | None = None
    """The edits, if there are any."""
    instructions: list[str] | None = None
    """Their texts."""


Plan = Callable[[int, int], Pairs]
"""(number, size) → the scenes of a shard."""

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
        self.saliency, learned = None, ""
        if config.saliency == "learned":
            self.saliency, learned = _open_saliency(config)
            self.words = InstructionEncoder()
        self.key = repr((teacher, learned, config.targets_key()))
        """All that the targets of a scene depend on."""

    @property
    def width(self) -> int:
        """Channels of a feature."""
        return WIDTH if self.tracker is None else self.tracker.width

    def samples(self, plan: Plan, size: int, number: int) -> dict[str, Tensor]:
        """Targets of a shard, float16, each with the scenes first."""
        pairs = plan(number, size)
        config, cells = self.config, self.cells
        made = [
            fit_half_precision(config, make_targets(config, features, cells, saliency))
            for features, saliency in zip(
                self._features(pairs.target), self._weigh(pairs), strict=True
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
        """SAM2VideoX' teacher sees every frame, others the last one of each latent frame."""
        every = self.config.tracks_structure
        return features if every else features[:: SAMA_SHAPES.lattice.temporal]

    def _weigh(self, pairs: Pairs) -> Iterable[Tensor | None]:
        """The saliency of each scene (T, h, w), or (F, h, w) where every frame counts."""
        if self.config.saliency == "none":
            return [None] * len(pairs.target)
        frames, lattice = self.size[0], SAMA_SHAPES.lattice
        slices = frames if self.config.tracks_structure else lattice.latents_of(frames)
        cells = (slices, *self.cells)
        if self.config.saliency == "changed":
            source, target = (render(scenes, *self.size) for scenes in (pairs.source, pairs.target))
            return changed_cells(source, target, cells, lattice=lattice)
        if self.config.saliency == "learned":
            return reduce_mask(self._read_saliency(pairs), cells, lattice)
        named = named_masks(pairs.source, pairs.target, pairs.edits, *self.size)
        return reduce_mask(named, cells, lattice)

    @torch.no_grad()
    def _read_saliency(self, pairs: Pairs) -> Tensor:
        """(B, F, H / 16, W / 16) of what the instructions are about, by the learned model."""
        if pairs.instructions is None or self.saliency is None:
            need = "pairs with instructions"
            raise ConfigError(
                needed(
                    "align.saliency", "learned for clips without an edit", need, "Train stage 1."
                )
            )
        clips = render(pairs.target, *self.size)
        return torch.cat(
            [
                self.saliency(clips[row : row + 1], *self.words([text]))[1]
                for row, text in enumerate(pairs.instructions)
            ]
        )


def plan_clips(draw: Callable[[int, int], Scenes]) -> Plan:
    """Clips without an edit: they are their own source."""

    def plan(number: int, size: int) -> Pairs:
        scenes = draw(number, size)
        return Pairs(scenes, scenes)

    return plan


def plan_edits(sampler: EditSampler) -> Plan:
    """The sampler's pairs."""

    def plan(number: int, size: int) -> Pairs:
        source, edits, instructions = sampler.plan(number, size)
        return Pairs(source, apply(source, edits), edits, instructions)

    return plan


def _open_tracker(teacher: str) -> tuple[Tracker | None, str]:
    """The tracker of "tracker:FILE" and a name of its weights; None for "scene"."""
    kind, _, path = teacher.partition(":")
    if kind == "tracker" and path:
        return load_tracker(Path(path)), f"tracker {_digest(path)}"
    if teacher != "scene":
        need = '"scene" or "tracker:FILE" with data "shapes"'
        raise RuntimeSetupError(
            needed("align.teacher", repr(teacher), need, "Set it in the recipe.")
        )
    return None, teacher


def _open_saliency(config: AlignConfig) -> tuple[LearnedSaliency, str]:
    """The learned saliency of the settings, and a name of its weights."""
    path = config.saliency_model
    if not path:
        need = "the file of a learned saliency"
        raise ConfigError(needed("align.saliency_model", "none", need, "Set it in the recipe."))
    return load_saliency(Path(path)), f"saliency {_digest(path)}"


def _digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
