"""How much each channel of a codec's latents shows in the picture: weights of the velocity loss."""

import torch
from torch import Tensor

from ...encoders.latent_space import LatentSpace

PROBE = 0.2
"""Deviation of the noise that a channel is probed with, in normalised latents."""


@torch.no_grad()
def channel_weights(space: LatentSpace, latents: Tensor, power: float) -> Tensor:
    """Normalised latents (B, C, T, H, W) to probe around → (C,) weights on the CPU, with mean 1.

    Codecs are uneven: an error in the embedded one's first channel decodes to ten times the squared
    pixel error of one in the next. A weight is the mean squared pixel error that noise in the
    channel decodes to, to `power`. The same on every call.
    """
    latents = latents.float().to(space.device)
    clean, generator = space.decode(latents).float(), torch.Generator().manual_seed(0)
    noise = PROBE * torch.randn(latents[:, 0].shape, generator=generator).to(space.device)
    shares = []
    for channel in range(latents.shape[1]):
        probed = latents.clone()
        probed[:, channel] += noise
        shares.append((space.decode(probed).float() - clean).square().mean())
    weights = torch.stack(shares).cpu() ** power
    return weights / weights.mean()
