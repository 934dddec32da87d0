"""The names that trainers give to a Wan LoRA's tensors, and what they are in ComfyUI.

    file                                              layer                     part
    diffusion_model.blocks.0.self_attn.q.lora_A.weight   blocks.0.self_attn.q   .lora_A.weight
    transformer.blocks.0.attn1.to_q.lora.down.weight     blocks.0.self_attn.q   .lora.down.weight
    lora_unet_blocks_0_self_attn_q.alpha                 blocks.0.self_attn.q   .alpha

A name is a wrapper's prefix, a layer, and a part. Layers are looked up in the model's own list, so
that a name can only become one that the model has.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import CheckpointError, needed
from .names import SAMA_MODULES, WAN_ROOTS, to_diffusers

PREFIX = "diffusion_model."
"""What stands before Wan's names in a ComfyUI model."""
_WRAPPERS = re.compile(
    r"(lora_unet__?|lora_transformer_2_|lora_transformer_|lycoris_"
    r"|(model|diffusion_model|base_model|transformer|transformer_2|pipe|dit|unet|module|_orig_mod)"
    r"\.)+"
)
_PART = re.compile(
    r"(?P<layer>.+?)(?P<part>\.lora_(A|B|up|down|mid|magnitude_vector|embedding_[AB])(\..+)?"
    r"|[._]lora\.(up|down)\.weight|\.lora_linear_layer\.(up|down)\.weight"
    r"|\.alpha|\.dora_scale|\.diff|\.diff_b"
    r"|\.set_weight|\.reshape_weight|\.[wb]_norm|\.hada_[wt]\w+|\.lokr_[wt]\w+"
    r"|\.(oft|boft)_\w+|\.rescale"
    r"|\.[ab][12]\.weight)"
)
_ADAPTER = re.compile(r"(\.lora_[AB])\.[^.]+(\.weight)")
_MAGNITUDE = re.compile(r"\.lora_magnitude_vector(\..+)?")
_EXPERT = re.compile(r"(high|low)[-_ ]?noise", re.IGNORECASE)
_SECOND_EXPERT = re.compile(r"transformer_2[._]")


class Named(NamedTuple):
    """A LoRA's tensors by layer, under the names that ComfyUI reads."""

    layers: dict[str, dict[str, Tensor]]
    """Layer with `diffusion_model.` in front → its tensors by whole name."""
    weights: dict[str, str]
    """Layer → the model's tensor that it changes; layers that the model has not are absent."""


def spellings(names: Iterable[str]) -> dict[str, str]:
    """Every spelling of a layer without a wrapper's prefix → the model's tensor, from the model's
    own names.
    """
    found: dict[str, str] = {}
    for name in names:
        layer = name.removesuffix(".weight")
        theirs = to_diffusers(layer)
        for spelled in (layer, theirs, theirs.replace("ffn.net.0.proj", "ffn.net.0")):
            found.setdefault(spelled, name)
            found.setdefault(spelled.replace(".", "_"), name)
    return found


def name_layers(
    lora: Mapping[str, Tensor], weights: Iterable[str], known: Mapping[str, str], name: str
) -> Named:
    """The file's tensors by layer. `weights` are the model's names, `known` what ComfyUI itself
    maps, layer → tensor.

    Raises CheckpointError where two tensors of the file are the same part of one layer and differ.
    """
    table, targets = spellings(weights), dict[str, str]()
    layers, origins = dict[str, dict[str, Tensor]](), dict[str, str]()
    for key, stored in lora.items():
        layer, part = split(key)
        target = table.get(_WRAPPERS.sub("", layer, count=1) if _WRAPPERS.match(layer) else layer)
        if target is not None:
            layer, target = PREFIX + target.removesuffix(".weight"), PREFIX + target
        elif isinstance(known.get(layer), str):
            target = known[layer]
        else:
            layer = PREFIX + layer if layer.startswith((*WAN_ROOTS, *SAMA_MODULES)) else layer
        part, value = _as_core_reads(part, stored)
        parts = layers.setdefault(layer, {})
        if layer + part in parts and not _same(parts[layer + part], value):
            raise CheckpointError(
                needed(
                    name,
                    f"two LoRAs in one file ({origins[layer + part]} and {key})",
                    "one LoRA",
                    "Take the two apart into two files, and load the one you want.",
                )
            )
        parts[layer + part], origins[layer + part] = value, key
        if target is not None:
            targets[layer] = target
    return Named(layers, targets)


def split(key: str) -> tuple[str, str]:
    """(layer with its prefix, part) of a LoRA tensor's name; the part is empty where the name is no
    LoRA's.
    """
    found = _PART.fullmatch(key)
    return (found["layer"], found["part"]) if found else (key, "")


def _as_core_reads(part: str, value: Tensor) -> tuple[str, Tensor]:
    """PEFT's adapter names left out, and its magnitudes in the form of a DoRA scale: one row for
    each output.
    """
    if _MAGNITUDE.fullmatch(part):
        part = ".dora_scale"
    if part == ".dora_scale" and value.ndim == 1:
        value = value.unsqueeze(1)
    return _ADAPTER.sub(r"\1\2", part), value


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other)


def describe_expert(name: str, keys: Iterable[str]) -> str:
    """What the report says of a LoRA for one of Wan 2.2's two models, from its name and prefixes;
    else nothing.
    """
    said = _EXPERT.search(name)
    if said:
        return (
            f"made for Wan 2.2's {said[1].lower()}-noise model, whose layers SAMA shares: try "
            "its strength"
        )
    if any(_SECOND_EXPERT.search(key) for key in keys):
        return (
            "made for one of Wan 2.2's two models (transformer_2), whose layers SAMA shares: "
            "try its strength"
        )
    return ""
