"""Random streams by name, noise levels, and noise on clean data.

What is drawn depends on seed, step and sample, never on the process that draws it. Draws happen in
float32 on the generator's own device, whatever the data's: a CPU generator gives the same noise to
a CPU and a GPU. With one generator per sample the noise of a sample does not depend on its
neighbours, so any split of a batch over processes trains on the same noise.

Unverified: SAMA's sampling of timesteps is not published. This is that of the framework that SAMA
was trained with: an equal chance for each of 1000 levels of the sampling schedule,
σ = s·u / (1 + (s - 1)·u), u = 1, 0.999, … 0.001, with shift s = 5.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Generator, Tensor

from ...errors import SamaError, needed
from ...model.schedule import DEFAULT_SHIFT, TRAIN_TIMESTEPS, flow_sigmas, round_timestep

WEIGHTINGS = ("uniform", "bell")
"""Ways to weigh a sample's loss by its noise level."""


def stream(*key: int | str) -> Generator:
    """A CPU generator seeded by a hash of `key`, e.g. (seed, "noise", step, sample).

    The CPU generator keeps only the low 32 bits of a seed, so 32 are made.
    """
    digest = hashlib.blake2s(":".join(map(str, key)).encode(), digest_size=4).digest()
    return Generator().manual_seed(int.from_bytes(digest, "big"))


def chance(share: float, *key: int | str) -> bool:
    """True in about `share` of all keys."""
    return torch.rand(1, generator=stream(*key), dtype=torch.float64).item() < share


Generators = Generator | Sequence[Generator]
"""One generator for the whole batch, or one for each of its samples."""


@dataclass(frozen=True)
class Noised:
    """A batch on its way from data to noise, and the direction it moves in."""

    noisy: Tensor
    """x_σ = (1 - σ)·clean + σ·noise, in the shape and dtype of the clean batch."""
    velocity: Tensor
    """noise - clean in float32, what the model is to predict: dx/dσ."""


def add_noise(clean: Tensor, sigma: Tensor, generators: Generators) -> Noised:
    """`clean` (B, …) at the noise levels `sigma` (B,) in 0..1, with standard normal noise.

    SAMA Eq. 1 counts time from noise to data (t = 1 - σ, v = data - noise). The released sampler
    integrates noise - clean over σ, and so does this.
    """
    noise = per_sample(
        len(clean),
        generators,
        lambda count, generator: torch.randn(
            (count, *clean.shape[1:]), generator=generator, device=generator.device
        ),
    ).to(clean.device)
    exact, level = clean.float(), level_for(sigma, clean)
    return Noised(((1 - level) * exact + level * noise).to(clean.dtype), noise - exact)


def level_for(sigma: Tensor, batch: Tensor) -> Tensor:
    """`sigma` (B,) in float32, on the device of `batch` (B, …) and shaped to broadcast with it."""
    return sigma.to(batch.device, torch.float32).reshape(-1, *[1] * (batch.ndim - 1))


def per_sample(
    batch: int, generators: Generators, draw: Callable[[int, Generator], Tensor]
) -> Tensor:
    """`draw(count, generator)` → (count, …) for the whole batch, or for each sample by itself.

    Raises SamaError when there are generators for another number of samples.
    """
    if isinstance(generators, Generator):
        return draw(batch, generators)
    if len(generators) != batch:
        raise SamaError(
            needed(
                "generators",
                len(generators),
                f"one, or one for each of {batch} samples",
                "Give every sample of the batch its generator.",
            )
        )
    return torch.cat([draw(1, generator) for generator in generators])


def check_same_shape(what: str, predicted: Tensor, wanted: Tensor) -> None:
    """SamaError unless the shapes are equal: the difference would broadcast without a word."""
    if predicted.shape != wanted.shape:
        raise SamaError(
            needed(
                what,
                f"shape {tuple(predicted.shape)}",
                f"{tuple(wanted.shape)}",
                "Prediction and target must come from the same batch and model.",
            )
        )


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
    """The timestep (B,) in 0…1000 that the model takes: 1000 σ, in bfloat16 as at inference.

    Deviation: the framework's training also noises at the level nearest to the rounded timestep.
    Its sampler, and this, keep the exact level and round only what the model takes.
    """
    return round_timestep(sigma * TRAIN_TIMESTEPS)


def timestep_weight(
    sigma: Tensor, shift: float = DEFAULT_SHIFT, weighting: str = "uniform"
) -> Tensor:
    """(B,) weight of each sample's loss by its noise level; 1 on average over the levels.

    "uniform" is 1. "bell" is the framework's exp(-2·((t - 500) / 1000)²), lowered so that it is 0
    at t = 1000, where it is smallest, then scaled to mean 1. Unverified: whether SAMA used it;
    "uniform" is the paper's Eq. 1 as written. Raises SamaError for another name.
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
