"""How much card memory one step of a training needs: the law, in numbers of the sequence.

With h = samples · tokens · width · 2 bytes, and f the same of the feed-forward's width, a block
that is computed again in the backward pass needs at its peak, while its feed-forward goes back:

    states      a block's peak    each block's input    without checkpointing, each block more
    bf16        21.3 h + 2.8 f    1 h                   18.2 h + 2 f
    float32     30.2 h + 5 f      2 h                   25.4 h + 2 f

With the inputs in RAM one of them, and the gradient that comes back to it, are on the card. The
text's keys and values take 3.5 rows of the width for each of its rows.

The numbers are fitted to live bytes counted operation by operation at SAMA-14B's width, one to
three blocks, with a LoRA of rank 32 (`benchmarks/train_memory.py`; a test counts again). Attention
is assumed to be a fused kernel. Unverified: on a card, what kernels and the allocator need beside.
For all weights instead of a LoRA it is an upper bound.
"""

from dataclasses import dataclass

from ..geometry import LatentShape
from ..model.config import DitConfig
from ..model.memory_law import TEXT_ROWS, sequence_tokens


@dataclass(frozen=True)
class StepLaw:
    """Factors of h and f for one kind of hidden states."""

    block_width: float
    """h of a block's peak."""
    block_hidden: float
    """f of a block's peak."""
    boundary: float
    """h of a block's input."""
    kept_width: float
    """h that each further block keeps without checkpointing."""
    kept_hidden: float
    """f that each further block keeps without checkpointing."""


HALF = StepLaw(21.3, 2.8, 1, 18.2, 2)
WHOLE = StepLaw(30.2, 5, 2, 25.4, 2)
TEXT_STATES = 3.5
"""Rows of the model's width, in 16 bit, that each row of text takes."""
NUMBER = 2
"""Bytes of a number in h and f."""


def step_bytes(
    config: DitConfig,
    latent: LatentShape,
    samples: int = 1,
    half_states: bool = False,
    checkpointing: bool = True,
    inputs_in_ram: bool = False,
) -> int:
    """Peak bytes of activations of one forward and backward pass, without weights and gradients.

    `samples` are those of one pass. Raises GeometryError if patches do not fit the latent.
    """
    law, blocks = HALF if half_states else WHOLE, config.num_layers
    tokens = samples * sequence_tokens(config, latent)
    state, hidden = (NUMBER * tokens * width for width in (config.dim, config.ffn_dim))
    block = block_bytes(config, latent, samples, half_states)
    if not checkpointing:
        others = (blocks - 1) * (law.kept_width * state + law.kept_hidden * hidden)
    elif inputs_in_ram:
        others = law.boundary * state * (blocks > 1)
    else:
        others = law.boundary * state * blocks
    text = TEXT_STATES * samples * TEXT_ROWS * config.dim * NUMBER
    return round(block + others + text)


def block_bytes(
    config: DitConfig, latent: LatentShape, samples: int = 1, half_states: bool = False
) -> int:
    """Peak bytes of one block that is computed again, beside what the others keep."""
    law, tokens = HALF if half_states else WHOLE, samples * sequence_tokens(config, latent)
    peak = law.block_width * config.dim + law.block_hidden * config.ffn_dim
    return round(NUMBER * tokens * peak)


def inputs_bytes(
    config: DitConfig, latent: LatentShape, samples: int = 1, half_states: bool = False
) -> int:
    """Bytes of the inputs of all blocks, which checkpointing keeps, on the card or in RAM."""
    law = HALF if half_states else WHOLE
    tokens = samples * sequence_tokens(config, latent)
    return round(law.boundary * NUMBER * tokens * config.dim * config.num_layers)


def lora_weights(config: DitConfig, rank: int) -> int:
    """Trained weights of a LoRA of that rank on all attention and feed-forward layers."""
    return config.num_layers * rank * (8 * 2 * config.dim + 2 * (config.dim + config.ffn_dim))
