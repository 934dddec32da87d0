"""Noisy latents as the sampler meets them: on the model's own path instead of the data's.

    noise ──one Euler step of the model──▶ x_σ = noise - (1 - σ)·v̂        to learn there: v = (x_σ - clean) / σ

On the data's path alone a model learns to take what is drawn already for the truth, and the mistakes of the sampler's
first steps stay. Deviation: not SAMA's. One step instead of the sampler's many, so that it costs one forward pass.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from .mixture import JointInputs, JointObjective, Prediction
from .noising import Generators, Noised, level_for, per_sample
from .timesteps import model_timestep

LOWEST_SIGMA = 0.25
"""Below it samples stay on the data's path: what mends a mistake d is a velocity (1 - σ) / σ · d larger."""


@torch.no_grad()
def on_own_path(
    model: Callable[..., Prediction],
    inputs: JointInputs,
    context: Tensor,
    source_latents: Tensor | None,
    share: float,
    generators: Generators,
) -> JointInputs:
    """`inputs`, with video and semantic tokens of about `share` of the samples where the model's first step leads.

    Draws one number per sample. The model is called even if no sample takes part: sharded processes wait for it.
    """
    drawn = per_sample(
        len(context),
        generators,
        lambda count, generator: torch.rand(count, generator=generator, device=generator.device),
    ).to(inputs.sigma.device)
    chosen = (drawn < share) & (inputs.sigma >= LOWEST_SIGMA)
    rows = (chosen if chosen.any() else drawn == drawn.min()).nonzero().flatten()
    predicted = JointObjective.predict(
        model,
        _pure_noise(inputs, rows),
        context[rows],
        None if source_latents is None else source_latents[rows],
    )
    if not chosen.any():
        return inputs
    sigma = inputs.sigma[rows]
    semantic = (
        None if inputs.semantic is None else _stepped(inputs.semantic, rows, sigma, predicted[1])
    )
    return replace(
        inputs, video=_stepped(inputs.video, rows, sigma, predicted[0]), semantic=semantic
    )


def _pure_noise(inputs: JointInputs, rows: Tensor) -> JointInputs:
    """These samples where the sampler begins."""

    def noise(stream: Noised | None) -> Noised | None:
        if stream is None:
            return None
        whole = stream.noisy.float() + (1 - level_for(inputs.sigma, stream.noisy)) * stream.velocity
        return Noised(whole[rows].to(stream.noisy.dtype), stream.velocity[rows])

    sigma = torch.ones_like(inputs.sigma[rows])
    return JointInputs(sigma, model_timestep(sigma), noise(inputs.video), noise(inputs.semantic))


def _stepped(stream: Noised, rows: Tensor, sigma: Tensor, predicted: Tensor) -> Noised:
    """`stream` with `rows` moved from pure noise down to `sigma` by the predicted velocity."""
    level, velocity = level_for(sigma, stream.noisy), stream.velocity[rows]
    clean = stream.noisy[rows].float() - level * velocity
    noisy = clean + velocity - (1 - level) * predicted.float()
    return Noised(
        stream.noisy.index_copy(0, rows, noisy.to(stream.noisy.dtype)),
        stream.velocity.index_copy(0, rows, (noisy - clean) / level),
    )
