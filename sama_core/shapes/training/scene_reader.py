"""Reading scenes from the model's tokens while it trains: what a small new SAMA lacks of Wan's
sight.

    after block 2   source and target tokens ──▶ shapes and colours of the source
    after block 3   target tokens            ──▶ those of the target, and the object that is meant

To learn which object "the star" is, a model must know both the word and the sight, and the velocity
alone gives a gradient to neither before it has the other. Measured on pairs of objects named by
their shape (share of held-out images edited at the right one): 50 % after 1,060 steps without
reading, and no more after 100 steps on such pairs alone; with reading 50 % at step 350, 75 % at
step 750, when 96 % of shapes were read rightly. Deviation: not SAMA's, which starts from weights
that see. The reader is not part of the files that are written.

`ShapesTrainee` holds the reader and `ShapesObjective` its loss; `edit_labels` says what is to be
read. Shapes: B scenes, F frames, T = 1 + (F - 1) / 4 latent frames, h x w cells of 16 x 16 pixels
(one token each).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ...encoders.umt5 import PaddedText, Umt5Encoder
from ...model.dit import SamaDiT
from ...released_files import SAMA_SHAPES
from ...training.alignment import Aligner
from ...training.objective import SamaObjective, TrainBatch
from ...training.objectives import Breakdown
from ...training.trainee import Trainee, Watcher
from ..config import ShapesConfig
from ..world.edits import Edits, apply
from ..world.render import coverage
from ..world.scene import COLOURS, SHAPES, Scenes

SCENE_LABELS = len(SHAPES) + len(COLOURS)
"""Labels of a scene: each shape, then each object colour."""

EDIT_LABELS = 2 * SCENE_LABELS + 1
"""Labels of an edit: the source's, the target's, and whether the object that is meant lies
there."""

SEES, PLANS = 2, 3
"""Blocks (from 0) after which the source's and the target's scene are read."""

_SEEN = 0.08
"""Part of a cell that an object must cover to count."""


def edit_labels(source: Scenes, edits: Edits, frames: int, height: int, width: int) -> Tensor:
    """(B, T · h · w, EDIT_LABELS) bool, cells in the order of tokens."""
    target = apply(source, edits)
    before, after = (_visible_cells(scenes, frames, height, width) for scenes in (source, target))
    rows, slot = torch.arange(len(edits)), edits.slot.clamp(min=0)
    meant = (before | after)[rows, slot] & (edits.slot >= 0)[:, None]
    return torch.cat([_labels(source, before), _labels(target, after), meant[..., None]], -1)


def _visible_cells(scenes: Scenes, frames: int, height: int, width: int) -> Tensor:
    """(B, N, T · h · w) bool: the cells where each of N objects is visible."""
    lattice, covers = SAMA_SHAPES.lattice, coverage(scenes, frames, height, width)
    covers[:, 0] *= 1 - covers[:, 1]  # the second object lies on top
    covers = functional.avg_pool2d(covers.flatten(0, 2)[:, None], lattice.side_multiple).view(
        *covers.shape[:3], -1
    )
    later = covers[:, :, 1:].unflatten(2, (-1, lattice.temporal)).mean(3)
    return (torch.cat([covers[:, :, :1], later], 2) > _SEEN).flatten(2)


def _labels(scenes: Scenes, seen: Tensor) -> Tensor:
    """(B, cells, SCENE_LABELS) bool."""
    labels = [
        (seen & (kind == number)[..., None]).any(1)
        for kind, names in ((scenes.shape, SHAPES), (scenes.colour, COLOURS))
        for number in range(len(names))
    ]
    return torch.stack(labels, -1)


class SceneReader(nn.Module):
    """Linear readings of the DiT's hidden tokens; `watch` is a "double_block" patch of the DiT."""

    def __init__(self, dim: int):
        """`dim`: width of the tokens. The readings begin at even odds."""
        super().__init__()
        self.sight, self.plan = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.sees, self.plans = (
            nn.Linear(dim, SCENE_LABELS),
            nn.Linear(dim, EDIT_LABELS - SCENE_LABELS),
        )
        for layer in (self.sees, self.plans):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self._read: dict[int, tuple[Tensor, ...]] = {}

    def watch(self, args: dict[str, Any]) -> dict[str, Any]:
        """Keep the readings of this forward pass; changes nothing."""
        x, target = args["img"], args["img"][:, args["img_offset"] :]
        if args["block_index"] == SEES:
            source = x[:, : target.shape[1]]
            self._read[SEES] = tuple(self.sees(self.sight(tokens)) for tokens in (source, target))
        if args["block_index"] == PLANS:
            self._read[PLANS] = (self.plans(self.plan(target)),)
        return args

    def losses(self, labels: Tensor | None) -> Tensor:
        """Cross-entropies (B,) of the last pass's readings with `labels` (B, cells, EDIT_LABELS).

        Without labels they are 0, and so are their gradients.
        """
        seen, planned = self._read.pop(SEES), self._read.pop(PLANS)
        if labels is None:
            return 0.0 * torch.stack([part.flatten(1).sum(1) for part in (*seen, *planned)]).sum(0)
        truth = labels.to(planned[0])
        before, after = truth[..., :SCENE_LABELS], truth[..., SCENE_LABELS:]
        losses = [_cross_entropy(part, before) for part in seen]
        return torch.stack([*losses, _cross_entropy(planned[0], after)]).mean(0)


