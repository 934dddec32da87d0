"""Text for training and the embedded model: instructions → token ids → umT5 → cross-attention.

The encoder has ComfyUI's names, so that its trained weights load in ComfyUI. Relative positions
are per layer, bidirectional, in 32 buckets up to distance 128; attention is not scaled; the
feed-forward is gated with tanh-GELU; norms are RMS without bias (eps 1e-6). Rows after the end of
the text are zero in the output, as in SAMA's prompter.

SAMA also attends padding rows, up to 512 rows in all, and these are equal: zero embeddings. Softmax
over n equal keys is softmax over one key with log n added to its score. `PaddedText` therefore
uses one padding row for all of them: the same numbers for a tenth of the work.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import SamaError, needed
from ..text import MAX_TOKENS, add_tag, clean_instruction
from .umt5_layout import BUCKETS, END, PAD, Umt5Sizes

_MAX_DISTANCE = 128


def position_buckets(length: int, device: torch.device) -> Tensor:
    """(L, L) bucket of the relative position key − query."""
    positions = torch.arange(length, device=device)
    relative = positions[None, :] - positions[:, None]
    half = BUCKETS // 2
    distance, exact = relative.abs(), half // 2
    fraction = torch.log(distance.clamp(min=1).float() / exact) / math.log(_MAX_DISTANCE / exact)
    far = exact + (fraction * (half - exact)).long()
    near_or_far = torch.where(distance < exact, distance, far.clamp(max=half - 1))
    return (relative > 0).long() * half + near_or_far


class _SelfAttention(nn.Module):
    def __init__(self, sizes: Umt5Sizes):
        super().__init__()
        inner = sizes.d_kv * sizes.num_heads
        self.heads = sizes.num_heads
        self.q, self.k, self.v = (nn.Linear(sizes.d_model, inner, bias=False) for _ in range(3))
        self.o = nn.Linear(inner, sizes.d_model, bias=False)
        self.relative_attention_bias = nn.Embedding(BUCKETS, sizes.num_heads)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """`x` (B, L, D), `mask` (B, L) added to the scores of each key → (B, L, D)."""
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        bias = self.relative_attention_bias(position_buckets(x.shape[1], x.device)).permute(2, 0, 1)
        bias = bias.to(q.dtype) + mask[:, None, None, :]
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)
        return self.o(mixed.transpose(1, 2).flatten(2))


class _GatedFeedForward(nn.Module):
    def __init__(self, sizes: Umt5Sizes):
        super().__init__()
        self.wi_0 = nn.Linear(sizes.d_model, sizes.d_ff, bias=False)
        self.wi_1 = nn.Linear(sizes.d_model, sizes.d_ff, bias=False)
        self.wo = nn.Linear(sizes.d_ff, sizes.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.wo(functional.gelu(self.wi_0(x), approximate="tanh") * self.wi_1(x))


class _Sublayer(nn.Module):
    """A residual with a norm before it; the inner module has T5's own name."""

    def __init__(self, name: str, inner: nn.Module, width: int):
        super().__init__()
        self.name = name
        self.add_module(name, inner)
        self.layer_norm = nn.RMSNorm(width, eps=1e-6)

    def forward(self, x: Tensor, *args: Tensor) -> Tensor:
        return x + getattr(self, self.name)(self.layer_norm(x), *args)


class _Block(nn.Module):
    def __init__(self, sizes: Umt5Sizes):
        super().__init__()
        self.layer = nn.ModuleList(
            [
                _Sublayer("SelfAttention", _SelfAttention(sizes), sizes.d_model),
                _Sublayer("DenseReluDense", _GatedFeedForward(sizes), sizes.d_model),
            ]
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.layer[1](self.layer[0](x, mask))


class _Stack(nn.Module):
    def __init__(self, sizes: Umt5Sizes):
        super().__init__()
        self.block = nn.ModuleList(_Block(sizes) for _ in range(sizes.num_layers))
        self.final_layer_norm = nn.RMSNorm(sizes.d_model, eps=1e-6)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        for block in self.block:
            x = block(x, mask)
        return self.final_layer_norm(x)


class Umt5Encoder(nn.Module):
    """umT5's encoder; `state_dict()` has the names and shapes of `Umt5Sizes.shapes()`."""

    def __init__(self, sizes: Umt5Sizes):
        super().__init__()
        self.sizes = sizes
        self.shared = nn.Embedding(sizes.vocab_size, sizes.d_model)
        self.encoder = _Stack(sizes)

    def forward(self, ids: Tensor) -> Tensor:
        """Token ids (B, L), 0 = padding → embeddings (B, L, d_model), zero after the text's end."""
        present = ids != PAD
        x = self.shared(ids)
        mask = torch.zeros_like(ids, dtype=x.dtype).masked_fill(~present, torch.finfo(x.dtype).min)
        return self.encoder(x, mask) * present.unsqueeze(-1)


class PaddedText:
    """An `AttentionFn` for `length` text rows, the last of which is padding in every sample."""

    def __init__(self, length: int, padded_to: int = MAX_TOKENS):
        """The last row counts for all rows from `length` to `padded_to`."""
        self.length, self.extra = length, padded_to - length

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, heads: int, transformer_options: dict | None = None
    ) -> Tensor:
        """q (B, N, D), k and v (B, length, D) → (B, N, D). Raises SamaError for another length."""
        if k.shape[1] != self.length:
            raise SamaError(
                needed(
                    "text",
                    f"{k.shape[1]} rows",
                    f"text_length {self.length}",
                    "Pad the text to it.",
                )
            )
        q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
        bias = q.new_zeros(1, 1, 1, self.length)
        bias[..., -1] = math.log(1 + self.extra)
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return mixed.transpose(1, 2).flatten(2)


class Tokens:
    """From texts to token ids, with one sentencepiece model."""

    def __init__(self, spiece_model: bytes):
        """`spiece_model` is the content of the sentencepiece file."""
        import sentencepiece

        self.pieces = sentencepiece.SentencePieceProcessor(model_proto=spiece_model)

    def instructions(self, texts: Sequence[str], length: int) -> Tensor:
        """(B, length) ids of `[Video edit] <instruction>`, as the nodes encode it."""
        return self.rows([add_tag(clean_instruction(text)) for text in texts], length)

    def rows(self, texts: Sequence[str], length: int) -> Tensor:
        """(B, length) ids of unchanged texts, each with the end token and at least one padding id.

        Raises SamaError for a text that does not fit.
        """
        ids = torch.full((len(texts), length), PAD)
        for row, text in enumerate(texts):
            pieces = [*self.pieces.encode(text), END]
            if len(pieces) >= length:
                raise SamaError(
                    needed(
                        "text_length",
                        length,
                        f"more than the {len(pieces)} tokens of {text!r}",
                        "Raise text_length in the recipe.",
                    )
                )
            ids[row, : len(pieces)] = torch.tensor(pieces)
        return ids
