"""Anchored samples: the first latent frame of the target is given clean, as an edit with an anchor
samples it.

In ComfyUI an anchor is kept by a noise mask, and where the model carries anchors the noise of that
frame is the frame itself, so that it is clean at every noise level (`comfyui.anchors`). The model
takes one timestep for the whole clip, also for the frame that has no noise. Here it is the same:

    noisy[:, :, 0] = clean[:, :, 0], velocity 0, timestep 1000 σ, no loss on that frame

Deviation: SAMA has no anchors.
"""

from dataclasses import replace

import torch
from torch import Tensor

from .mixture import JointInputs
from .noising import Generators, Noised, per_sample


def draw_anchored(count: int, share: float, generators: Generators) -> Tensor:
    """(count,) bool: about `share` of the samples. Draws one number per sample, unless all are
    alike."""
    if share in (0, 1):
        return torch.full((count,), bool(share))
    drawn = per_sample(
        count,
        generators,
        lambda part, generator: torch.rand(part, generator=generator, device=generator.device),
    )
    return drawn < share


def keep_first_frame(inputs: JointInputs, clean: Tensor, anchored: Tensor) -> JointInputs:
    """`inputs` whose video has the first frame of `clean` (B, C, T, H, W) where `anchored` (B,)."""
    kept = _first_frames(clean, anchored)
    video = Noised(
        torch.where(kept, clean, inputs.video.noisy),
        torch.where(kept, torch.zeros_like(inputs.video.velocity), inputs.video.velocity),
    )
    return replace(inputs, video=video)


def spare_first_frame(weight: Tensor | None, latents: Tensor, anchored: Tensor) -> Tensor:
    """Weights that broadcast to `latents` (B, C, T, H, W): `weight`, 0 on the anchored frames."""
    counts = (~_first_frames(latents, anchored)).to(torch.float32)
    return counts if weight is None else counts * weight


def _first_frames(latents: Tensor, anchored: Tensor) -> Tensor:
    """(B, 1, T, 1, 1) bool: the first frame of the anchored samples."""
    first = torch.arange(latents.shape[2], device=latents.device) == 0
    return (anchored.to(latents.device)[:, None] & first).view(len(latents), 1, -1, 1, 1)
