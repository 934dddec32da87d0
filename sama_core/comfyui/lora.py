"""LoRA files on SAMA, with a report of what matched. Core applies them; this only translates names."""

from dataclasses import dataclass
from pathlib import Path

import comfy.lora
import comfy.lora_convert
import comfy.utils
from torch import Tensor

from ..errors import CheckpointError, needed

_PREFIX = "diffusion_model."
# What stands before the Wan name in files of other trainers. Core maps `diffusion_model.` and `lora_unet_`.
_FOREIGN_PREFIXES = ("base_model.model.", "pipe.dit.", "transformer.", "")
_SUFFIXES = (".lora_A", ".lora_B", ".lora_up", ".lora_down", ".alpha", ".dora_scale", ".diff_b", ".diff", ".lora_mid",
             ".hada_", ".lokr_", ".reshape_weight", ".w_norm", ".b_norm", "_lora.")


@dataclass(frozen=True)
class LoraReport:
    """Layers of a LoRA file that SAMA has, and those it has not."""

    matched: list[str]
    unmatched: list[str]

    def summary(self) -> str:
        text = f"{len(self.matched)} of {len(self.matched) + len(self.unmatched)} LoRA layers matched"
        if self.unmatched:
            shown = ", ".join(self.unmatched[:12]) + (" …" if len(self.unmatched) > 12 else "")
            text += f"; not in this model: {shown}"
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
    layers = sorted({layer_name(key) for key in lora})
    report = LoraReport([layer for layer in layers if layer in key_map],
                        [layer for layer in layers if layer not in key_map])
    if not report.matched:
        raise CheckpointError(needed(name, report.summary(), "a LoRA trained on Wan 2.1 14B or SAMA",
                                     "Check that the LoRA is for Wan 2.1 T2V, not for another model."))
    patched = model.clone()
    patched.add_patches(comfy.lora.load_lora(lora, key_map, log_missing=False), strength)
    return patched, report


def load_lora(model, path: str, strength: float):
    """`apply_lora` from a file. Nothing is loaded when the strength is 0."""
    if strength == 0:
        return model, LoraReport([], [])
    return apply_lora(model, comfy.utils.load_torch_file(path, safe_load=True), strength, Path(path).name)
