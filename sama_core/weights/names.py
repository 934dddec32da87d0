"""The names of tensors: Wan's and SAMA's own, and the same under diffusers' names.

    Wan                      diffusers
    blocks.0.self_attn.q     blocks.0.attn1.to_q
    blocks.0.ffn.0           blocks.0.ffn.net.0.proj
    blocks.0.modulation      blocks.0.scale_shift_table
    head.modulation          scale_shift_table

Tensors are the same under both, in value and shape; SAMA's own 11 keep their names. Every list of
names that the pack needs stands here once; only the pattern of a block is the model's own. Imports
no torch.
"""

import re
from collections.abc import Iterable, Mapping

from ..model.config import BLOCK

SEMANTIC_MODULES = ("siglip_feat_mlp", "semantic_head")
"""Modules of SAMA through which the semantic tokens go."""
SAMA_MODULES = ("segment_embedding", *SEMANTIC_MODULES)
"""All modules that SAMA adds to Wan."""
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
"""Their tensors, which a delta file holds alone."""
SAMA_MARKERS = (SAMA_KEYS[0], SAMA_KEYS[-2])
"""Two of them, of the first module and the last: a file that has both is no plain Wan file."""
WAN_ROOTS = (
    "blocks.",
    "patch_embedding",
    "text_embedding.",
    "time_embedding.",
    "time_projection.",
    "head.",
)
"""Beginnings of the names of Wan's own tensors."""
BLOCK_LAYERS = BLOCK + r"\.(self_attn\.[qkvo]|cross_attn\.[qkvo]|ffn\.[02])"
"""Pattern of the large linear layers: what a LoRA adapts and a conversion quantises."""

CARRIES_ANCHORS = "sama.carries_anchors"
"""The key of a file's metadata that says, by "true", that it carries a given first frame."""

FP8_STORAGES = ("fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2")
"""Values of the loader's `weight_dtype` that store weights in fp8."""
FAST_STORAGE = "fp8_e4m3fn_fast"
"""The one of them that multiplies in fp8 too."""
WEIGHT_DTYPES = ("default", *FP8_STORAGES)
"""All values of the loader's `weight_dtype`, which are those of ComfyUI's own loader."""

PREFIXES = ("model.diffusion_model.", "diffusion_model.", "pipe.dit.", "_orig_mod.", "module.")
"""Put before names by checkpoints, ComfyUI, DiffSynth, torch.compile and distributed training."""
OF_OTHER_MODELS = re.compile(
    r"(text_encoders|vae|first_stage_model|cond_stage_model|conditioner|clip_vision)\."
).match
"""Matches names of the text encoder and VAE in a file that holds all."""
ALL_IN_ONE = "an all-in-one checkpoint (model, text encoder and VAE)"


def strip_prefix(sd: Mapping[str, object]) -> dict:
    """The same mapping under Wan's own names, without the text encoder and VAE of an all-in-one
    checkpoint.
    """
    return {own: sd[name] for name, own in list_own_names(sd).items()}


def list_own_names(names: Iterable[str]) -> dict[str, str]:
    """Name in the file → the model's own, for all that belong to the diffusion model."""
    names = list(names)
    diffusers = uses_diffusers_names(names)
    whole = any(name.startswith(PREFIXES[0]) for name in names)
    return {
        name: own_name(name, diffusers) for name in names if not (whole and OF_OTHER_MODELS(name))
    }


def own_name(name: str, diffusers: bool = False) -> str:
    """The name without a wrapper's prefix, and under Wan's names where the file has
    `diffusers`'.
    """
    name = next((name.removeprefix(prefix) for prefix in PREFIXES if name.startswith(prefix)), name)
    return to_wan(name) if diffusers else name


# --- diffusers ---------------------------------------------------------------------------------

_ATTENTIONS = {"self_attn": "attn1", "cross_attn": "attn2"}
_PROJECTIONS = {
    "q": "to_q",
    "k": "to_k",
    "v": "to_v",
    "o": "to_out.0",
    "norm_q": "norm_q",
    "norm_k": "norm_k",
}
_IN_BLOCK = {
    f"{attention}.{part}": f"{theirs}.{name}"
    for attention, theirs in _ATTENTIONS.items()
    for part, name in _PROJECTIONS.items()
}
_IN_BLOCK |= {
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
    "norm3": "norm2",
    "modulation": "scale_shift_table",
}
_OUTSIDE = {
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "head.modulation": "scale_shift_table",
    "head.head": "proj_out",
}
_IN_ONE_BLOCK = re.compile(rf"({BLOCK})\.(.+)")
_MARKER = re.compile(rf"(^|\.){BLOCK}\.attn[12]\.")


def uses_diffusers_names(names: Iterable[str]) -> bool:
    """True where any of `names` is one that only diffusers gives, with or without a prefix."""
    return any(_MARKER.search(name) for name in names)


def to_wan(name: str) -> str:
    """Wan's name of a tensor, layer or scale that diffusers named; any other name as it is."""
    return _translate(name, _FROM_BLOCK, _FROM_OUTSIDE)


def to_diffusers(name: str) -> str:
    """Diffusers' name of a tensor or layer under Wan's; any other name as it is."""
    return _translate(name, _IN_BLOCK, _OUTSIDE)


def _translate(name: str, in_block: dict[str, str], outside: dict[str, str]) -> str:
    block = _IN_ONE_BLOCK.fullmatch(name)
    if block:
        return f"{block[1]}.{_replace_beginning(block[2], in_block)}"
    return _replace_beginning(name, outside)


def _replace_beginning(name: str, table: dict[str, str]) -> str:
    """`name` with the longest beginning that stands in the table replaced, at a dot."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        found = table.get(".".join(parts[:count]))
        if found is not None:
            return ".".join([found, *parts[count:]])
    return name


_FROM_BLOCK = {theirs: ours for ours, theirs in _IN_BLOCK.items()} | {"ffn.net.0": "ffn.0"}
_FROM_OUTSIDE = {theirs: ours for ours, theirs in _OUTSIDE.items()}
