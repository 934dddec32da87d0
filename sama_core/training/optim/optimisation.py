"""How weights move: optimisers by kind of weight, their learning rates, and the average of the
weights.

    gradients ──▶ Optimisation.step ──▶ AdamW, Muon at the rates of the step ──▶ weights ──▶ Ema

Sharded tensors (FSDP) stay sharded here; `whole` and `copy_whole` lead to whole tensors and back.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from .muon import Muon

BETAS = (0.9, 0.98)
"""AdamW's decays of the gradient's mean and of its square."""

PROJECTOR_WEIGHTS = "aligner."
"""How the names of a trainee's weights begin that are its alignment's."""
PROJECTOR_GROUP = "projector"
"""Key of a parameter group that follows the projector's rates."""

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


class ProjectorRates(Protocol):
    """The rates of an alignment's projector."""

    @property
    def rate(self) -> float:
        """The largest one."""

    @property
    def least_rate(self) -> float:
        """The one at the end."""

    @property
    def warmup(self) -> int:
        """Steps of linear warm-up."""


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

    @property
    def align(self) -> ProjectorRates | None:
        """Rates of the alignment's projector, if there is an alignment."""


class Optimisation:
    """Optimisers, their learning rates and the average of the weights, as one object."""

    def __init__(
        self,
        named: Iterable[tuple[str, nn.Parameter]],
        optimizers: Sequence[torch.optim.Optimizer],
        schedule: Schedule,
        align: ProjectorRates | None = None,
        factor_at: Callable[[int, Schedule], float] | None = None,
    ):
        """`named`: all parameters by name; the trained ones are averaged.

        The rates that `optimizers` have now are their largest ones; `factor_at(step, schedule)`,
        by default `rate_at`, is the factor on them. Groups of an optimiser that `build_optimizers`
        marked as the projector's follow the rates of `align`.
        """
        self.optimizers, self.schedule, self.align = list(optimizers), schedule, align
        self._factor_at = factor_at or rate_at
        self._named = list(named)
        self._rates = [[group["lr"] for group in one.param_groups] for one in self.optimizers]
        self.average = Ema(self._named, schedule.ema)

    def step(self, step: int) -> None:
        """Move weights and average at the rates of `step` (from 0), and clear the gradients."""
        factor = self._factor_at(step, self.schedule)
        if self.align is None:
            self.set_rates(factor)
        else:
            self.set_rates(factor, projector_rate_at(step, self.schedule.steps, self.align))
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.average.update(self._named, step)

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """A context in which the weights are their averages; afterwards they are what they were,
        bit for bit.
        """
        self.average.swap(self._named)
        try:
            yield
        finally:
            self.average.swap(self._named)

    def set_rates(self, factor: float, projector_rate: float = 0.0) -> None:
        """Set every group's rate to `factor` times its largest one; the projector's is given."""
        for optimizer, rates in zip(self.optimizers, self._rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = projector_rate if group.get(PROJECTOR_GROUP) else rate * factor


def rate_at(step: int, schedule: Schedule) -> float:
    """Factor on the rates at `step` (from 0): linear warm-up, constant, linear decay to 0.

    Where the warm-up reaches into the decay, both factors are multiplied.
    """
    return _warm_up(step, schedule) * _decay(step, schedule)


def lesser_rate_at(step: int, schedule: Schedule) -> float:
    """As `rate_at`; where the warm-up reaches into the decay, the lesser of both factors."""
    return min(_warm_up(step, schedule), _decay(step, schedule))


def _warm_up(step: int, schedule: Schedule) -> float:
    return min(1.0, (step + 1) / max(1, schedule.warmup))


def _decay(step: int, schedule: Schedule) -> float:
    start = schedule.decay_from * schedule.steps
    if step < start or start >= schedule.steps:
        return 1.0
    return max(0.0, (schedule.steps - step) / (schedule.steps - start))


def projector_rate_at(step: int, steps: int, rates: ProjectorRates) -> float:
    """The projector's rate at `step` (from 0) of `steps`: linear warm-up, then a cosine down to
    `least_rate` (SAM2VideoX App. A: 150 steps, 5e-4 to 1e-5).
    """
    if step < rates.warmup:
        return rates.rate * (step + 1) / rates.warmup
    fallen = (step - rates.warmup) / max(1, steps - rates.warmup)
    height = 0.5 * (1 + math.cos(math.pi * min(1.0, fallen)))
    return rates.least_rate + (rates.rate - rates.least_rate) * height


def build_optimizers(
    named: Iterable[tuple[str, nn.Parameter]], rates: Rates
) -> list[torch.optim.Optimizer]:
    """AdamW for the trained parameters; Muon for the blocks' matrices if it has a rate.

    The projector of an alignment is a group of AdamW's own, with the rate of `rates.align`.
    """
    groups: dict[str, list[nn.Parameter]] = {"adamw": [], "muon": [], "projector": []}
    for name, weight in named:
        if weight.requires_grad:
            groups[_choose_group(name, weight, rates)].append(weight)
    decay = rates.weight_decay
    adamw: list[dict[str, Any]] = []
    if groups["adamw"]:
        adamw.append({"params": groups["adamw"], "lr": rates.learning_rate})
    if groups["projector"] and rates.align:
        group = {"params": groups["projector"], "lr": rates.align.rate, PROJECTOR_GROUP: True}
        adamw.append(group)
    optimizers: list[torch.optim.Optimizer] = []
    if adamw:
        optimizers.append(torch.optim.AdamW(adamw, betas=BETAS, weight_decay=decay))
    if groups["muon"]:
        optimizers.append(Muon(groups["muon"], lr=rates.muon_rate, weight_decay=decay))
    return optimizers


def _choose_group(name: str, weight: nn.Parameter, rates: Rates) -> str:
    if rates.align and name.startswith(PROJECTOR_WEIGHTS):
        return "projector"
    return "muon" if rates.muon_rate and _is_matrix(name, weight) else "adamw"


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

    @torch.no_grad()
    def swap(self, named: Iterable[tuple[str, nn.Parameter]]) -> None:
        """Exchange weights and averages, one by one: it takes the memory of the largest."""
        for name, weight in named:
            if name in self.shadows:
                before = weight.detach().clone()
                weight.copy_(self.shadows[name])
                self.shadows[name].copy_(before)

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
