"""The trained VAE as a file that the ordinary loaders take, its latents in Wan's own normalisation.

ComfyUI and SAMA give the DiT (z - mean) / std with Wan 2.1's constants. An affine map per channel, folded into the
last convolution of the encoder and the first of the decoder, makes that have mean 0 and deviation 1 on given clips.
"""

import json
from pathlib import Path

import torch
from torch import Tensor

from ...files import write_safetensors
from .wan_vae import LATENT_CHANNELS, WanVae

# Wan 2.1's latent constants (wan/modules/vae.py; the same as in tests/golden/vae_small).
WAN_MEAN = (-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
            0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921)
WAN_STD = (2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
           3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160)


@torch.no_grad()
def fold_affine(vae: WanVae, scale: Tensor, shift: Tensor) -> None:
    """From now on `encode` gives scale * z + shift (16,) of what it gave, and `decode` undoes that first. Exact."""
    vae.conv1.weight[:LATENT_CHANNELS] *= scale.view(-1, 1, 1, 1, 1)
    vae.conv1.bias[:LATENT_CHANNELS] = vae.conv1.bias[:LATENT_CHANNELS] * scale + shift
    vae.conv2.weight /= scale.view(1, -1, 1, 1, 1)
    vae.conv2.bias -= vae.conv2.weight[..., 0, 0, 0] @ shift


@torch.no_grad()
def fold_standard(vae: WanVae, clips: Tensor) -> None:
    """Give each latent channel mean 0 and, if it changes at all, deviation 1 on clips (B, 3, F, H, W)."""
    latents = torch.cat([vae.encode(part) for part in clips.split(8)])
    spread, centre = latents.std((0, 2, 3, 4)), latents.mean((0, 2, 3, 4))
    scale = torch.where(spread > 1e-4, 1 / spread, 1.0)
    fold_affine(vae, scale, -centre * scale)


def fold_wan(vae: WanVae) -> None:
    """From standard latents to those that Wan's normalisation makes standard."""
    fold_affine(vae, torch.tensor(WAN_STD), torch.tensor(WAN_MEAN))


def unfold_wan(vae: WanVae) -> None:
    """The inverse of `fold_wan`."""
    scale = 1 / torch.tensor(WAN_STD)
    fold_affine(vae, scale, -torch.tensor(WAN_MEAN) * scale)


def export(vae: WanVae, path: Path, facts: dict) -> None:
    """Write `vae`, whose latents are standard, as float16 in Wan's normalisation; `facts` go into the metadata."""
    fold_wan(vae)
    weights = {name: value.half() for name, value in vae.state_dict().items()}
    metadata = {"format": "pt", "modelspec.title": "SAMA-Shapes VAE (Wan 2.1 layout)", "training": json.dumps(facts)}
    write_safetensors(path, weights, metadata)
