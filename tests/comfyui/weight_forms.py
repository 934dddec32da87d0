"""Every form in which people load a diffusion model's weights, made from the small model's float32
file.
"""

import json
from dataclasses import dataclass

import torch
from safetensors.torch import load_file, save_file

from .graphs import Edit

GGUF_LOADER = "HarnessGGUFLoader"
CORE_FORMATS = {
    "float8_e4m3fn": {},
    "float8_e5m2": {},
    "nvfp4": {},
    "mxfp8": {},
    "int8_tensorwise": {},
    "int8_tensorwise, rotated": {"convrot": True, "convrot_groupsize": 256},
    "convrot_w4a4": {},
    "asym_w4a8_int8": {},
}
"""Formats of core's `comfy_quant` entries, with their settings; a test compares the list with
core's.
"""
LATER_FORMATS = {"asym_w4a8_int8"}
"""Formats that ComfyUI 0.30.0 does not know."""


@dataclass(frozen=True)
class Form:
    """A way to have the weights, and how far from the float32 model its results may lie (relative
    L2).
    """

    kind: str
    name: str
    limit: float
    least: float = 1e-4


# The limits are about three times what two steps of the small random model show; 3 bits of mantissa
# lie 3 % away.
FORMS = {
    form.name: form
    for form in (
        Form("dtype", "default", 0.0, -1.0),
        Form("dtype", "fp8_e4m3fn", 0.1),
        Form("dtype", "fp8_e4m3fn_fast", 0.1),
        Form("dtype", "fp8_e5m2", 0.2),
        Form("file", "bfloat16", 0.03),
        Form("file", "float16", 0.03, 1e-5),
        Form("converted", "fp8_scaled", 0.1),
        Form("converted", "fp8", 0.1),
        Form("converted", "fp8_fast", 0.1),
        Form("converted", "gguf_q8_0", 0.03),
        Form("converted", "gguf_q5_1", 0.12),
        Form("converted", "gguf_q4_0", 0.25),
        *(
            Form(
                "core",
                name,
                {"nvfp4": 0.3, "convrot_w4a4": 0.4, "asym_w4a8_int8": 0.4, "float8_e5m2": 0.2}.get(
                    name, 0.1
                ),
            )
            for name in CORE_FORMATS
        ),
    )
}


def use(edit: Edit, form: Form) -> None:
    """Make the graph's model come in that form, prepared for ComfyUI's own samplers."""
    node = edit.nodes[edit.model[0]]
    if form.name.startswith("gguf"):
        _register_gguf_loader()
        node |= {"class_type": GGUF_LOADER, "inputs": {"path": str(_converted(edit, form.name))}}
        edit.patch("SAMAPrepareModel")
    elif form.kind == "dtype":
        node["inputs"]["weight_dtype"] = form.name
    else:
        writers = {"file": _in_dtype, "converted": _converted, "core": _in_core_format}
        node["inputs"]["model_name"] = writers[form.kind](edit, form.name).name


def known(form: Form) -> bool:
    """Whether the ComfyUI at hand has the form."""
    from comfy.quant_ops import QUANT_ALGOS

    return form.kind != "core" or form.name not in LATER_FORMATS or form.name in QUANT_ALGOS


def _weights(edit: Edit) -> tuple:
    folder = edit.comfyui.models("diffusion_models")
    return folder, load_file(folder / edit.models.sama)


def _in_dtype(edit: Edit, name: str):
    folder, weights = _weights(edit)
    path = folder / f"form_{name}.safetensors"
    if not path.exists():
        save_file({key: value.to(getattr(torch, name)) for key, value in weights.items()}, path)
    return path


def _converted(edit: Edit, name: str):
    """As SAMA Convert Weights writes it."""
    from sama_core.convert.job import convert

    folder, _ = _weights(edit)
    path = folder / f"form_{name}.{'gguf' if name.startswith('gguf') else 'safetensors'}"
    if not path.exists():
        convert(folder / edit.models.sama, path, name)
    return path


def _in_core_format(edit: Edit, name: str):
    """The blocks' matrices quantised by core's own layouts, each with its `comfy_quant` entry."""
    from comfy.quant_ops import QUANT_ALGOS, QuantizedTensor

    folder, weights = _weights(edit)
    path = folder / f"form_{name.replace(', ', '_')}.safetensors"
    kind, settings = name.split(",")[0], CORE_FORMATS[name]
    options = {"scale": "recalculate"} if kind.startswith("float8") else {}
    for key in [key for key in weights if key.startswith("blocks.") and weights[key].ndim == 2]:
        packed = QuantizedTensor.from_float(
            weights.pop(key),
            QUANT_ALGOS[kind]["comfy_tensor_layout"],
            **options,
            **_layout_settings(settings),
        )
        weights |= {name: value.contiguous() for name, value in packed.state_dict(key).items()}
        entry = json.dumps({"format": kind, **settings}).encode()
        weights[key.removesuffix("weight") + "comfy_quant"] = torch.tensor(
            list(entry), dtype=torch.uint8
        )
    save_file(weights, path)
    return path


def _layout_settings(settings: dict) -> dict:
    return {"is_weight": True, "per_channel": True, **settings} if settings else {}


def _register_gguf_loader() -> None:
    """A node in place of ComfyUI-GGUF's Unet Loader."""
    import nodes

    from ..harness.gguf_tensors import load_gguf

    class Loader:
        RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL",), "load", "harness"

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"path": ("STRING", {})}}

        def load(self, path):
            return (load_gguf(path),)

    nodes.NODE_CLASS_MAPPINGS.setdefault(GGUF_LOADER, Loader)
