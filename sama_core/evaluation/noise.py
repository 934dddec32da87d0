"""The noise of one clip, as ComfyUI and SAMA's sampling wrapper draw it: a function of (seed, index) alone.

Shape legend: C latent channels, T latent frames, H x W latent pixels, S semantic tokens of width E.
"""

import hashlib

import torch
from torch import Tensor


def clip_seed(seed: int, index: int) -> int:
    """The seed that clip `index` of a run is sampled with, below 2³² (all that torch's CPU generator keeps)."""
    return (seed * 1_000_003 + index) % 2 ** 32


def joint_noise(video: tuple[int, ...], semantic: tuple[int, int], seed: int) -> tuple[Tensor, Tensor]:
    """Noise (C, T, H, W) and (S, E) of a run with this seed, equal to `comfyui.joint_state`'s (a test compares).

    The semantic stream is seeded by the run's seed and the video noise's first 16 values, see `semantic_noise` there.
    """
    video_noise = torch.randn((1, *video), generator=torch.Generator().manual_seed(seed))[0]
    start = (video_noise.flatten()[:16] * 64).round().to(torch.int16)
    mark = int.from_bytes(hashlib.blake2b(start.numpy().tobytes(), digest_size=8).digest(), "big")
    generator = torch.Generator().manual_seed((seed ^ mark) & (2 ** 63 - 1))
    return video_noise, torch.randn(semantic, generator=generator)
