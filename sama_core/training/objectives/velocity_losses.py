"""The two objectives, one for each stream of the sequence: both predict velocities, noise - clean.

video latents     FlowMatching        L_FM  = E ‖v - (noise - clean)‖²          SAMA Eq. 1
semantic tokens   SemanticAnchoring   L_sem = ‖ŝ - s‖₁, mean over 65 tokens     SAMA §3.2, Eq. 3

with v, ŝ = model((1 - σ)·clean + σ·noise, 1000 σ, text, source), at one σ per sample for both.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...model.schedule import DEFAULT_SHIFT
from .noising import (
    Generators,
    Noised,
    add_noise,
    check_same_shape,
    draw_sigmas,
    timestep_weight,
)


@dataclass(frozen=True)
class FlowMatching:
    """Prepares noisy latents and measures the predicted velocity: SAMA Eq. 1."""

    shift: float = DEFAULT_SHIFT
    """Shift of the sampled timesteps; 5 is the released sampler's.

    Unverified for training (see `noising`).
    """
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
        """Velocities (B, C, T, H, W), levels (B,) → mean squared error (B,), float32.

        `element_weight` ≥ 0 broadcasts to the latents and makes it a weighted mean: weights of 0
        leave cells out, equal weights change nothing, and a sample with no weight at all has loss
        0.
        """
        check_same_shape("predicted video velocity", predicted, velocity)
        error = (predicted.float() - velocity.float()).square()
        weight = timestep_weight(sigma.to(error.device), self.shift, self.timestep_weighting)
        return weight * weighted_mean(error, element_weight)


@dataclass(frozen=True)
class SemanticAnchoring:
    """Prepares noisy tokens of an anchor frame and measures their velocity: SAMA Eq. 3.

    Unverified, because the code that builds the target is not released:
      * ŝ and s are velocities (noise - clean) here, not clean tokens. The paper's text reads as
        regression of clean tokens, but the released head is named an "eps/v" predictor and its
        output drives the video's own Euler step.
      * The semantic noise level is the video's, sample by sample: the released model takes one
        timestep for both.
      * No timestep weighting. The released loss is the plain mean of the absolute difference, in
        float32.
    """

    weight: float = 0.1
    """λ of SAMA Eq. 4 (§4.1): the share of this loss in the total.

    With 0 the tokens are there but not supervised.
    """

    def prepare(self, clean: Tensor, sigma: Tensor, generators: Generators) -> Noised:
        """Clean tokens (B, S, E) and the video's levels (B,) → noisy tokens and their velocity.

        The noise goes on the raw E-wide tokens, before the projector. Deviation: §3.2 words it as
        noise on the projected tokens; the released code, and with it the released weights, do it
        this way.
        """
        return add_noise(clean, sigma, generators)

    def losses(self, predicted: Tensor, velocity: Tensor) -> Tensor:
        """Predicted and true velocity (B, S, E) → mean absolute error (B,), float32, without λ."""
        check_same_shape("predicted semantic velocity", predicted, velocity)
        return (predicted.float() - velocity.float()).abs().flatten(1).mean(1)


def weighted_mean(values: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean of each sample of `values` (B, …) by `weight`, which broadcasts to it: (B,)."""
    if weight is None:
        return values.flatten(1).mean(1)
    weight = weight.to(values).expand_as(values).flatten(1)
    return (weight * values.flatten(1)).sum(1) / weight.sum(1).clamp_min(
        torch.finfo(values.dtype).tiny
    )
