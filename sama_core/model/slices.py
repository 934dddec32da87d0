"""Long sequences in slices: operations on single tokens need not run on all tokens at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

NORM_SLICE = 2_048
"""Tokens that are normed and rotated at once. Their float32 copies are the only temporaries, and
no large weight is involved."""
FEED_FORWARD_SLICES = 2
"""With two, the wide hidden layer before and after its activation takes little more memory than
attention needs anyway. More slices would save nothing, and weights that are streamed to the GPU
cross once per slice."""
WHOLE_TOKENS = 8_192
"""Up to this many tokens the feed-forward is not sliced: it needs little memory, and streamed
weights cross once."""


def feed_forward_slice(tokens: int) -> int:
    """How many of `tokens` tokens the feed-forward processes at once."""
    return tokens if tokens <= WHOLE_TOKENS else -(-tokens // FEED_FORWARD_SLICES)


def token_slices(size: int, *tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """Views of tensors (B, N, …), cut along N into slices of `size` tokens, the last shorter.

    Every entry holds one view of each tensor.
    """
    return list(zip(*(tensor.split(size, dim=1) for tensor in tensors), strict=True))
