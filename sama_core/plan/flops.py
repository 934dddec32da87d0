"""Floating point operations of one call of the DiT; a multiplication with its addition counts as two."""

import math
from dataclasses import dataclass

from ..config import DitConfig
from ..geometry import PATCH, LatentShape
from ..memory_law import TEXT_ROWS, sequence_tokens


@dataclass(frozen=True)
class Flops:
    """Work of one call for one sample."""

    attention: int
    """All tokens with all tokens: grows with the square of their number."""
    linear: int
    """Everything else that multiplies matrices: grows with the number of tokens."""

    @property
    def total(self) -> int:
        return self.attention + self.linear

    @property
    def attention_share(self) -> float:
        """Between 0 and 1."""
        return self.attention / self.total


def forward_flops(config: DitConfig, latent: LatentShape, source: bool = True) -> Flops:
    """The model called once. Norms, rotations and additions are left out: together well under one percent."""
    tokens, video = sequence_tokens(config, latent, source), latent.tokens()
    width, patch = config.dim, math.prod(PATCH)
    block = (2 * tokens * (6 * width**2 + 2 * width * config.ffn_dim)  # q, k, v, o; the text's q, o; feed-forward
             + 4 * TEXT_ROWS * width**2                              # the text's k, v
             + 4 * tokens * TEXT_ROWS * width)                       # attention to the text
    embed = 2 * video * (2 if source else 1) * patch * config.in_dim * width
    head = 2 * video * patch * config.out_dim * width
    text = 2 * TEXT_ROWS * (config.text_dim * width + width**2)
    time = 2 * (config.freq_dim * width + 7 * width**2)
    semantic = 2 * config.semantic_tokens * (config.semantic_dim * (config.semantic_hidden + width)
                                             + config.semantic_hidden * width)
    return Flops(attention=4 * tokens**2 * width * config.num_layers,
                 linear=block * config.num_layers + embed + head + text + time + semantic)
