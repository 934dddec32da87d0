"""Weight files of a Wan model in every layout found in public, made from one set of weights.

Quantised are the matrices of the blocks, as in published files.
"""

import json
from collections.abc import Callable

import torch
from torch import Tensor

Weights = dict[str, Tensor]
FP8 = torch.float8_e4m3fn
PREFIXES = ("diffusion_model.", "model.diffusion_model.", "pipe.dit.", "_orig_mod.", "module.")
_DIFFUSERS = {
    "self_attn.q.": "attn1.to_q.",
    "self_attn.k.": "attn1.to_k.",
    "self_attn.v.": "attn1.to_v.",
    "self_attn.o.": "attn1.to_out.0.",
    "self_attn.norm_q.": "attn1.norm_q.",
    "self_attn.norm_k.": "attn1.norm_k.",
    "cross_attn.q.": "attn2.to_q.",
    "cross_attn.k.": "attn2.to_k.",
    "cross_attn.v.": "attn2.to_v.",
    "cross_attn.o.": "attn2.to_out.0.",
    "cross_attn.norm_q.": "attn2.norm_q.",
    "cross_attn.norm_k.": "attn2.norm_k.",
    "ffn.0.": "ffn.net.0.proj.",
    "ffn.2.": "ffn.net.2.",
    "norm3.": "norm2.",
    "modulation": "scale_shift_table",
    "head.modulation": "scale_shift_table",
    "head.head.": "proj_out.",
    "time_embedding.0.": "condition_embedder.time_embedder.linear_1.",
    "time_embedding.2.": "condition_embedder.time_embedder.linear_2.",
    "time_projection.1.": "condition_embedder.time_proj.",
    "text_embedding.0.": "condition_embedder.text_embedder.linear_1.",
    "text_embedding.2.": "condition_embedder.text_embedder.linear_2.",
}


def matrices(weights: Weights, inside: str = "blocks.") -> list[str]:
    """The layers that quantisers convert, without `.weight`."""
    return [
        key.removesuffix(".weight")
        for key, value in weights.items()
        if key.startswith(inside) and key.endswith(".weight") and value.ndim == 2
    ]


def mark(format_name: str, **more) -> Tensor:
    """A `comfy_quant` entry."""
    return torch.tensor(
        list(json.dumps({"format": format_name, **more}).encode()), dtype=torch.uint8
    )


def quantise_fp8(weight: Tensor, by_row: bool = False) -> tuple[Tensor, Tensor]:
    """Weight and scale: one scale for all, or one a row (n, 1)."""
    size = weight.float().abs().amax(1, keepdim=True) if by_row else weight.float().abs().amax()
    scale = size / 448
    return (weight.float() / scale).to(FP8), scale


def _int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    scale = weight.float().abs().amax(1, keepdim=True) / 127
    return (weight.float() / scale).round().to(torch.int8), scale


def quantise_layers(
    weights: Weights, layers: list[str], quantise: Callable, scale_name: str
) -> Weights:
    """Each layer's weight and scale as `quantise` gives them for its weight."""
    found = dict(weights)
    for layer in layers:
        found[f"{layer}.weight"], found[f"{layer}.{scale_name}"] = quantise(
            weights[f"{layer}.weight"]
        )
    return found


def unmarked_fp8(
    weights: Weights, layers: list[str] | None = None, scale_name: str = "weight_scale"
) -> Weights:
    """One scale a layer, as vLLM and ModelOpt write it.

    With ComfyUI's old name `scale_weight` as that does.
    """
    return quantise_layers(weights, layers or matrices(weights), quantise_fp8, scale_name)


def scaled_fp8(weights: Weights, layers: list[str] | None = None) -> Weights:
    """ComfyUI's older form: `scale_weight` and one mark for all."""
    return unmarked_fp8(weights, layers, "scale_weight") | {"scaled_fp8": torch.zeros(2, dtype=FP8)}


