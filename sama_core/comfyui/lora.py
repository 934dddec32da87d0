"""LoRA files on SAMA, with a report of what matched. Core applies them; this only translates names."""

import math
from dataclasses import dataclass
from pathlib import Path

import comfy.lora
import comfy.lora_convert
from torch import Tensor

from ..checkpoint import model_shapes
from ..errors import CheckpointError, needed
from . import distilled
from .weight_files import read_weights

_PREFIX = "diffusion_model."
# What stands before the Wan name in files of other trainers. Core maps `diffusion_model.` and `lora_unet_`.
_FOREIGN_PREFIXES = ("base_model.model.", "pipe.dit.", "transformer.", "")
_SUFFIXES = (".lora_A", ".lora_B", ".lora_up", ".lora_down", ".alpha", ".dora_scale", ".diff_b", ".diff", ".lora_mid",
             ".hada_", ".lokr_", ".reshape_weight", ".w_norm", ".b_norm", "_lora.")


@dataclass(frozen=True)
class LoraReport:
    """Layers of a LoRA file that fit the model, those it has not, and those of another size."""

    matched: list[str]
    unmatched: list[str]
    misshapen: list[str]

    def summary(self) -> str:
        total = len(self.matched) + len(self.unmatched) + len(self.misshapen)
        text = f"{len(self.matched)} of {total} LoRA layers matched"
        for layers, what in ((self.unmatched, "not in this model"), (self.misshapen, "of another size")):
            if layers:
                text += f"; {what}: {', '.join(layers[:12])}{' …' if len(layers) > 12 else ''}"
        return text


def comfy_keys(lora: dict[str, Tensor]) -> dict[str, Tensor]:
    """The file's tensors under names core knows: bare `blocks.N…` (official, DiffSynth) gets its prefix."""
    def renamed(key: str) -> str:
        if key.startswith((_PREFIX, "lora_unet_")):
            return key
        for prefix in _FOREIGN_PREFIXES:
            rest = key.removeprefix(prefix)
            if key.startswith(prefix) and rest.startswith(_WAN_ROOTS):
                return _PREFIX + rest
        return key
    return {renamed(key): value for key, value in lora.items()}


_WAN_ROOTS = ("blocks.", "patch_embedding.", "text_embedding.", "time_embedding.", "time_projection.", "head.",
              "segment_embedding.", "siglip_feat_mlp.", "semantic_head.")


def layer_name(key: str) -> str:
    """The layer a LoRA tensor belongs to."""
    ends = [key.find(suffix) for suffix in _SUFFIXES if suffix in key]
    return key[:min(ends)] if ends else key


def apply_lora(model, lora: dict[str, Tensor], strength: float, name: str = "the LoRA"):
    """A clone of `model` with the LoRA, and the report. Raises CheckpointError if no layer matches."""
    lora = comfy_keys(comfy.lora_convert.convert_lora(lora))
    key_map = comfy.lora.model_lora_keys_unet(model.model, {})
    report = _judge(lora, key_map, model_shapes(model.model.dit_config))
    if not report.matched:
        raise CheckpointError(needed(name, report.summary(), "a LoRA trained on Wan 2.1 14B or SAMA",
                                     "Check that the LoRA is for Wan 2.1 T2V, not for another model."))
    fitting = {name: key_map[name] for name in report.matched}
    patched = model.clone()
    patched.add_patches(comfy.lora.load_lora(lora, fitting, log_missing=False), strength)
    return patched, report


def _judge(lora: dict[str, Tensor], key_map: dict[str, str], shapes: dict[str, tuple[int, ...]]) -> LoraReport:
    """Which layers of the file core can apply to this model, by name and by size.

    Sizes are the model's own: what quantised and GGUF weights report of themselves may be packed bytes.
    """
    layers: dict[str, dict[str, Tensor]] = {}
    for key, value in lora.items():
        layers.setdefault(layer_name(key), {})[key] = value
    unmatched = sorted(layer for layer in layers if layer not in key_map)
    misshapen = sorted(layer for layer, parts in layers.items()
                       if layer in key_map and not _fits(parts, shapes.get(key_map[layer].removeprefix(_PREFIX))))
    rest = {*unmatched, *misshapen}
    return LoraReport(sorted(layer for layer in layers if layer not in rest), unmatched, misshapen)


def _fits(parts: dict[str, Tensor], shape: tuple[int, ...] | None) -> bool:
    """Whether a low-rank pair multiplies to the weight's size; other kinds of patches are left to core."""
    up, down = (next((part for key, part in parts.items() if any(name in key for name in names)), None)
                for names in ((".lora_B", ".lora_up"), (".lora_A", ".lora_down")))
    if shape is None or up is None or down is None:
        return True
    return up.shape[0] == shape[0] and math.prod(down.shape[1:]) == math.prod(shape[1:])


def load_lora(model, path: str, strength: float):
    """The model with a LoRA file, and its report in words. Nothing is loaded when the strength is 0.

    A step-distilled LoRA is recognised by its name, and the model remembers it: see `distilled`.
    """
    if strength == 0:
        return model, "not applied: strength is 0"
    name, (lora, metadata) = Path(path).name, read_weights(path)
    model, report = apply_lora(model, lora, strength, name)
    family = distilled.recognise(name, metadata)
    if family is None or strength < 0:
        return model, report.summary()
    distilled.remember(model, name, family)
    return model, f"{report.summary()}; {family.settings()}"
