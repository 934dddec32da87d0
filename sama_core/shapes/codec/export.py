"""The trained VAE as a file that the ordinary loaders take, its latents in Wan's own normalisation.

ComfyUI and SAMA give the DiT (z - mean) / std with Wan 2.1's constants. An affine map per channel, folded into the
last convolution of the encoder and the first of the decoder, makes that have mean 0 and deviation 1 on given clips.
"""

import json
from pathlib import Path

import torch
from torch import Tensor

from ...encoders.vae import LATENT_CHANNELS, WanVae
from ...encoders.vae_layout import WAN_MEAN, WAN_STD
from ...weights.write import write_safetensors


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
    metadata = {
        "format": "pt",
        "modelspec.title": "SAMA-Shapes VAE (Wan 2.1 layout)",
        "training": json.dumps(facts),
    }
    write_safetensors(path, weights, metadata)
