"""Optimisers by kind of weight: Muon for the blocks' matrices where asked, AdamW for the rest."""

from collections.abc import Iterable

import torch
from torch import nn

from .config import TrainConfig
from .muon import Muon

_MATRICES = (".self_attn.", ".cross_attn.", ".ffn.", ".SelfAttention.", ".DenseReluDense.")


def build_optimizers(named: Iterable[tuple[str, nn.Parameter]], config: TrainConfig) -> list[torch.optim.Optimizer]:
    """AdamW, and Muon for attention and feed-forward matrices when `muon_rate` is above 0."""
    trained = [(name, weight) for name, weight in named if weight.requires_grad]
    chosen = [weight for name, weight in trained if config.muon_rate and _is_matrix(name, weight)]
    rest = [weight for name, weight in trained if not (config.muon_rate and _is_matrix(name, weight))]
    optimizers: list[torch.optim.Optimizer] = []
    if rest:
        optimizers.append(torch.optim.AdamW(rest, lr=config.learning_rate, betas=(0.9, 0.98),
                                            weight_decay=config.weight_decay))
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
