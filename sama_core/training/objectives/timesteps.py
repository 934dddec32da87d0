"""Which noise level a training sample gets, and how much its loss counts there.

Unverified: SAMA's sampling of timesteps is not published. This is the framework's it was trained in: an equal chance
for each of 1000 levels of the sampling schedule, σ = s·u / (1 + (s - 1)·u), u = 1, 0.999, … 0.001, with shift s = 5.
"""

from functools import lru_cache

import torch
from torch import Tensor

from ...errors import SamaError, needed
from ...model.schedule import DEFAULT_SHIFT, TRAIN_TIMESTEPS, flow_sigmas, round_timestep
from .noising import Generators, per_sample

WEIGHTINGS = ("uniform", "bell")


def draw_sigmas(batch: int, generators: Generators, shift: float = DEFAULT_SHIFT) -> Tensor:
    """(B,) float32 noise levels in 0.001·s / (1 + 0.001·(s - 1)) … 1, on the generators' device."""
    index = per_sample(
        batch,
        generators,
        lambda count, generator: torch.randint(
            TRAIN_TIMESTEPS, (count,), generator=generator, device=generator.device
        ),
    )
    return _levels(shift).to(index.device)[index]


def model_timestep(sigma: Tensor) -> Tensor:
    """The timestep (B,) in 0…1000 that the model is told: 1000 σ, rounded to bfloat16 as at inference.

    Deviation: the framework's training also noises at the level nearest to the rounded timestep. Its sampler, and
    this, keep the exact level and round only what the model is told.
    """
    return round_timestep(sigma * TRAIN_TIMESTEPS)


def timestep_weight(
    sigma: Tensor, shift: float = DEFAULT_SHIFT, weighting: str = "uniform"
) -> Tensor:
    """(B,) weight of each sample's loss by its noise level; 1 on average over the levels.

    "uniform" is 1. "bell" is the framework's exp(-2·((t - 500) / 1000)²), lowered so that it is 0 at t = 1000, where it
    is smallest, then scaled to mean 1. Unverified: whether SAMA used it; "uniform" is the paper's Eq. 1 as written.
    Raises SamaError for another name.
    """
    if weighting == "uniform":
        return torch.ones_like(sigma)
    if weighting != "bell":
        raise SamaError(
            needed("timestep weighting", repr(weighting), " or ".join(WEIGHTINGS), 'Use "uniform".')
        )
    levels = _bell(_levels(shift))
    floor = levels.min()
    return ((_bell(sigma) - floor) / (levels - floor).mean()).to(sigma.dtype)


def _bell(sigma: Tensor) -> Tensor:
    return torch.exp(-2 * (sigma.double() - 0.5) ** 2)


@lru_cache(maxsize=8)
def _levels(shift: float) -> Tensor:
    """The 1000 noise levels, from 1 down; 0 is not one of them."""
    if not shift > 0:
        raise SamaError(
            needed(
                "timestep shift",
                shift,
                "more than 0",
                f"Use {DEFAULT_SHIFT}, the released sampler's.",
            )
        )
    return flow_sigmas(TRAIN_TIMESTEPS, shift)[:-1]
