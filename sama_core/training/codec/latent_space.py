"""Frames to the latents that the DiT sees, and back: a VAE between its two changes of range."""

import torch
from torch import Tensor

from .export import WAN_MEAN, WAN_STD
from .wan_vae import WanVae


class LatentSpace:
    """Wan 2.1's normalisation around a VAE, on the VAE's device; the VAE computes in its own dtype."""

    def __init__(self, vae: WanVae):
        """`vae` is used as it is, where it is; call `skip_idle` on it for speed."""
        self.vae, weight = vae, next(vae.parameters())
        self.device, self.dtype = weight.device, weight.dtype
        self.mean, self.deviation = (torch.tensor(values, device=self.device).view(-1, 1, 1, 1)
                                     for values in (WAN_MEAN, WAN_STD))

    def encode(self, clips: Tensor) -> Tensor:
        """(B, F, H, W, 3) in 0..1 → normalised (B, 16, T, H/8, W/8) float32."""
        signed = (clips.movedim(-1, 1) * 2 - 1).to(self.device, self.dtype)
        return (self.vae.encode(signed).float() - self.mean) / self.deviation

    def decode(self, latents: Tensor) -> Tensor:
        """Normalised latents → (B, F, H, W, 3), around 0..1, not clamped."""
        return self.vae.decode((latents * self.deviation + self.mean).to(self.dtype)).movedim(1, -1) / 2 + 0.5
