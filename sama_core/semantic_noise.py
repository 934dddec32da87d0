"""The noise that the semantic tokens of a run start from."""

import hashlib

import torch
from torch import Tensor


def semantic_noise(size: tuple[int, int], seed: int | None, video_noise: Tensor) -> Tensor:
    """Float32 noise (B, S, E) for video noise (B, …): a function of the seed and of each sample's own noise.

    So an item taken out of a batch can be made again alone, and, since the first values of the first
    sample do not depend on the size, a draft and the full edit plan alike.
    Deviation: the released script draws it from the GPU's unseeded generator, so that the same
    seed gives another result on every run.
    """
    def one(sample: Tensor) -> Tensor:
        # Coarse enough that a last-digit difference between processors does not matter.
        start = (sample.flatten()[:16].float() * 64).round().to("cpu", torch.int16)
        mark = int.from_bytes(hashlib.blake2b(start.numpy().tobytes(), digest_size=8).digest(), "big")
        generator = torch.Generator("cpu").manual_seed(((seed or 0) ^ mark) & (2**63 - 1))
        return torch.randn(size, generator=generator, dtype=torch.float32)
    return torch.stack([one(sample) for sample in video_noise])
