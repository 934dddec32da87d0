"""Norms that compute in the type of what they are given, as they do when a clip is edited.

Under autocast a card normalises in float32 and hands float32 on: twice the memory, for every norm
of a block that the backward pass needs. Its kernels sum in float32 either way.
"""

from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn import functional


class HalfLayerNorm(nn.LayerNorm):
    """A LayerNorm that autocast leaves alone."""

    def forward(self, x: Tensor) -> Tensor:
        """`x` (…, D) → the same shape and type."""
        weight, bias = _cast(self.weight, x), _cast(self.bias, x)
        with torch.autocast(x.device.type, enabled=False):
            return functional.layer_norm(x, self.normalized_shape, weight, bias, self.eps)


class HalfRMSNorm(nn.RMSNorm):
    """An RMSNorm that autocast leaves alone, with a fused kernel in every type."""

    def forward(self, x: Tensor) -> Tensor:
        """`x` (…, D) → the same shape and type."""
        weight = _cast(self.weight, x)
        with torch.autocast(x.device.type, enabled=False):
            return functional.rms_norm(x, self.normalized_shape, weight, self.eps)


def _cast(weight: Tensor | None, x: Tensor) -> Tensor | None:
    return None if weight is None else weight.to(x.dtype)


HALF = SimpleNamespace(
    Linear=nn.Linear,
    Conv3d=nn.Conv3d,
    Embedding=nn.Embedding,
    LayerNorm=HalfLayerNorm,
    RMSNorm=HalfRMSNorm,
)
"""Layers for a `SamaDiT` whose hidden states are in 16 bit."""
