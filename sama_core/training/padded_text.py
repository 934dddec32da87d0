"""Cross-attention to a short text as if it were padded to the 512 rows that inference pads to.

SAMA attends padding rows too, and they are all alike: zero embeddings. Softmax over n equal keys is softmax over one
key with log n added to its score, so one padding row stands for all of them: same numbers, a tenth of the work.
"""

import math

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from ..errors import SamaError, needed
from ..text import MAX_TOKENS


class PaddedText:
    """An `AttentionFn` for keys of `length` text rows, the last of which is padding for every sample."""

    def __init__(self, length: int, padded_to: int = MAX_TOKENS):
        self.length, self.extra = length, padded_to - length

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, heads: int, transformer_options: dict | None = None) -> Tensor:
        """q (B, N, D), k and v (B, length, D) → (B, N, D)."""
        if k.shape[1] != self.length:
            raise SamaError(needed("text", f"{k.shape[1]} rows", f"text_length {self.length}", "Pad the text to it."))
        q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
        stands_for = q.new_zeros(1, 1, 1, self.length)
        stands_for[..., -1] = math.log(1 + self.extra)
        return scaled_dot_product_attention(q, k, v, attn_mask=stands_for).transpose(1, 2).flatten(2)
