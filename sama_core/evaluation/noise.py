"""The noise of one clip, as ComfyUI and SAMA's sampling wrapper draw it: a function of (seed, index) alone.

Shape legend: C latent channels, T latent frames, H x W latent pixels, S semantic tokens of width E.
"""

import torch
from torch import Tensor

from ..semantic_noise import semantic_noise


def clip_seed(seed: int, index: int) -> int:
    """The seed that clip `index` of a run is sampled with, below 2³² (all that torch's CPU generator keeps)."""
    return (seed * 1_000_003 + index) % 2 ** 32


def joint_noise(video: tuple[int, ...], semantic: tuple[int, int], seed: int) -> tuple[Tensor, Tensor]:
    """Noise (C, T, H, W) and (S, E) of a run with this seed, as ComfyUI and the sampling wrapper draw it."""
    video_noise = torch.randn((1, *video), generator=torch.Generator().manual_seed(seed))[0]
    return video_noise, semantic_noise(semantic, seed, video_noise[None])[0]
