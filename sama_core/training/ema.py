"""An exponential moving average of the trained weights (SAMA App. B: 0.9998, every step)."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .sharding import copy_whole


class Ema:
    """Float32 shadows of the trained parameters, in place beside them (sharded ones stay sharded)."""

    def __init__(self, named: Iterable[tuple[str, nn.Parameter]], decay: float):
        self.decay = decay
        self.shadows = {name: weight.detach().float().clone() for name, weight in named if weight.requires_grad}

    @torch.no_grad()
    def update(self, named: Iterable[tuple[str, nn.Parameter]], step: int) -> None:
        """Move towards the weights after `step` (from 0). Early on the decay is smaller, (1 + step) / (10 + step),
        so that the average does not drag the first weights along."""
        keep = min(self.decay, (1 + step) / (10 + step))
        for name, weight in named:
            if name in self.shadows:
                self.shadows[name].lerp_(weight.detach().float(), 1 - keep)

    def state_dict(self) -> dict[str, Tensor]:
        return self.shadows

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over whole shadows, e.g. those of a checkpoint."""
        for name, value in state.items():
            copy_whole(value, self.shadows[name])
