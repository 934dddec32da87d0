"""Self- and cross-attention under Wan 2.1's names: q, k, v, o, norm_q, norm_k."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .memory_law import NORM_SLICE, token_slices
from .once_per_run import once
from .rotary import RotaryTable
from .token_order import AS_IT_IS, TOKEN_ORDER, TokenOrder

AttentionFn = Callable[..., Tensor]
"""`fn(q, k, v, heads, transformer_options=…)`: (B, N, D) tensors in, (B, N, D) out. ComfyUI's
`optimized_attention` has this signature, so its back ends and overrides apply."""


def sdpa(
    q: Tensor, k: Tensor, v: Tensor, heads: int, transformer_options: dict | None = None
) -> Tensor:
    """Torch's scaled dot product attention with the signature of `AttentionFn`."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class _Projections(nn.Module):
    """The four projections and two full-width RMS norms that both attentions share."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        eps: float,
        operations: Any,
        attention: AttentionFn,
        device: torch.device | None,
        dtype: torch.dtype | None,
    ):
        super().__init__()
        self.num_heads = num_heads
        self.attention = attention
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        self.q = operations.Linear(dim, dim, **factory)
        self.k = operations.Linear(dim, dim, **factory)
        self.v = operations.Linear(dim, dim, **factory)
        self.o = operations.Linear(dim, dim, **factory)
        self.norm_q = operations.RMSNorm(dim, eps=eps, **factory)
        self.norm_k = operations.RMSNorm(dim, eps=eps, **factory)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1))

    def _normalise(
        self, projected: Tensor, norm: nn.Module, freqs: RotaryTable | None = None
    ) -> Tensor:
        """RMS norm of `projected` (B, N, D), then the rotation if `freqs` are given.

        Without grad this overwrites `projected` in slices: a forward hook that keeps the output
        of q or k must clone it. Under a compiler nothing is sliced; it fuses the operations.
        """
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self._rotate(norm(projected), freqs)
        tables = () if freqs is None else (freqs.cos[None], freqs.sin[None])
        for rows, *factors in token_slices(NORM_SLICE, projected, *tables):
            table = RotaryTable(*(part[0] for part in factors)) if factors else None
            rows.copy_(self._rotate(norm(rows), table))
        return projected

    def _rotate(self, x: Tensor, freqs: RotaryTable | None) -> Tensor:
        return x if freqs is None else freqs.rotate(self._heads(x)).flatten(2)


class SelfAttention(_Projections):
    """Attention of all tokens to all tokens, with rotary positions."""

    def forward(
        self, x: Tensor, freqs: RotaryTable, transformer_options: dict | None = None
    ) -> Tensor:
        """`x` (B, N, D) → (B, N, D). `attn1_patch` hooks get the attention's output, q and k."""
        options = {} if transformer_options is None else transformer_options
        order: TokenOrder = options.get(TOKEN_ORDER, AS_IT_IS)
        patches = options.get("patches", {}).get("attn1_patch", ())
        q = order.arrange(self._normalise(self.q(x), self.norm_q, freqs))
        k = order.arrange(self._normalise(self.k(x), self.norm_k, freqs))
        v = order.arrange(self.v(x))
        out = self.attention(q, k, v, self.num_heads, transformer_options=options)
        kept = {"q": q, "k": k} if patches else {}
        del q, k
        out = order.finish(out, v)
        del v
        for patch in patches:
            seen = {name: self._heads(order.undo(each)) for name, each in kept.items()}
            out = patch({"x": out, **seen, "transformer_options": options})
            del seen
        del kept
        return self.o(out)


class CrossAttention(_Projections):
    """Attention of all tokens to the text; padding rows are zero embeddings and are attended."""

    def forward(
        self, x: Tensor, context: Tensor, transformer_options: dict | None = None, **_ignored: Any
    ) -> Tensor:
        """`x` (B, N, D), `context` (B, L, D) → (B, N, D).

        Extra keywords are accepted and ignored: node packs for Wan call and replace this method
        with Wan's image-context arguments.
        """
        options = {} if transformer_options is None else transformer_options
        k, v = once(
            options,
            self,
            lambda: (self.norm_k(self.k(context)), self.v(context)),
            of=context,
            by=(self.k, self.v, self.norm_k),
        )
        q = self._normalise(self.q(x), self.norm_q)
        out = self.attention(q, k, v, self.num_heads, transformer_options=options)
        del q
        return self.o(out)
