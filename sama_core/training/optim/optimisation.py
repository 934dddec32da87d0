"""How weights move: optimisers by kind of weight, their learning rates, and the average of the
weights.

    gradients ──▶ Optimisation.step ──▶ AdamW, Muon at the rates of the step ──▶ weights ──▶ Ema

Sharded tensors (FSDP) stay sharded here; `whole` and `copy_whole` lead to whole tensors and back.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from .muon import Muon

BETAS = (0.9, 0.98)
"""AdamW's decays of the gradient's mean and of its square."""

_MATRICES = (".self_attn.", ".cross_attn.", ".ffn.", ".SelfAttention.", ".DenseReluDense.")


class Schedule(Protocol):
    """The settings that learning rates and the average follow."""

    @property
    def steps(self) -> int:
        """Optimiser steps of the training."""

    @property
    def warmup(self) -> int:
        """Steps of linear warm-up."""

    @property
    def decay_from(self) -> float:
        """Part of the steps after which the rates fall linearly to 0; 1 never."""

    @property
    def ema(self) -> float:
        """Decay of the averaged weights."""


class Rates(Protocol):
    """The settings that the optimisers are built from."""

    @property
    def learning_rate(self) -> float:
        """AdamW's rate."""

    @property
    def muon_rate(self) -> float:
        """Muon's rate; 0 gives its matrices to AdamW."""

    @property
    def weight_decay(self) -> float:
        """Weight decay of both."""


class Optimisation:
    """Optimisers, their learning rates and the average of the weights, as one object."""

    def __init__(
        self,
        named: Iterable[tuple[str, nn.Parameter]],
        optimizers: Sequence[torch.optim.Optimizer],
        schedule: Schedule,
    ):
        """`named`: all parameters by name; the trained ones are averaged.

        The rates that `optimizers` have now are their largest ones.
        """
        self.optimizers, self.schedule = list(optimizers), schedule
        self._named = list(named)
        self._rates = [[group["lr"] for group in one.param_groups] for one in self.optimizers]
        self.average = Ema(self._named, schedule.ema)

    def step(self, step: int) -> None:
        """Move weights and average at the rates of `step` (from 0), and clear the gradients."""
        self.set_rates(rate_at(step, self.schedule))
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.average.update(self._named, step)

    def set_rates(self, factor: float) -> None:
        """Set every group's rate to `factor` times its largest one."""
        for optimizer, rates in zip(self.optimizers, self._rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor


def rate_at(step: int, schedule: Schedule) -> float:
    """Factor on the rates at `step` (from 0): linear warm-up, constant, linear decay to 0."""
    rising = min(1.0, (step + 1) / max(1, schedule.warmup))
    start = schedule.decay_from * schedule.steps
    if step < start or start >= schedule.steps:
        return rising
    return rising * max(0.0, (schedule.steps - step) / (schedule.steps - start))


def build_optimizers(
    named: Iterable[tuple[str, nn.Parameter]], rates: Rates
) -> list[torch.optim.Optimizer]:
    """AdamW for the trained parameters; Muon for the blocks' matrices if it has a rate."""
    trained = [(name, weight) for name, weight in named if weight.requires_grad]
    chosen = [weight for name, weight in trained if rates.muon_rate and _is_matrix(name, weight)]
    rest = [
        weight for name, weight in trained if not (rates.muon_rate and _is_matrix(name, weight))
    ]
    optimizers: list[torch.optim.Optimizer] = []
    if rest:
        decay = rates.weight_decay
        optimizers.append(
            torch.optim.AdamW(rest, lr=rates.learning_rate, betas=BETAS, weight_decay=decay)
        )
    if chosen:
        optimizers.append(Muon(chosen, lr=rates.muon_rate, weight_decay=rates.weight_decay))
    return optimizers


def _is_matrix(name: str, weight: nn.Parameter) -> bool:
    embeds = "relative_attention_bias" in name
    return weight.ndim == 2 and not embeds and any(part in f".{name}" for part in _MATRICES)


class Ema:
    """An exponential moving average of the trained weights in float32 (SAMA App. B: 0.9998, every
    step).

    The averages of sharded weights are sharded as they are.
    """

    def __init__(self, named: Iterable[tuple[str, nn.Parameter]], decay: float):
        """The average begins at the weights as they are. Frozen parameters are left out."""
        self.decay = decay
        self.shadows = {
            name: weight.detach().float().clone() for name, weight in named if weight.requires_grad
        }

    @torch.no_grad()
    def update(self, named: Iterable[tuple[str, nn.Parameter]], step: int) -> None:
        """Move the average towards the weights after `step` (from 0).

        Early on the decay is smaller, (1 + step) / (10 + step), so that the first weights are soon
        forgotten.
        """
        keep = min(self.decay, (1 + step) / (10 + step))
        for name, weight in named:
            if name in self.shadows:
                self.shadows[name].lerp_(weight.detach().float(), 1 - keep)

    def state_dict(self) -> dict[str, Tensor]:
        """The averages by name: the tensors themselves, not copies."""
        return self.shadows

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over whole averages, e.g. those of a checkpoint."""
        for name, value in state.items():
            copy_whole(value, self.shadows[name])


def whole(value: Tensor) -> Tensor:
    """A CPU copy of all of `value`. Every process of a sharded run must call it."""
    full = value.full_tensor() if hasattr(value, "full_tensor") else value
    return full.detach().cpu().clone()


@torch.no_grad()
def copy_whole(full: Tensor, into: Tensor) -> None:
    """Copy `full` into `into`, of which this process may hold only a shard."""
    if hasattr(into, "device_mesh") and hasattr(into, "placements"):
        from torch.distributed.tensor import distribute_tensor

        full = distribute_tensor(full.to(into.device), into.device_mesh, into.placements)
    into.copy_(full)
