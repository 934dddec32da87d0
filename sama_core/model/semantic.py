"""The two modules that carry semantic tokens in and out of the transformer (SAMA §3.2).

They hold 0.1 % of the parameters, so ComfyUI keeps them in float32 (`compute_dtype`) whatever the
blocks are stored in: quantising them costs more than it saves. Without a compute dtype they follow
their own weights.
"""

from typing import Any

import torch
from torch import Tensor, nn

from ..config import DitConfig


class SemanticProjector(nn.Module):
    """`siglip_feat_mlp`: LayerNorm, Linear, exact GELU, Linear; noisy semantic latents → tokens."""

    def __init__(self, config: DitConfig, operations: Any, device: torch.device | str | None,
                 compute_dtype: torch.dtype | None, dtype: torch.dtype | None):
        super().__init__()
        self.compute_dtype = compute_dtype
        factory = {"device": device, "dtype": compute_dtype or dtype}
        self.norm = operations.LayerNorm(config.semantic_dim, config.eps, **factory)
        self.fc1 = operations.Linear(config.semantic_dim, config.semantic_hidden, **factory)
        self.fc2 = operations.Linear(config.semantic_hidden, config.dim, **factory)

    def forward(self, semantic_latents: Tensor) -> Tensor:
        """(B, S, E) → (B, S, D)."""
        x = self.norm(semantic_latents.to(self.compute_dtype or self.norm.weight.dtype))
        return self.fc2(nn.functional.gelu(self.fc1(x))).to(semantic_latents.dtype)


class SemanticHead(nn.Module):
    """`semantic_head`: LayerNorm and Linear, without timestep modulation; hidden states → velocity."""

    def __init__(self, config: DitConfig, operations: Any, device: torch.device | str | None,
                 compute_dtype: torch.dtype | None, dtype: torch.dtype | None):
        super().__init__()
        self.compute_dtype = compute_dtype
        factory = {"device": device, "dtype": compute_dtype or dtype}
        self.norm = operations.LayerNorm(config.dim, config.eps, **factory)
        self.proj = operations.Linear(config.dim, config.semantic_dim, **factory)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, S, D) → (B, S, E)."""
        return self.proj(self.norm(hidden.to(self.compute_dtype or self.norm.weight.dtype))).to(hidden.dtype)
