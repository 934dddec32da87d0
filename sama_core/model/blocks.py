"""The Wan 2.1 transformer block and output head."""

from typing import Any

import torch
from torch import Tensor, nn

from .attention import AttentionFn, CrossAttention, SelfAttention
from .config import DitConfig
from .memory_law import feed_forward_slice, token_slices
from .rotary import RotaryTable


def _cast(parameter: Tensor, like: Tensor) -> Tensor:
    """`parameter` on the device and in the dtype of `like`.

    ComfyUI casts the weights of layers only; a bare parameter of a block is cast here.
    """
    return parameter.to(device=like.device, dtype=like.dtype)


class DitBlock(nn.Module):
    """Self-attention, text cross-attention and feed-forward, modulated by the timestep (AdaLN)."""

    def __init__(
        self,
        config: DitConfig,
        operations: Any,
        attention: AttentionFn,
        device: torch.device | None,
        dtype: torch.dtype | None,
    ):
        super().__init__()
        dim, eps = config.dim, config.eps
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        self.norm1 = operations.LayerNorm(dim, eps, elementwise_affine=False, **factory)
        self.self_attn = SelfAttention(dim, config.num_heads, eps, operations, attention, **factory)
        self.norm3 = operations.LayerNorm(dim, eps, elementwise_affine=True, **factory)
        self.cross_attn = CrossAttention(
            dim, config.num_heads, eps, operations, attention, **factory
        )
        self.norm2 = operations.LayerNorm(dim, eps, elementwise_affine=False, **factory)
        self.ffn = nn.Sequential(
            operations.Linear(dim, config.ffn_dim, **factory),
            nn.GELU(approximate="tanh"),
            operations.Linear(config.ffn_dim, dim, **factory),
        )
        self.modulation = nn.Parameter(torch.empty(1, 6, dim, **factory))

    def forward(
        self,
        x: Tensor,
        e: Tensor,
        freqs: RotaryTable,
        context: Tensor,
        transformer_options: dict | None = None,
        **_ignored: Any,
    ) -> Tensor:
        """`x` (B, N, D), `e` (B, 6, D) timestep modulation, `context` (B, L, D) → (B, N, D)."""
        options = {} if transformer_options is None else transformer_options
        shift_msa, scale_msa, gate_msa, shift_mlp, scale_mlp, gate_mlp = (
            _cast(self.modulation, x) + e
        ).chunk(6, dim=1)
        x = torch.addcmul(
            x,
            self.self_attn(torch.addcmul(shift_msa, self.norm1(x), 1 + scale_msa), freqs, options),
            gate_msa,
        )
        x = x + self.cross_attn(self.norm3(x), context, transformer_options=options)
        for patch in options.get("patches", {}).get("attn2_patch", ()):
            x = patch({"x": x, "transformer_options": options})
        return self._feed_forward(x, shift_mlp, 1 + scale_mlp, gate_mlp)

    def _feed_forward(self, x: Tensor, shift: Tensor, scale: Tensor, gate: Tensor) -> Tensor:
        """x + gate · ffn(modulated norm of x).

        Without grad it runs slice by slice, so that the wide hidden layer takes less memory.
        """
        if torch.is_grad_enabled():
            return torch.addcmul(x, self.ffn(torch.addcmul(shift, self.norm2(x), scale)), gate)
        out = torch.empty_like(x)
        for rows, result in token_slices(feed_forward_slice(x.shape[1]), x, out):
            torch.addcmul(
                rows, self.ffn(torch.addcmul(shift, self.norm2(rows), scale)), gate, out=result
            )
        return out


class Head(nn.Module):
    """Wan's output head: modulated norm and a projection to the values of one patch."""

    def __init__(
        self,
        config: DitConfig,
        patch_volume: int,
        operations: Any,
        device: torch.device | None,
        dtype: torch.dtype | None,
    ):
        super().__init__()
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        self.norm = operations.LayerNorm(
            config.dim, config.eps, elementwise_affine=False, **factory
        )
        self.head = operations.Linear(config.dim, patch_volume * config.out_dim, **factory)
        self.modulation = nn.Parameter(torch.empty(1, 2, config.dim, **factory))

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        """`x` (B, n, D), `e` (B, D) timestep embedding → (B, n, patch volume · out channels)."""
        shift, scale = (_cast(self.modulation, x) + e.unsqueeze(1)).chunk(2, dim=1)
        return self.head(torch.addcmul(shift, self.norm(x), 1 + scale))
