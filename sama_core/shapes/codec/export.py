"""The trained VAE as a file for the ordinary loaders, with latents in Wan's own normalisation.

ComfyUI and SAMA give the DiT (z − mean) / std with the constants of Wan 2.1. An affine map per
channel is folded into the last convolution of the encoder and the first of the decoder, so that
these normalised latents have mean 0 and deviation 1 on given clips.
"""

import json
from pathlib import Path

import torch
from torch import Tensor

from ...encoders.vae import WanVae
from ...encoders.vae_layout import WAN_MEAN, WAN_STD
from ...weights.write import write_safetensors


@torch.no_grad()
def fold_affine(vae: WanVae, scale: Tensor, shift: Tensor) -> None:
    """Make `encode` return scale · z + shift instead of z, and `decode` invert that. Exact.

    scale and shift (C,) for C latent channels.
    """
    encoded, decoded = vae.conv1.weight, vae.conv2.weight
    bias = vae.conv1.get_parameter("bias")
    encoded[: len(scale)] *= scale.view(-1, 1, 1, 1, 1)
    bias[: len(scale)] = bias[: len(scale)] * scale + shift
    decoded /= scale.view(1, -1, 1, 1, 1)
    vae.conv2.get_parameter("bias").sub_(decoded[..., 0, 0, 0] @ shift)


@torch.no_grad()
def fold_standard(vae: WanVae, clips: Tensor) -> None:
    """Give latent channels mean 0 and, unless constant, deviation 1 on clips (B, 3, F, H, W)."""
    latents = torch.cat([vae.encode(part) for part in clips.split(8)])
    spread, centre = latents.std((0, 2, 3, 4)), latents.mean((0, 2, 3, 4))
    scale = torch.where(spread > 1e-4, 1 / spread, 1.0)
    fold_affine(vae, scale, -centre * scale)


def fold_wan(vae: WanVae) -> None:
    """Turn standard latents into those that Wan's normalisation makes standard."""
    fold_affine(vae, torch.tensor(WAN_STD), torch.tensor(WAN_MEAN))


def unfold_wan(vae: WanVae) -> None:
    """The inverse of `fold_wan`."""
    scale = 1 / torch.tensor(WAN_STD)
    fold_affine(vae, scale, -torch.tensor(WAN_MEAN) * scale)


def export(vae: WanVae, path: Path, facts: dict) -> None:
    """Write `vae`, whose latents are standard, as float16 in Wan's normalisation.

    `facts` go into the metadata. `vae` itself is changed by `fold_wan`.
    """
    fold_wan(vae)
    weights = {name: value.half() for name, value in vae.state_dict().items()}
    metadata = {
        "format": "pt",
        "modelspec.title": "SAMA-Shapes VAE (Wan 2.1 layout)",
        "training": json.dumps(facts),
    }
    write_safetensors(path, weights, metadata)
