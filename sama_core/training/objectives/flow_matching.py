"""Flow matching on the target video's latents: SAMA Eq. 1.

L_FM = E ‖v - (noise - clean)‖², with v = model((1 - σ)·clean + σ·noise, 1000 σ, text, source)
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...model.schedule import DEFAULT_SHIFT
from .noising import Generators, Noised, add_noise, check_same_shape
from .timesteps import draw_sigmas, timestep_weight


@dataclass(frozen=True)
class FlowMatching:
    """Prepares noisy latents and measures the predicted velocity."""

    shift: float = DEFAULT_SHIFT
    """Shift of the sampled timesteps; 5 is the released sampler's. Unverified for training (see `timesteps`)."""
    timestep_weighting: str = "uniform"
    """"uniform", or "bell" as in the framework. Unverified: which of them SAMA used."""

    def draw_sigmas(self, batch: int, generators: Generators) -> Tensor:
        """(B,) noise levels, shared by video and semantic tokens."""
        return draw_sigmas(batch, generators, self.shift)

    def prepare(self, clean: Tensor, sigma: Tensor, generators: Generators) -> Noised:
        """Clean latents (B, C, T, H, W) and levels (B,) → noisy latents and their velocity."""
        return add_noise(clean, sigma, generators)

    def losses(
        self,
        predicted: Tensor,
        velocity: Tensor,
        sigma: Tensor,
        element_weight: Tensor | None = None,
    ) -> Tensor:
        """Predicted and true velocity (B, C, T, H, W), levels (B,) → mean squared error (B,), float32.

        `element_weight` ≥ 0 broadcasts to the latents and makes it a weighted mean: weights of 0 leave cells out,
        equal weights change nothing, and a sample with no weight at all has loss 0.
        """
        check_same_shape("predicted video velocity", predicted, velocity)
        error = (predicted.float() - velocity.float()).square()
        weight = timestep_weight(sigma.to(error.device), self.shift, self.timestep_weighting)
        return weight * weighted_mean(error, element_weight)


def weighted_mean(values: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean of each sample of `values` (B, …) by `weight`, which broadcasts to it: (B,)."""
    if weight is None:
        return values.flatten(1).mean(1)
    weight = weight.to(values).expand_as(values).flatten(1)
    return (weight * values.flatten(1)).sum(1) / weight.sum(1).clamp_min(
        torch.finfo(values.dtype).tiny
    )
