"""Optimisers by kind of weight: Muon for the blocks' matrices where asked, AdamW for the rest.

An exponential moving average of the trained weights (SAMA App. B: 0.9998, every step).

Whole tensors of sharded ones (FSDP) and back; plain tensors pass through.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..config import TrainConfig
from .muon import Muon

_MATRICES = (".self_attn.", ".cross_attn.", ".ffn.", ".SelfAttention.", ".DenseReluDense.")


def build_optimizers(
    named: Iterable[tuple[str, nn.Parameter]], config: TrainConfig
) -> list[torch.optim.Optimizer]:
    """AdamW, and Muon for attention and feed-forward matrices when `muon_rate` is above 0."""
    trained = [(name, weight) for name, weight in named if weight.requires_grad]
    chosen = [weight for name, weight in trained if config.muon_rate and _is_matrix(name, weight)]
    rest = [
        weight for name, weight in trained if not (config.muon_rate and _is_matrix(name, weight))
    ]
    optimizers: list[torch.optim.Optimizer] = []
    if rest:
        optimizers.append(
            torch.optim.AdamW(
                rest, lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay
            )
        )
    if chosen:
        optimizers.append(Muon(chosen, lr=config.muon_rate, weight_decay=config.weight_decay))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["base_lr"] = group["lr"]
    return optimizers


def _is_matrix(name: str, weight: nn.Parameter) -> bool:
    embeds = "relative_attention_bias" in name
    return weight.ndim == 2 and not embeds and any(part in f".{name}" for part in _MATRICES)


def rate_at(step: int, config: TrainConfig) -> float:
    """Factor on the learning rates at `step` (from 0): linear warm-up, constant, linear decay to 0."""
    rising = min(1.0, (step + 1) / max(1, config.warmup))
    start = config.decay_from * config.steps
    if step < start or start >= config.steps:
        return rising
    return rising * max(0.0, (config.steps - step) / (config.steps - start))


def set_rates(optimizers: list[torch.optim.Optimizer], factor: float) -> None:
    """Scale every group's own rate by `factor`; `build_optimizers` keeps it in the group as "base_lr"."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor


class Ema:
    """Float32 shadows of the trained parameters, in place beside them (sharded ones stay sharded)."""

    def __init__(self, named: Iterable[tuple[str, nn.Parameter]], decay: float):
        self.decay = decay
        self.shadows = {
            name: weight.detach().float().clone() for name, weight in named if weight.requires_grad
        }

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


def whole(value: Tensor) -> Tensor:
    """A CPU copy of all of `value`. Every process of a sharded run must call it."""
    full = value.full_tensor() if hasattr(value, "full_tensor") else value
    return full.detach().cpu().clone()


@torch.no_grad()
def copy_whole(full: Tensor, into: Tensor) -> None:
    """Copy `full` into `into`, of which this process may hold only a shard."""
    if hasattr(into, "full_tensor"):
        from torch.distributed.tensor import distribute_tensor

        full = distribute_tensor(full.to(into.device), into.device_mesh, into.placements)
    into.copy_(full)
