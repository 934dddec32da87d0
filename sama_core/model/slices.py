"""Long sequences in slices: what is done token by token need not be done for all tokens at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

NORM_SLICE = 2_048
"""Tokens normed and rotated at once. Their float32 copies are the only temporaries, and no large weight is used."""
FEED_FORWARD_SLICES = 2
"""With two, the wide hidden layer before and after its activation takes little more than attention holds anyway. More
would save nothing, and a feed-forward whose weights are streamed to the GPU is streamed once a slice."""
WHOLE_TOKENS = 8_192
"""So many tokens and fewer stay whole in the feed-forward: their memory is small, and weights come over once."""


def feed_forward_slice(tokens: int) -> int:
    """Tokens that the feed-forward takes at once."""
    return tokens if tokens <= WHOLE_TOKENS else -(-tokens // FEED_FORWARD_SLICES)


def token_slices(size: int, *tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """Views of slices of tensors (B, N, …), of `size` tokens each but the last."""
    return list(zip(*(tensor.split(size, dim=1) for tensor in tensors), strict=True))
