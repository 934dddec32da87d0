"""What a training step works on, and SAMA's loss on it as the settings compose it."""

from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, Self

import torch
from torch import Generator, Tensor, nn

from .alignment import Aligner
from .config import TrainConfig
from .objectives import (
    Breakdown,
    FlowMatching,
    JointObjective,
    SemanticAnchoring,
    draw_anchored,
    keep_first_frame,
    on_own_path,
    spare_first_frame,
)


@dataclass(frozen=True)
class TrainBatch:
    """Clean latents and text of B samples. Latents are normalised as the DiT sees them."""

    target_latents: Tensor
    """(B, 16, T, H, W), what the model learns to make."""
    source_latents: Tensor
    """(B, 16, T, H, W), what it starts from."""
    text: Tensor
    """(B, L) token ids for a text encoder trained along, else (B, L, text_dim) embeddings."""
    semantic: Tensor | None
    """(B, S, E) semantic targets of the anchor frame, None without semantic anchoring."""
    names: list[str]
    """B names, so that an error can name the sample."""
    teacher: dict[str, Tensor] | None = None
    """What the alignment compares with, see `Aligner.losses`; None where there is nothing."""
    anchored: Tensor | None = None
    """(B,) bool: samples that make sense with their first frame given only; `anchor_share` is of
    the others. None where there are none."""

    def to(self, device: torch.device) -> Self:
        """The same batch with its tensors on `device`."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in values.items() if torch.is_tensor(value)
        }
        if self.teacher is not None:
            moved["teacher"] = {name: value.to(device) for name, value in self.teacher.items()}
        return replace(self, **moved)


class BatchSource(Protocol):
    """Samples as a function of the step alone, so that a resumed run sees the same ones."""

    def batch(self, step: int, part: slice) -> TrainBatch:
        """Samples `part` of the global batch of `step`.

        Different parts are disjoint and together make the batch.
        """
        ...


CHANGED = 0.35
"""Mean difference over a cell's 16 normalised channels from which it counts as edited.

From a trial, not tuned.
"""


class SamaObjective:
    """Flow matching, semantic anchoring and an alignment, as the settings say.

    A `trainer.Objective`.
    """

    def __init__(self, config: TrainConfig, aligner: Aligner | None = None):
        """Semantic anchoring is left out where its weight is 0; `aligner`: the trainee's own."""
        anchoring = SemanticAnchoring(config.semantic_weight) if config.semantic_weight else None
        flow = FlowMatching(config.shift)
        self.joint, self.alone = JointObjective(flow, anchoring), JointObjective(flow, None)
        self.config, self.aligner = config, aligner

    def __call__(
        self, trainee: nn.Module, batch: TrainBatch, generators: list[Generator]
    ) -> Breakdown:
        """Per-sample losses; without semantic anchoring where the batch has no semantic targets.

        With an aligner the loss "align" is a part of the total.
        """
        joint = self.alone if batch.semantic is None else self.joint
        inputs = joint.prepare(batch.target_latents, batch.semantic, generators)
        anchored = self._draw_anchored(batch, generators)
        if anchored is not None:
            inputs = keep_first_frame(inputs, batch.target_latents, anchored)
        if self.config.own_path_share:
            inputs = on_own_path(
                trainee,
                inputs,
                batch.text,
                batch.source_latents,
                self.config.own_path_share,
                generators,
            )
            if anchored is not None:  # the step moved it
                inputs = keep_first_frame(inputs, batch.target_latents, anchored)
        prediction = joint.predict(trainee, inputs, batch.text, batch.source_latents)
        weight = self.element_weight(batch)
        if anchored is not None:
            weight = spare_first_frame(weight, batch.target_latents, anchored)
        losses = joint.losses(prediction, inputs, weight)
        if self.aligner is None:
            return losses
        aligned = self.aligner.losses(batch.teacher, inputs.sigma)
        return losses.plus("align", aligned, self.aligner.config.weight)

    def _draw_anchored(self, batch: TrainBatch, generators: list[Generator]) -> Tensor | None:
        """(B,) bool: the samples whose first frame is given; None where no sample's can be.

        A clip of one frame has nothing left to learn from it.
        """
        share, latents = self.config.anchor_share, batch.target_latents
        if latents.shape[2] == 1 or not (share or batch.anchored is not None):
            return None
        drawn = draw_anchored(len(latents), share, generators).to(latents.device)
        return drawn if batch.anchored is None else drawn | batch.anchored

    def element_weight(self, batch: TrainBatch) -> Tensor | None:
        """Weights that broadcast to the velocity (B, 16, T, H, W); None if all count alike."""
        if not self.config.edit_weight:
            return None
        return 1 + self.config.edit_weight * edited_cells(batch)


def edited_cells(batch: TrainBatch) -> Tensor:
    """(B, 1, T, H, W): 1 where the edit changes a latent cell, else 0. Deviation: not SAMA's."""
    difference = (batch.target_latents - batch.source_latents).abs().mean(1, keepdim=True)
    return (difference > CHANGED).float()
