"""SAMA's noise schedule and the reference denoising loop, for tests and scripts.

Inside ComfyUI its own samplers run; the node SAMA Sigmas gives them `flow_sigmas`.
Source: release `FlowMatchScheduler(shift=5, sigma_min=0, extra_one_step=True)` and pipeline loop.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from ..errors import ConditioningError, needed
from ..released_files import SAMA_14B

DEFAULT_STEPS, DEFAULT_SHIFT, DEFAULT_CFG = SAMA_14B.steps, SAMA_14B.shift, SAMA_14B.cfg
TRAIN_TIMESTEPS = 1000
"""The model's timestep at σ = 1."""


def flow_sigmas(steps: int, shift: float = DEFAULT_SHIFT) -> Tensor:
    """`(steps + 1,)` float32 noise levels σ from 1 to 0.

    σ = shift·u / (1 + (shift − 1)·u) with u = 1 − i/steps. Raises ConditioningError for 0 steps.
    """
    if steps < 1:
        raise ConditioningError(
            needed("steps", steps, "at least 1", "Use 50 for the trained quality.")
        )
    u = torch.linspace(1, 0, steps + 1)
    return shift * u / (1 + (shift - 1) * u)


def round_timestep(timestep: Tensor) -> Tensor:
    """`timestep` rounded to the nearest bfloat16 value, in its own dtype.

    SAMA was trained with bfloat16 timesteps (995.93 → 996, 991.74 → 992, …); without the rounding
    the time embedding differs by about 22 %.
    """
    return timestep.to(torch.bfloat16).to(timestep.dtype)


@torch.no_grad()
def denoise(
    model: Callable[..., tuple[Tensor, Tensor | None]],
    noise: Tensor,
    semantic_noise: Tensor | None,
    positive: Tensor,
    negative: Tensor,
    source_latents: Tensor | None,
    sigmas: Tensor,
    cfg: float = DEFAULT_CFG,
    bf16_timestep: bool = True,
    anchor: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """The reference Euler loop: both streams share timestep, sigmas and classifier-free guidance.

    noise (B, C, T, H, W) · semantic_noise (B, S, E) or None · positive, negative (B, L, text_dim) ·
    source_latents like noise or None, given to both branches · sigmas (steps + 1,).
    `bf16_timestep` rounds the timestep's value only; state and sinusoid stay float32.
    With `cfg` 1 the negative branch is not evaluated. `anchor` (B, C, t, H, W) are the first
    frames of the result, which are clean in every step.
    → the final latents and semantic latents.
    """
    latents, semantic = _keep_anchor(noise, anchor), semantic_noise
    for sigma, sigma_next in pairwise(sigmas):
        timestep = (sigma * TRAIN_TIMESTEPS).to(noise.device).reshape(1)
        if bf16_timestep:
            timestep = round_timestep(timestep)
        video, plan = model(latents, timestep, positive, source_latents, semantic)
        if cfg != 1.0:
            away, away_plan = model(latents, timestep, negative, source_latents, semantic)
            video = _guide(video, away, cfg)
            plan = None if plan is None or away_plan is None else _guide(plan, away_plan, cfg)
        step = (sigma_next - sigma).to(noise.device)
        latents = _keep_anchor(latents + video * step, anchor)
        semantic = None if semantic is None or plan is None else semantic + plan * step
    return latents, semantic


def _guide(positive: Tensor, negative: Tensor, cfg: float) -> Tensor:
    """Classifier-free guidance of one stream's velocity."""
    return negative + cfg * (positive - negative)


def _keep_anchor(latents: Tensor, anchor: Tensor | None) -> Tensor:
    """`latents` that begin with the frames of `anchor`."""
    if anchor is None:
        return latents
    return torch.cat([anchor, latents[:, :, anchor.shape[2] :]], 2)
