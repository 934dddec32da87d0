"""The modules a run trains: the DiT, and a text encoder where it is trained along."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..encoders.umt5 import Umt5Encoder
from ..errors import needed
from ..model.dit import SamaDiT
from ..weights.names import SEMANTIC_MODULES
from .alignment import Aligner
from .config import TrainConfig
from .lora import add_lora
from .memory.arrange import arrange, checkpoint_blocks, exclude_from_broadcast, keep_half
from .recipe import ConfigError

Watcher = Callable[[dict[str, Any]], dict[str, Any]]
"""Takes the arguments of a "double_block" patch and returns them."""


class Trainee(nn.Module):
    """DiT and text encoder as one module: one optimiser, average and checkpoint hold both."""

    def __init__(
        self,
        dit: SamaDiT,
        text_encoder: Umt5Encoder | None,
        config: TrainConfig,
        teacher_width: int = 0,
    ):
        """Changes `dit` in place: adapters, frozen parts and recomputation as `config` says.

        Without semantic anchoring the semantic parts are frozen. A LoRA freezes everything but its
        adapters, `trained_parts` everything but the parts it names; an aligner, for a teacher of
        `teacher_width` channels, is trained all the same. Raises ConfigError for a part or a block
        that the DiT has not.
        """
        super().__init__()
        self.dit, self.text_encoder = dit, text_encoder
        if config.semantic_weight == 0:
            for name, weight in dit.named_parameters():
                weight.requires_grad_(not name.startswith(SEMANTIC_MODULES))
        if config.trained_parts:
            _freeze_others(self, config.trained_parts.split())
        if config.lora_rank:
            self.requires_grad_(False)
            add_lora(dit, config)
        self.block_swap = arrange(dit, config)
        if config.gradient_checkpointing:
            checkpoint_blocks(dit, config.memory.activations_in_ram)
        exclude_from_broadcast(self)
        self.half_states = config.memory.states == "bf16"
        if self.half_states:
            keep_half(dit)
        self.aligner: Aligner | None = None
        if config.align:
            size = (config.height, config.width)
            self.aligner = Aligner.for_model(
                config.align, dit.config, size, teacher_width, config.seed
            )

    def forward(
        self,
        latents: Tensor,
        timestep: Tensor,
        text: Tensor,
        source_latents: Tensor | None = None,
        semantic_latents: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """As SamaDiT.forward; `text` is token ids where there is a text encoder."""
        context = text if self.text_encoder is None else self.text_encoder(text)
        if self.aligner is not None:
            self.aligner.begin(self._count_tokens(latents))
        watchers = self.watchers()
        options = {"patches": {"double_block": watchers}} if watchers else None
        streams = (latents, timestep, context, source_latents, semantic_latents)
        if self.half_states:
            video, semantic = self._in_half(*streams, options)
        else:
            video, semantic = self.dit(*streams, options)
        return (video if semantic_latents is not None else self._with_idle_parts(video)), semantic

    def _in_half(
        self, latents: Tensor, timestep: Tensor, context: Tensor, *rest: Any
    ) -> tuple[Tensor, Tensor | None]:
        """The DiT with hidden states in bfloat16."""
        source, tokens, options = rest
        given = [one if one is None else one.bfloat16() for one in (source, tokens)]
        with torch.autocast(latents.device.type, torch.bfloat16):
            return self.dit(latents.bfloat16(), timestep, context, *given, options)

    def watchers(self) -> list[Watcher]:
        """What sees the hidden states behind each block: "double_block" patches of the DiT."""
        return [] if self.aligner is None else [self.aligner.watch]

    def _count_tokens(self, latents: Tensor) -> tuple[int, int, int]:
        """Tokens (t, h, w) of latents (B, C, T, H, W)."""
        frames, height, width = (
            side // of for side, of in zip(latents.shape[2:], self.dit.config.patch, strict=True)
        )
        return frames, height, width

    def _with_idle_parts(self, video: Tensor) -> Tensor:
        """The same numbers, with gradients of 0 for the semantic parts, which this step leaves out.

        DDP waits for the gradient of every trained weight. Where a whole run leaves the parts out
        they are frozen.
        """
        idle = [
            weight.sum()
            for name, weight in self.dit.named_parameters()
            if name.startswith(SEMANTIC_MODULES) and weight.requires_grad
        ]
        return video + 0.0 * torch.stack(idle).sum() if idle else video


def _freeze_others(trainee: Trainee, parts: list[str]) -> None:
    """Freeze everything but the DiT's weights whose names begin with one of `parts`."""
    names = [name for name, _ in trainee.dit.named_parameters()]
    unknown = [part for part in parts if not any(name.startswith(part) for name in names)]
    if unknown:
        raise ConfigError(
            needed(
                "trained_parts",
                ", ".join(unknown),
                "beginnings of the DiT's weight names",
                f"Its parts are {', '.join(dict.fromkeys(_part(name) for name in names))}.",
            )
        )
    trained = tuple(f"dit.{part}" for part in parts)
    for name, weight in trainee.named_parameters():
        if not name.startswith(trained):
            weight.requires_grad_(False)
    if not any(weight.requires_grad for weight in trainee.parameters()):
        need = "one that is trained: with semantic_weight 0 the semantic parts are not"
        fix = "Set semantic_weight, or name other parts."
        raise ConfigError(needed("trained_parts", " ".join(parts), need, fix))


def _part(name: str) -> str:
    """The part of the DiT that a weight belongs to, a block with its number: "blocks.3."."""
    pieces = name.split(".")
    return ".".join(pieces[: 2 if pieces[0] == "blocks" else 1]) + "."
