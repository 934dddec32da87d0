"""SAMA's loss as the trainer wants it."""

from torch import Generator, Tensor, nn

from .batch import TrainBatch
from .config import TrainConfig
from .objectives import Breakdown, FlowMatching, JointObjective, SemanticAnchoring
from .scene_reader import SceneReader

CHANGED = 0.35
"""Mean difference over a cell's 16 normalised channels from which it counts as edited. From a trial, not tuned."""


class SamaObjective:
    """Flow matching with semantic anchoring, as the settings say. A `trainer.Objective`."""

    def __init__(self, config: TrainConfig, reader: SceneReader | None = None):
        """`reader` is the trainee's own, where it has one."""
        anchoring = SemanticAnchoring(config.semantic_weight) if config.semantic_weight else None
        flow = FlowMatching(config.shift)
        self.joint, self.alone = JointObjective(flow, anchoring), JointObjective(flow, None)
        self.edit_weight, self.reader, self.reading_weight = config.edit_weight, reader, config.reading_weight

    def __call__(self, trainee: nn.Module, batch: TrainBatch, generators: list[Generator]) -> Breakdown:
        """Per-sample losses; without semantic anchoring where the batch has no semantic targets."""
        joint = self.alone if batch.semantic is None else self.joint
        weight = None
        if self.edit_weight:
            weight = edit_weights(batch.source_latents, batch.target_latents, self.edit_weight)
        losses = joint(trainee, batch.target_latents, batch.text, batch.source_latents, batch.semantic, generators,
                       weight)
        if self.reader is None:
            return losses
        return losses.plus("reading", self.reader.losses(batch.labels), self.reading_weight)


def edit_weights(source: Tensor, target: Tensor, extra: float) -> Tensor:
    """Latents (B, 16, T, H, W) of both → weights (B, 1, T, H, W): 1, and 1 + `extra` where the edit changes a cell.

    Deviation: not SAMA's.
    """
    return 1 + extra * ((target - source).abs().mean(1, keepdim=True) > CHANGED).float()
