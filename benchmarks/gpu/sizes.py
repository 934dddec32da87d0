"""Sizes of a point: the model, the clip, the device, the work of one call.

In a dry run all are tiny.
"""

from typing import TYPE_CHECKING

from sama_core.geometry import ClipShape, LatentShape
from sama_core.model.config import DitConfig

if TYPE_CHECKING:
    import torch

DRY = {
    "dim": 256,
    "num_heads": 2,
    "ffn_dim": 512,
    "num_layers": 2,
    "text_dim": 64,
    "freq_dim": 64,
    "in_dim": 16,
    "out_dim": 16,
    "semantic_dim": 48,
    "semantic_hidden": 64,
}
DRY_CLIP = (5, 32, 32)


def sizes(dry: bool) -> DitConfig:
    """The model's sizes."""
    if dry:
        return DitConfig(**DRY)
    from benchmarks.random_models import sama_14b

    return sama_14b()


def clip_of(point: dict, dry: bool) -> ClipShape:
    """The clip of a point."""
    return (
        ClipShape(*DRY_CLIP) if dry else ClipShape(point["frames"], point["height"], point["width"])
    )


def device_of(dry: bool) -> "torch.device":
    """The card, or the CPU in a dry run."""
    import torch

    return torch.device("cpu" if dry else "cuda")


def count_work(config: DitConfig, latent: LatentShape) -> dict:
    """Tokens and operations of one call."""
    from sama_core.model.memory_law import sequence_tokens
    from sama_core.plan.request import forward_flops

    flops = forward_flops(config, latent)
    return {
        "tokens": sequence_tokens(config, latent),
        "attention_flops": flops.attention,
        "linear_flops": flops.linear,
    }