def comfy_quant(weights: Weights, layers: list[str] | None = None) -> Weights:
    """ComfyUI's current form, fp8."""
    layers = layers or matrices(weights)
    return unmarked_fp8(weights, layers) | {
        f"{layer}.comfy_quant": mark("float8_e4m3fn") for layer in layers
    }


def list_in_metadata(layers: list[str], format_name: str = "float8_e4m3fn") -> dict[str, str]:
    """Metadata that marks the layers."""
    return {
        "_quantization_metadata": json.dumps(
            {
                "format_version": "1.0",
                "layers": {layer: {"format": format_name} for layer in layers},
            }
        )
    }


def int8(weights: Weights, marked: bool = True) -> Weights:
    """One scale a row."""
    layers = matrices(weights)
    marks = {f"{layer}.comfy_quant": mark("int8_tensorwise") for layer in layers} if marked else {}
    return quantise_layers(weights, layers, _int8, "weight_scale") | marks


def nvfp4(
    weights: Weights, marked: bool = True, smooth: bool = False, inside: str = "blocks."
) -> Weights:
    """Packed noise of the right shapes.

    Two values a byte, a scale for each 16 in tiles of 128 by 4, one for all.
    """
    found, draw = dict(weights), torch.Generator().manual_seed(2)
    for layer in matrices(weights, inside):
        out, into = weights[f"{layer}.weight"].shape
        found[f"{layer}.weight"] = torch.randint(
            0, 255, (_up(out, 16), _up(into, 16) // 2), dtype=torch.uint8, generator=draw
        )
        found[f"{layer}.weight_scale"] = torch.ones(_up(out, 128), _up(_up(into, 16) // 16, 4)).to(
            FP8
        )
        found[f"{layer}.weight_scale_2"] = torch.tensor(0.001)
        if marked:
            found[f"{layer}.comfy_quant"] = mark("nvfp4")
        if smooth:
            found[f"{layer}.pre_quant_scale"] = torch.full((into,), 0.5)
    return found


def mxfp8(weights: Weights) -> Weights:
    """One power of two for each 32 values, in tiles of 128 by 4."""
    found = dict(weights)
    for layer in matrices(weights):
        out, into = weights[f"{layer}.weight"].shape
        padded = torch.zeros(_up(out, 32), _up(into, 32))
        padded[:out, :into] = weights[f"{layer}.weight"]
        found[f"{layer}.weight"] = padded.to(FP8)
        found[f"{layer}.weight_scale"] = torch.full(
            (_up(out, 128), _up(_up(into, 32) // 32, 4)), 127, dtype=torch.uint8
        )
        found[f"{layer}.comfy_quant"] = mark("mxfp8")
    return found


def _up(value: int, step: int) -> int:
    return -(-value // step) * step


def diffusers(weights: Weights) -> Weights:
    """The same tensors under diffusers' names."""
    return {diffusers_name(key): value for key, value in weights.items()}


def diffusers_name(key: str) -> str:
    """Diffusers' name of one of Wan's tensors."""
    start, rest = "", key
    if key.startswith("blocks."):
        _, number, rest = key.split(".", 2)
        start = f"blocks.{number}."
    for ours, theirs in _DIFFUSERS.items():
        if rest.startswith(ours):
            return start + theirs + rest.removeprefix(ours)
    return key


def add_prefix(weights: Weights, prefix: str) -> Weights:
    """Every name with a prefix."""
    return {prefix + key: value for key, value in weights.items()}


def all_in_one(weights: Weights) -> Weights:
    """A checkpoint with a text encoder and a VAE in it."""
    return add_prefix(weights, "model.diffusion_model.") | {
        "text_encoders.umt5xxl.transformer.shared.weight": torch.ones(8, 4),
        "text_encoders.umt5xxl.spiece_model": torch.ones(8, dtype=torch.uint8),
        "vae.decoder.middle.0.residual.0.gamma": torch.ones(4, 1, 1, 1),
    }
