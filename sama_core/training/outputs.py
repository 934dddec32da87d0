"""Weights that the loaders accept: full file, delta file, LoRA. Written whole or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoint import SAMA_KEYS
from ..config import DitConfig
from ..files import write_safetensors
from .config import TrainConfig


def metadata(config: DitConfig, title: str, area: int | None = None, **facts: str) -> dict[str, str]:
    """Metadata in which ComfyUI finds head count, token count and working area; `facts` as they are."""
    settings = {"num_heads": config.num_heads, "semantic_tokens": config.semantic_tokens}
    if area:
        settings["area"] = area
    return {"format": "pt", "config": json.dumps({"transformer": settings}), "modelspec.title": title, **facts}


def provenance(config: TrainConfig, steps: int) -> dict[str, str]:
    """What a file's metadata says of the training that made it."""
    return {"sama.training": f"stage {config.stage}, {steps} steps, seed {config.seed}"}


def write_weights(path: str | Path, weights: Mapping[str, Tensor], info: dict[str, str],
                  dtype: torch.dtype | None = None) -> None:
    """A safetensors file, cast to `dtype` if given."""
    write_safetensors(path, {name: value.to(dtype or value.dtype) for name, value in weights.items()}, info)


def delta_of(weights: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """SAMA's own tensors, and every other one that differs from `base`."""
    return {name: value for name, value in weights.items()
            if name in SAMA_KEYS or name not in base or not torch.equal(value.to(base[name].dtype), base[name])}


def lora_of(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A peft adapter's tensors under the names ComfyUI's LoRA loaders know."""
    found = {}
    for name, value in weights.items():
        if ".lora_A." in name or ".lora_B." in name:
            clean = name.replace("base_model.model.", "").replace(".default.", ".")
            found[f"diffusion_model.{clean}"] = value
    return found
