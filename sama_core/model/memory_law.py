"""How much memory one call of the DiT needs beside its weights, and how slices keep it small.

Operations on single tokens do not run on all tokens of a long sequence at once, but on slices.
What remains is a function of the clip, derived from the block (`model/blocks.py`) and checked by
counting all live tensors (`benchmarks/memory_law.py`). With h = batch · tokens · width · element
size, the peak is at one of four places:

    self-attention   6 h    the block's input, its normed copy, q, k, v and the result
    feed-forward     3 h    the input, the sum before and the sum after; and, for one slice of
                            tokens, the normed rows and the hidden layer before and after its
                            activation
    norms            4 h    the input, its normed copy, q, k; and the float32 copies of one slice.
                            The largest only for single frames, which fit in one slice
    text             3 h    the input, the sum, its normed copy; and the text's keys while they
                            are normed. The largest only if the text has more tokens than the
                            clip, as with the embedded model

Attention is assumed to be a fused kernel (SDPA's flash and memory-efficient kernels, flash-attn),
which holds only its result.
Unverified: what a GPU's allocator and kernels need in addition; not measured on a GPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..geometry import LatentShape
from .config import DitConfig

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


# --- the law ------------------------------------------------------------------------------------

ATTENTION_STATES = 6
FEED_FORWARD_STATES = 3
NORM_STATES = 4
TEXT_STATES = 3
NORM_BYTES = 12
"""Bytes per number of a slice while it is normed without a fused kernel."""
TABLE_BYTES = 4
"""Bytes per rotary factor, cosine or sine."""
TEXT_ROWS = 512
"""Rows of embedded text, as ComfyUI pads it."""

HEADROOM = 1.2
"""Factor for kernels, the allocator and layers with a LoRA, which the law does not count.
Unverified."""


def sequence_tokens(config: DitConfig, latent: LatentShape, source: bool = True) -> int:
    """Tokens of one sequence: source, semantic, target."""
    return (2 if source else 1) * latent.tokens() + config.semantic_tokens


def activation_bytes(
    config: DitConfig,
    latent: LatentShape,
    batch: int = 1,
    element_size: int = 2,
    source: bool = True,
) -> int:
    """Peak bytes of activations of one forward call without grad.

    `element_size` is the bytes per number of the compute dtype. Raises GeometryError if patches
    do not fit the latent.
    """
    tokens = sequence_tokens(config, latent, source)
    state = batch * tokens * config.dim * element_size
    slice_rows = batch * feed_forward_slice(tokens)
    hidden = slice_rows * (config.dim + 2 * config.ffn_dim) * element_size
    text = batch * TEXT_ROWS * config.dim
    constant = tokens * config.head_dim * TABLE_BYTES + text * element_size
    normed = batch * min(tokens, NORM_SLICE) * config.dim * NORM_BYTES
    return constant + max(
        ATTENTION_STATES * state,
        FEED_FORWARD_STATES * state + hidden,
        NORM_STATES * state + normed,
        TEXT_STATES * state + text * (element_size + NORM_BYTES),
    )


def estimated_bytes(
    config: DitConfig,
    latent: LatentShape,
    batch: int = 1,
    element_size: int = 2,
    source: bool = True,
) -> int:
    """`activation_bytes` with headroom: the estimate that ComfyUI gets and plans with."""
    return round(HEADROOM * activation_bytes(config, latent, batch, element_size, source))
