"""The training that a plan is made for: its settings, and the memory and operations it needs."""

from dataclasses import dataclass

from ..geometry import ClipShape
from ..model.config import DitConfig
from ..model.memory_law import sequence_tokens
from .align_law import AlignShapes
from .machine import GIB, Machine
from .request import RELEASED_TEXT_ENCODER, RELEASED_VAE, Flops, forward_flops
from .train_law import block_bytes, inputs_bytes, lora_weights, step_bytes
from .weight_bytes import RELEASED, RELEASED_CONFIG, Weights

HEADROOM = 1.15
"""Factor on activations for kernels and the allocator, which the law does not count. Unverified."""
STATE_BYTES = 20
"""Of each trained weight in float32: itself, its gradient, AdamW's two moments, its average."""
PROGRAM = 3 * GIB
"""RAM of Python, torch and the card's driver. Unverified."""
SEMANTIC_ENCODER = 1_760_000_000
"""Bytes of SigLIP so400m in float32."""
TEXT_TOKENS = 512


@dataclass(frozen=True)
class TrainRequest:
    """One training, as far as its memory and time depend on it."""

    clip: ClipShape
    """Size of the clips."""
    config: DitConfig = RELEASED_CONFIG
    """Sizes of the model."""
    weights: Weights = RELEASED
    """Its weights, counted."""
    batch_size: int = 1
    """Samples of an optimiser step in each process."""
    accumulation: int = 1
    """Passes that an optimiser step is cut into."""
    lora_rank: int = 0
    """0 trains all weights."""
    adapted: int = 0
    """Weights of the LoRA; 0 for those of all attention and feed-forward layers."""
    align: AlignShapes | None = None
    """The alignment with a teacher, if there is one. Its features are made ahead."""
    fp8_base: bool = False
    """Whether the frozen matrices of the blocks are in a byte a weight."""
    bf16: bool = True
    """Whether other matrices, and a base that is not in fp8, are in 16 bit: not without a LoRA."""
    checkpointing: bool = False
    """Whether blocks are computed again in the backward pass."""
    half_states: bool = False
    """Whether the hidden states are in 16 bit."""
    inputs_in_ram: bool = False
    """Whether the blocks' inputs are kept in RAM."""
    block_swap: int = 0
    """Blocks whose weights are in RAM."""
    cached: bool = False
    """Whether encoders leave the card, since what they say is kept on disk."""
    text_encoder: int = RELEASED_TEXT_ENCODER
    """Bytes of umT5 in memory."""
    vae: int = RELEASED_VAE
    """Bytes of the VAE in memory."""
    semantic_encoder: int = SEMANTIC_ENCODER
    """Bytes of the encoder of anchor frames in memory."""
    steps: int = 0
    """Optimiser steps of the whole training; 0 where they are not known."""
    rows: int | None = None
    """Rows of the data; None where they are not known."""

    @property
    def samples(self) -> int:
        """Samples of one pass."""
        return max(1, self.batch_size // self.accumulation)

    @property
    def weights_to_train(self) -> int:
        """Number of trained weights, but for an alignment's."""
        if not self.lora_rank:
            return self.weights.parameters
        return self.adapted or lora_weights(self.config, self.lora_rank)

    @property
    def block(self) -> int:
        """Bytes of the frozen matrices of one block."""
        return round(self.weights.matrices * self._matrix_size / self.config.num_layers)

    @property
    def _matrix_size(self) -> int:
        if not self.lora_rank:
            return 0  # trained weights are counted with their state
        return 1 if self.fp8_base else self._size

    @property
    def _size(self) -> int:
        return 2 if self.bf16 and self.lora_rank else 4

    @property
    def other_weights(self) -> int:
        """Bytes of frozen weights beside the blocks' matrices."""
        if not self.lora_rank:
            return 0
        return self._size * (self.weights.parameters - self.weights.matrices)

    @property
    def base_on_card(self) -> int:
        """Bytes of frozen weights on the card: blocks that stay, and two places for the others."""
        blocks = self.config.num_layers
        swapped = min(self.block_swap, blocks)
        places = 2 if swapped else 0
        return (blocks - swapped + places) * self.block + self.other_weights

    @property
    def base_in_ram(self) -> int:
        """Bytes of frozen weights whose home is RAM."""
        return min(self.block_swap, self.config.num_layers) * self.block

    @property
    def state(self) -> int:
        """Bytes of trained weights with gradients, moments and average."""
        return STATE_BYTES * self.weights_to_train

    @property
    def encoders(self) -> int:
        """Bytes of the three encoders."""
        return self.text_encoder + self.vae + self.semantic_encoder

    @property
    def activations(self) -> int:
        """Bytes of one pass by the law, with headroom."""
        return round(
            HEADROOM
            * step_bytes(
                self.config,
                self.clip.latent(),
                self.samples,
                self.half_states,
                self.checkpointing,
                self.inputs_in_ram,
            )
        )

    @property
    def align_state(self) -> int:
        """Bytes of an alignment's projectors, as in `state`."""
        return STATE_BYTES * self.align.weights if self.align else 0

    @property
    def align_activations(self) -> int:
        """Bytes of a pass that an alignment adds to `activations`, with headroom: what it keeps
        while blocks go back, and what its loss takes beyond a block.
        """
        if self.align is None:
            return 0
        latent, samples = self.clip.latent(), self.samples
        block = block_bytes(self.config, latent, samples, self.half_states)
        beyond = max(0, self.align.work_bytes(latent, samples) - block)
        kept = self.align.kept_bytes(latent, samples, self.bf16)
        return round(HEADROOM * (kept + self._projected_states + beyond))

    @property
    def align_targets(self) -> int:
        """Bytes of a teacher's targets in a pass."""
        return self.align.target_bytes(self.samples) if self.align else 0

    @property
    def align_bytes(self) -> int:
        """Bytes that an alignment adds to the card."""
        return self.align_state + self.align_activations + self.align_targets

    @property
    def _projected_states(self) -> int:
        """Bytes of hidden states that a projector keeps, where no block does."""
        latent = self.clip.latent()
        if self.bf16 and not self.half_states:
            return 2 * self.samples * latent.tokens() * self.config.dim
        if not self.inputs_in_ram:
            return 0
        size = 2 if self.half_states else 4
        return size * self.samples * sequence_tokens(self.config, latent) * self.config.dim

    @property
    def inputs(self) -> int:
        """Bytes of the blocks' inputs in RAM."""
        if not (self.inputs_in_ram and self.checkpointing):
            return 0
        return inputs_bytes(self.config, self.clip.latent(), self.samples, self.half_states)

    def card_bytes(self, machine: Machine) -> int:
        """The most card memory in use at once."""
        beside = 0 if self.cached else self.encoders
        training = self.base_on_card + self.state + self.activations + self.align_bytes + beside
        return max(training, self.encoders) + machine.reserved

    @property
    def ram(self) -> int:
        """RAM that is needed: the base is read into it, then blocks and inputs live there."""
        base = self.config.num_layers * self.block + self.other_weights
        return max(base, self.base_in_ram + self.inputs, self.encoders) + PROGRAM

    @property
    def row_bytes(self) -> int:
        """Bytes of a pair in the cache at most: two latents, a text, semantic tokens, float32."""
        latent, config = self.clip.latent(), self.config
        video = config.out_dim * latent.frames * latent.height * latent.width
        tokens = config.semantic_tokens * config.semantic_dim
        return 4 * (2 * video + TEXT_TOKENS * config.text_dim + tokens)

    @property
    def flops(self) -> Flops:
        """Operations of an optimiser step: forward, again where blocks are checkpointed, backward.

        Backward, attention costs 2.5 times its forward pass in a fused kernel; a Linear once for
        its input, and once more for its weight where that is trained.
        """
        once, again = forward_flops(self.config, self.clip.latent()), int(self.checkpointing)
        linear = 2 + again if self.lora_rank else 3 + again
        passes = self.samples * self.accumulation
        aligned = self.align.flops(self.clip.latent()) if self.align else 0
        return Flops(
            attention=round(passes * once.attention * (3.5 + again)),
            linear=passes * (once.linear * linear + aligned),
        )

    @property
    def traffic(self) -> int:
        """Bytes between RAM and card in an optimiser step."""
        weights = 2 * self.base_in_ram
        return self.accumulation * (weights + 2 * self.inputs)