def _cross_entropy(reading: Tensor, truth: Tensor) -> Tensor:
    """Logits and labels (B, cells, labels) → mean binary cross-entropy (B,)."""
    losses = functional.binary_cross_entropy_with_logits(reading, truth, reduction="none")
    return losses.flatten(1).mean(1)


@dataclass(frozen=True)
class ShapesBatch(TrainBatch):
    """A batch of the procedural world, where it is known what is where."""

    labels: Tensor | None = None
    """(B, cells, EDIT_LABELS) bool, for the reader; None where it is not known."""


class ShapesTrainee(Trainee):
    """The small model, its text encoder, and a scene reader if its loss has a weight."""

    def __init__(
        self, dit: SamaDiT, text_encoder: Umt5Encoder, config: ShapesConfig, teacher_width: int = 0
    ):
        """See `Trainee`.

        Texts have `config.text_length` rows, of which the last stands for all padding.
        """
        for block in dit.blocks:
            cross_attention: Any = block.cross_attn
            cross_attention.attention = PaddedText(config.text_length)
        super().__init__(dit, text_encoder, config, teacher_width)
        self.reader = SceneReader(dit.config.dim) if config.reading_weight else None

    def watchers(self) -> list[Watcher]:
        """The aligner's and the reader's."""
        return [*super().watchers(), *([self.reader.watch] if self.reader else [])]


class ShapesObjective(SamaObjective):
    """SAMA's losses with latent channels weighed by what they show, and the loss of reading."""

    def __init__(
        self,
        config: ShapesConfig,
        reader: SceneReader | None = None,
        channel_weights: Tensor | None = None,
        aligner: Aligner | None = None,
    ):
        """`reader` and `aligner`: the trainee's own, if any; `channel_weights` (16,): of the
        velocity.
        """
        super().__init__(config, aligner)
        self.reader, self.channel_weights = reader, channel_weights
        self.reading_weight = config.reading_weight

    def __call__(
        self, trainee: nn.Module, batch: TrainBatch, generators: list[Generator]
    ) -> Breakdown:
        """See `SamaObjective`; with a reader the loss "reading" is a part of the total."""
        losses = super().__call__(trainee, batch, generators)
        if self.reader is None:
            return losses
        labels = batch.labels if isinstance(batch, ShapesBatch) else None
        return losses.plus("reading", self.reader.losses(labels), self.reading_weight)

    def element_weight(self, batch: TrainBatch) -> Tensor | None:
        """See `SamaObjective.element_weight`; times the channels' weights."""
        weight = super().element_weight(batch)
        if self.channel_weights is None:
            return weight
        channels = self.channel_weights.to(batch.target_latents.device).view(1, -1, 1, 1, 1)
        return channels if weight is None else weight * channels
