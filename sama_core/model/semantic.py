"""Semantic tokens (SAMA §3.2): the way into the transformer, the way out, and their first noise.

The two modules hold 0.1 % of the parameters, so ComfyUI keeps them in float32 (`compute_dtype`)
whatever dtype the blocks are stored in: quantising them costs more than it saves. Without a
compute dtype they use the dtype of their own weights.
"""

import hashlib
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .config import DitConfig


class SemanticProjector(nn.Module):
    """`siglip_feat_mlp`: LayerNorm, Linear, exact GELU, Linear; noisy semantic latents → tokens."""

    def __init__(
        self,
        config: DitConfig,
        operations: Any,
        device: torch.device | str | None,
        compute_dtype: torch.dtype | None,
        dtype: torch.dtype | None,
    ):
        super().__init__()
        self.compute_dtype = compute_dtype
        factory = {"device": device, "dtype": compute_dtype or dtype}
        self.norm = operations.LayerNorm(config.semantic_dim, config.eps, **factory)
        self.fc1 = operations.Linear(config.semantic_dim, config.semantic_hidden, **factory)
        self.fc2 = operations.Linear(config.semantic_hidden, config.dim, **factory)

    def forward(self, semantic_latents: Tensor) -> Tensor:
        """(B, S, E) → (B, S, D)."""
        x = self.norm(semantic_latents.to(self.compute_dtype or self.norm.weight.dtype))
        return self.fc2(functional.gelu(self.fc1(x))).to(semantic_latents.dtype)


class SemanticHead(nn.Module):
    """`semantic_head`: LayerNorm and Linear, no timestep modulation; hidden states → velocity."""

    def __init__(
        self,
        config: DitConfig,
        operations: Any,
        device: torch.device | str | None,
        compute_dtype: torch.dtype | None,
        dtype: torch.dtype | None,
    ):
        super().__init__()
        self.compute_dtype = compute_dtype
        factory = {"device": device, "dtype": compute_dtype or dtype}
        self.norm = operations.LayerNorm(config.dim, config.eps, **factory)
        self.proj = operations.Linear(config.dim, config.semantic_dim, **factory)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, S, D) → (B, S, E)."""
        return self.proj(self.norm(hidden.to(self.compute_dtype or self.norm.weight.dtype))).to(
            hidden.dtype
        )


def semantic_noise(size: tuple[int, int], seed: int | None, video_noise: Tensor) -> Tensor:
    """Float32 noise (B, S, E), a function of the seed and of each sample's own video noise (B, …).

    `size` is (S, E). An item of a batch can therefore be sampled again alone. The first values of
    the first sample do not depend on the clip's size, so a draft and the full edit start from the
    same semantic noise.
    Deviation: the released script draws it from the GPU's unseeded generator, so that the same
    seed gives another result on every run.
    """

    def one(sample: Tensor) -> Tensor:
        generator = torch.Generator("cpu").manual_seed(((seed or 0) ^ _mark(sample)) & (2**63 - 1))
        return torch.randn(size, generator=generator, dtype=torch.float32)

    return torch.stack([one(sample) for sample in video_noise])


def seed_for_part(seed: int, whole: Tensor, part: Tensor) -> int:
    """The seed with which noise `part` gets the semantic noise that `whole` gets with `seed`.

    Both are one sample's video noise (1, …). So a draft of a later frame, which starts from that
    frame's part of the clip's noise, has the clip's semantic noise.
    """
    return seed ^ _mark(whole[0]) ^ _mark(part[0])


def _mark(sample: Tensor) -> int:
    """64 bits of the first values of one sample's video noise."""
    # Rounded so coarsely that differences in the last digit between processors do not matter.
    start = (sample.flatten()[:16].float() * 64).round().to("cpu", torch.int16)
    return int.from_bytes(hashlib.blake2b(start.numpy().tobytes(), digest_size=8).digest(), "big")
