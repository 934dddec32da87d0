"""Reading scenes from the model's tokens, in training only: what a small new SAMA lacks of Wan's sight.

    after block 2   source and target tokens ──▶ shapes and colours of the source there
    after block 3   target tokens            ──▶ shapes and colours of the target there, and the object that is meant

To learn which object "the star" is, a model must know both the word and the sight, and the velocity alone gives a
gradient to neither before it has the other. Measured on pairs of objects named by their shape (share of held-out images
edited at the right one): 50 % after 1,060 steps without reading, and no more after 100 steps on such pairs alone; with
reading 50 % at step 350, 75 % at step 750, when 96 % of shapes were read rightly. Deviation: not SAMA's, which starts
from weights that see. The reader is not part of the files that are written.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from .data.labels import EDIT_LABELS, SCENE_LABELS

SEES, PLANS = 2, 3
"""Blocks (from 0) after which the source's and the target's scene are read."""


class SceneReader(nn.Module):
    """Linear readings of the DiT's hidden tokens; `watch` is a "double_block" patch of the DiT."""

    def __init__(self, dim: int):
        super().__init__()
        self.sight, self.plan = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.sees, self.plans = nn.Linear(dim, SCENE_LABELS), nn.Linear(dim, EDIT_LABELS - SCENE_LABELS)
        for layer in (self.sees, self.plans):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self._read: dict[int, tuple[Tensor, ...]] = {}

    def watch(self, args: dict[str, Any]) -> dict[str, Any]:
        """Keep the readings of this forward pass; changes nothing."""
        x, target = args["img"], args["img"][:, args["img_offset"]:]
        if args["block_index"] == SEES:
            source = x[:, :target.shape[1]]
            self._read[SEES] = tuple(self.sees(self.sight(tokens)) for tokens in (source, target))
        if args["block_index"] == PLANS:
            self._read[PLANS] = (self.plans(self.plan(target)),)
        return args

    def losses(self, labels: Tensor | None) -> Tensor:
        """Cross-entropies (B,) of the last forward pass's readings of `labels` (B, cells, EDIT_LABELS); 0 without."""
        seen, planned = self._read.pop(SEES), self._read.pop(PLANS)
        if labels is None:
            return 0.0 * sum(reading.flatten(1).sum(1) for reading in (*seen, *planned))
        truth = labels.to(planned[0])
        pairs = [(reading, truth[..., :SCENE_LABELS]) for reading in seen] + [(planned[0], truth[..., SCENE_LABELS:])]
        return torch.stack([binary_cross_entropy_with_logits(reading, known, reduction="none").flatten(1).mean(1)
                            for reading, known in pairs]).mean(0)
