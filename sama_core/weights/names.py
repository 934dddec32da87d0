"""TODO."""

import re
from collections.abc import Iterable, Mapping

from .foreign_names import to_wan, uses_diffusers_names

SAMA_KEYS = (
    "segment_embedding.weight",
    "siglip_feat_mlp.norm.weight",
    "siglip_feat_mlp.norm.bias",
    "siglip_feat_mlp.fc1.weight",
    "siglip_feat_mlp.fc1.bias",
    "siglip_feat_mlp.fc2.weight",
    "siglip_feat_mlp.fc2.bias",
    "semantic_head.norm.weight",
    "semantic_head.norm.bias",
    "semantic_head.proj.weight",
    "semantic_head.proj.bias",
)


PREFIXES = ("model.diffusion_model.", "diffusion_model.", "pipe.dit.", "_orig_mod.", "module.")
"""Of checkpoints, ComfyUI, DiffSynth, torch.compile and distributed training."""


_OTHER = re.compile(
    r"(text_encoders|vae|first_stage_model|cond_stage_model|conditioner|clip_vision)\."
).match


ALL_IN_ONE = "an all-in-one checkpoint (model, text encoder and VAE)"


def strip_prefix(sd: Mapping[str, object]) -> dict:
    """The same mapping under Wan's own names, without the text encoder and VAE of an all-in-one checkpoint."""
    return {own: sd[name] for name, own in _own_names(sd).items()}


def _own_names(names: Iterable[str]) -> dict[str, str]:
    """Name in the file → the model's own, for all that belong to the diffusion model."""
    names = list(names)
    diffusers = uses_diffusers_names(names)
    whole = any(name.startswith(PREFIXES[0]) for name in names)
    return {name: own_name(name, diffusers) for name in names if not (whole and _OTHER(name))}


def own_name(name: str, diffusers: bool = False) -> str:
    """The name without a wrapper's prefix, and under Wan's names where the file has `diffusers`'."""
    name = next((name.removeprefix(prefix) for prefix in PREFIXES if name.startswith(prefix)), name)
    return to_wan(name) if diffusers else name
