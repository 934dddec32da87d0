"""The file of a trained LoRA: tensors that ComfyUI, PEFT and kohya read, and its metadata.

The metadata has the keys of ModelSpec and of kohya's trainers where they name a fact, and `sama.…`
for what they have no word for.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..errors import SamaError
from .config import TrainConfig
from .fingerprint import digest_ends, legacy_hash
from .lora import choose_alpha, lora_of
from .outputs import provenance, write_weights

LORA = "sama_lora.safetensors"
SPEC, ARCHITECTURE = "1.0.0", "wan2.1"
"""ModelSpec's version, and what kohya's trainer calls Wan 2.1."""
BASE, BASE_DIGEST, TRIGGER = "ss_sd_model_name", "sama.base_digest", "modelspec.trigger_phrase"


def write_lora(
    folder: Path, averaged: Mapping[str, Tensor], config: TrainConfig, base: Path, steps: int
) -> Path:
    """Write the LoRA among a trainee's weights, in float32; returns the file's path.

    `base`: the file of the weights that it lies over.
    """
    weights = {name.removeprefix("dit."): value for name, value in averaged.items()}
    info = {**describe_lora(config, base), **provenance(config, steps), "ss_steps": str(steps)}
    path = folder / LORA
    write_weights(path, lora_of(weights, choose_alpha(config)), info, torch.float32)
    return path


def describe_lora(config: TrainConfig, base: Path) -> dict[str, str]:
    """Metadata of a LoRA over the weights of `base`."""
    name = "SAMA-Shapes" if config.data == "shapes" else "SAMA"
    about = {
        "format": "pt",
        "modelspec.sai_model_spec": SPEC,
        "modelspec.architecture": f"{ARCHITECTURE}/lora",
        "modelspec.implementation": "https://github.com/Wan-Video/Wan2.1",
        "modelspec.title": f"{name} LoRA, rank {config.lora_rank}",
        "modelspec.resolution": f"{config.width}x{config.height}",
        "ss_network_module": "networks.lora_wan",
        "ss_network_dim": str(config.lora_rank),
        "ss_network_alpha": f"{choose_alpha(config):g}",
        "ss_network_dropout": f"{config.lora_dropout:g}",
        "ss_base_model_version": "wan",
        "ss_learning_rate": f"{config.learning_rate:g}",
        "ss_seed": str(config.seed),
        "ss_mixed_precision": config.precision,
        "sama.lora_targets": config.lora_targets or "all",
        **describe_base(base),
    }
    if config.trigger:
        about[TRIGGER] = config.trigger
        about["modelspec.usage_hint"] = f"Begin the instruction with: {config.trigger}"
    return about


def describe_base(base: Path) -> dict[str, str]:
    """The name of the weights below a LoRA, the short hash that tools look a model up by, and a
    digest of a few places of the file; nothing more than the name where it cannot be read.
    """
    try:
        return {
            BASE: base.name,
            "ss_sd_model_hash": legacy_hash(base),
            BASE_DIGEST: digest_ends(base),
        }
    except (OSError, SamaError):
        return {BASE: base.name}
