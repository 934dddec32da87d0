"""The order in which self-attention gets its tokens.

Attention that looks at a few blocks of keys only is wrong for SAMA twice over, if it gets the
tokens as they are:

    [ source | semantic | target ]     a target token's own source token is half a sequence away:
                                       blocks beside its own are looked at always, that one by luck
    the semantic queries are zero      they must average all values; by their scores nothing can be
                                       chosen

Attention does not depend on the order. So such a function gets blocks of source and target by
turns, each beside its own, and the semantic tokens last

    [ source 0 | target 0 | source 1 | target 1 | … | semantic ]

and the semantic rows of its result are replaced by the mean of all values, which is exact.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .tokens import TokenLayout

BLOCK_SPARSE = "sama_block_sparse"
"""Key of `transformer_options`: tokens of a block, where the attention function looks at blocks."""
TOKEN_ORDER = "sama_token_order"
"""Key of `transformer_options`: the call's `TokenOrder`."""
BLOCK = 64
"""Tokens of a block in ComfyUI's Model Sparse Attention."""


class TokenOrder:
    """The order as it is, for attention functions that look at everything."""

    def arrange(self, x: Tensor) -> Tensor:
        """`x` (B, N, D) as the attention function is to get it."""
        return x

    def undo(self, arranged: Tensor) -> Tensor:
        """The opposite of `arrange`."""
        return arranged

    def finish(self, out: Tensor, v: Tensor) -> Tensor:
        """The function's result `out` in the sequence's order; `v` are the arranged values."""
        return out


AS_IT_IS = TokenOrder()


@dataclass(frozen=True)
class BlockOrder(TokenOrder):
    """Source and target by turns, semantic tokens last: see above."""

    there: Tensor
    """(N,) which token comes at each place."""
    back: Tensor
    """(N,) at which place each token is."""
    semantic: slice
    """The semantic tokens in the sequence's own order."""

    @classmethod
    def of(cls, layout: TokenLayout, device: torch.device, block: int) -> "BlockOrder":
        """The order for a layout and an attention function with blocks of `block` tokens."""
        turn = torch.arange(layout.target, device=device) // block * 2
        last = turn.new_full((layout.semantic,), 2 * layout.target + 2)
        there = torch.cat([turn[: layout.source], last, turn + 1]).argsort(stable=True)
        return cls(there, there.argsort(), layout.semantic_slice)

    def arrange(self, x: Tensor) -> Tensor:
        """See `TokenOrder`."""
        return x[:, self.there]

    def undo(self, arranged: Tensor) -> Tensor:
        """See `TokenOrder`."""
        return arranged[:, self.back]

    def finish(self, out: Tensor, v: Tensor) -> Tensor:
        """See `TokenOrder`; the semantic rows are exact whatever `out` holds there."""
        out = self.undo(out)
        mean = v.mean(dim=1, keepdim=True, dtype=torch.promote_types(v.dtype, torch.float32))
        out[:, self.semantic] = mean.to(out.dtype)
        return out
