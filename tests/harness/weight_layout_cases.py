"""Files in every layout of `weight_layouts`.

Right ones, and wrong ones with the words of their refusal.
"""

import json
from collections.abc import Iterator
from typing import NamedTuple

import torch

from sama_core.errors import shorten

from .weight_layouts import (
    FP8,
    PREFIXES,
    Weights,
    add_prefix,
    all_in_one,
    comfy_quant,
    diffusers,
    diffusers_name,
    int8,
    list_in_metadata,
    mark,
    matrices,
    mxfp8,
    nvfp4,
    quantise_fp8,
    quantise_layers,
    scaled_fp8,
    unmarked_fp8,
)


class LayoutCase(NamedTuple):
    """One file, and what must come of it."""

    name: str
    """Of the case."""
    tensors: Weights
    """The file's."""
    metadata: dict[str, str] | None = None
    """The file's."""
    words: str = ""
    """Part of the refusal; empty where the file is right."""


def right(weights: Weights) -> Iterator[LayoutCase]:
    """Every layout that ComfyUI reads as it is meant."""
    layers = matrices(weights)
    yield LayoutCase("plain", weights)
    for prefix in PREFIXES:
        yield LayoutCase(f"prefix {prefix}", add_prefix(weights, prefix))
    yield LayoutCase("diffusers", diffusers(weights))
    yield LayoutCase(
        "diffusers in a checkpoint", add_prefix(diffusers(weights), "model.diffusion_model.")
    )
    yield LayoutCase("all in one", all_in_one(weights))
    yield LayoutCase(
        "some with a prefix",
        {
            ("diffusion_model." if key.startswith("blocks.0.") else "") + key: value
            for key, value in weights.items()
        },
    )
    for dtype in (torch.float64, torch.float16, torch.bfloat16, FP8, torch.float8_e5m2):
        yield LayoutCase(
            f"matrices in {str(dtype).removeprefix('torch.')}",
            weights | {f"{layer}.weight": weights[f"{layer}.weight"].to(dtype) for layer in layers},
        )
    yield LayoutCase("scaled fp8", scaled_fp8(weights))
    yield LayoutCase(
        "scaled fp8 with input scales",
        scaled_fp8(weights) | {f"{layer}.scale_input": torch.tensor([1.0]) for layer in layers},
    )
    yield LayoutCase(
        "scaled fp8 with a prefix", add_prefix(scaled_fp8(weights), "model.diffusion_model.")
    )
    yield LayoutCase("comfy_quant", comfy_quant(weights))
    yield LayoutCase("comfy_quant of one layer", comfy_quant(weights, layers[:1]))
    yield LayoutCase("comfy_quant under diffusers' names", diffusers(comfy_quant(weights)))
    yield LayoutCase("comfy_quant all in one", all_in_one(comfy_quant(weights)))
    yield LayoutCase("metadata", unmarked_fp8(weights), list_in_metadata(layers))
    yield LayoutCase(
        "metadata with a prefix",
        add_prefix(unmarked_fp8(weights), "model.diffusion_model."),
        list_in_metadata([f"model.diffusion_model.{layer}" for layer in layers]),
    )
    yield LayoutCase(
        "metadata without the file's prefix",
        add_prefix(unmarked_fp8(weights), "model.diffusion_model."),
        list_in_metadata(layers),
    )
    yield LayoutCase(
        "metadata under diffusers' names",
        diffusers(unmarked_fp8(weights)),
        list_in_metadata([diffusers_name(f"{layer}.")[:-1] for layer in layers]),
    )
    yield LayoutCase("int8", int8(weights))
    yield LayoutCase("mxfp8", mxfp8(weights))
    yield LayoutCase("nvfp4", nvfp4(weights))
    yield LayoutCase("nvfp4 of an embedding", nvfp4(nvfp4(weights), inside="time_embedding."))
    yield LayoutCase("nvfp4 with smoothing", nvfp4(weights, smooth=True))


def wrong(weights: Weights) -> Iterator[LayoutCase]:
    """Every layout × a missing or broken part, and what no ComfyUI reads."""
    yield from _without_marks(weights)
    yield from _broken_parts(weights)
    yield from _broken_marks(weights)
    yield from _odd_types(weights)
    first = matrices(weights)[0]
    copies = {key: value.clone() for key, value in weights.items()}
    yield LayoutCase(
        "a tensor twice",
        weights | {f"diffusion_model.{first}.weight": copies[f"{first}.weight"]},
        words=f"the tensor {first}.weight twice",
    )
    yield LayoutCase(
        "two prefixes",
        add_prefix(weights, PREFIXES[0]) | add_prefix(copies, PREFIXES[1]),
        words="twice",
    )
    yield LayoutCase(
        "half under diffusers' names",
        weights | {diffusers_name(f"{first}.weight"): torch.zeros(1)},
        words=f"the tensor {first}.weight twice",
    )
    yield LayoutCase(
        "an empty matrix",
        weights | {f"{first}.weight": torch.zeros(0, 8)},
        words=f"{first}.weight [0, 8]",
    )
    yield LayoutCase(
        "blocks without end",
        weights | {"blocks.999999999.norm3.bias": torch.zeros(8)},
        words="a block 999999999 in a file of",
    )
    yield LayoutCase(
        "checkpoint of plain Wan",
        all_in_one(
            {
                key: value
                for key, value in weights.items()
                if not key.startswith(("segment_embedding", "siglip_feat_mlp", "semantic_head"))
            }
        ),
        words="a plain Wan model",
    )


def _without_marks(weights: Weights) -> Iterator[LayoutCase]:
    layers, loose = matrices(weights), "scales that nothing applies"
    yield LayoutCase(
        "fp8 by row, unmarked",
        quantise_layers(weights, layers, lambda weight: quantise_fp8(weight, True), "weight_scale"),
        words=loose,
    )
    yield LayoutCase(
        "fp8 with input scales, unmarked",
        unmarked_fp8(weights) | {f"{layer}.input_scale": torch.tensor(1.0) for layer in layers},
        words=loose,
    )
    yield LayoutCase(
        "scaled fp8, unmarked", unmarked_fp8(weights, scale_name="scale_weight"), words=loose
    )
    yield LayoutCase("int8, unmarked", int8(weights, marked=False), words=loose)
    yield LayoutCase("nvfp4, unmarked", nvfp4(weights, marked=False), words=loose)
    yield LayoutCase(
        "fp8 of DeepSeek's kind", unmarked_fp8(weights, scale_name="weight_scale_inv"), words=loose
    )
    yield LayoutCase(
        "one layer's mark lost",
        {
            key: value
            for key, value in comfy_quant(weights).items()
            if key != f"{layers[1]}.comfy_quant"
        },
        words=f"({layers[1]}.weight_scale)",
    )
    yield LayoutCase(
        "a metadata list of half the layers",
        unmarked_fp8(weights),
        list_in_metadata(layers[1:]),
        f"({layers[0]}.weight_scale)",
    )
    yield LayoutCase(
        "old scales under a list",
        unmarked_fp8(weights, scale_name="scale_weight"),
        list_in_metadata(layers),
        "scale",
    )
    yield LayoutCase(
        "scales of another format",
        comfy_quant(weights) | {f"{layers[0]}.weight_scale_2": torch.tensor(1.0)},
        words=f"({layers[0]}.weight_scale_2)",
    )
    for names in (("qweight", "qzeros", "scales", "g_idx"), ("weight.absmax", "weight.quant_map")):
        extra = {f"{layer}.{name}": torch.zeros(2) for layer in layers for name in names}
        yield LayoutCase(f"{names[0]} of another library", weights | extra, words=loose)


def _broken_parts(weights: Weights) -> Iterator[LayoutCase]:
    layer = matrices(weights)[0]
    layouts = {
        "scaled fp8": (scaled_fp8(weights), "scale_weight"),
        "mxfp8": (mxfp8(weights), "weight_scale"),
        "comfy_quant": (comfy_quant(weights), "weight_scale"),
        "int8": (int8(weights), "weight_scale"),
        "nvfp4": (nvfp4(weights), "weight_scale_2"),
    }
    for name, (tensors, scale) in layouts.items():
        key, lost = f"{layer}.{scale}", {k: v for k, v in tensors.items() if k != f"{layer}.weight"}
        core_key = key.replace("scale_weight", "weight_scale")
        yield LayoutCase(f"{name} without a weight", lost, words=f"1 missing: {layer}.weight")
        yield LayoutCase(
            f"{name} with a scale of another shape",
            tensors | {key: torch.ones(3, 5).to(tensors[key].dtype)},
            words=f"{core_key} of shape [3, 5]",
        )
        yield LayoutCase(
            f"{name} with half a weight",
            tensors | {f"{layer}.weight": tensors[f"{layer}.weight"][::2].contiguous()},
            words=f"{layer}.weight of shape",
        )
        if name != "scaled fp8":
            yield LayoutCase(
                f"{name} without a scale",
                {k: v for k, v in tensors.items() if k != key},
                words=f"quantised layers without {core_key}",
            )
        if tensors[key].is_floating_point():
            for value in ("nan", "inf", "-inf"):
                yield LayoutCase(
                    f"{name} with a scale of {value}",
                    tensors | {key: torch.full_like(tensors[key], float(value))},
                    words=f"NaN or infinite values in {key}",
                )
    yield LayoutCase(
        "bfloat16 scale of nan",
        comfy_quant(weights)
        | {f"{layer}.weight_scale": torch.tensor(float("nan"), dtype=torch.bfloat16)},
        words="NaN or infinite values",
    )
    yield LayoutCase(
        "fp8 of the other kind",
        comfy_quant(weights)
        | {f"{layer}.weight": weights[f"{layer}.weight"].to(torch.float8_e5m2)},
        words=f"{layer}.weight as F8_E5M2",
    )
    yield LayoutCase(
        "int8 called nvfp4",
        int8(weights) | {f"{layer}.comfy_quant": mark("nvfp4")},
        words=f"quantised layers without {layer}.weight_scale_2",
    )


def _broken_marks(weights: Weights) -> Iterator[LayoutCase]:
    layers, tensors, loose = matrices(weights), comfy_quant(weights), unmarked_fp8(weights)
    for name in ("sdnq_int4", "FLOAT8_E4M3FN", "", "float8_e4m3fn\n"):
        yield LayoutCase(
            f"format {name!r}",
            tensors | {f"{layers[0]}.comfy_quant": mark(name)},
            words=f"the quantisation format {shorten(name)} ({layers[0]})",
        )
    yield LayoutCase(
        "unknown format in the metadata",
        loose,
        list_in_metadata(layers, "sdnq_int4"),
        f"the quantisation format sdnq_int4 ({layers[0]} and {len(layers) - 1} more)",
    )
    for name, content in (
        ("text", b"float8"),
        ("list", b"[]"),
        ("number", b'{"format": 8}'),
        ("nothing", b""),
        ("no format", b"{}"),
        ("deep", b"[" * 5000),
        ("bytes", b"\xff\xfe"),
    ):
        entry = torch.tensor(list(content), dtype=torch.uint8)
        yield LayoutCase(
            f"mark of {name}",
            tensors | {f"{layers[0]}.comfy_quant": entry},
            words=f"no readable quantisation format in {layers[0]}.comfy_quant",
        )
    for name, content in (
        ("no JSON", "fp8"),
        ("a list", "[]"),
        ("no layers", "{}"),
        ("a number", '{"layers": 1}'),
    ):
        yield LayoutCase(
            f"metadata with {name}",
            loose,
            {"_quantization_metadata": content},
            "no readable _quantization_metadata",
        )
    yield LayoutCase(
        "metadata with a mark of text",
        loose,
        {"_quantization_metadata": json.dumps({"layers": {layers[0]: "fp8"}})},
        "no readable quantisation format",
    )
    yield LayoutCase(
        "a mark for no layer",
        tensors | {"blocks.77.ffn.0.comfy_quant": mark("float8_e4m3fn")},
        words="a quantisation format for blocks.77.ffn.0",
    )
    yield LayoutCase(
        "a list that names no layer",
        loose,
        list_in_metadata([*layers, "blocks.77.ffn.0"]),
        "a quantisation format for blocks.77.ffn.0",
    )
    for layer in ("patch_embedding", "blocks.0.norm3"):
        yield LayoutCase(
            f"a mark for {layer}",
            tensors
            | {
                f"{layer}.comfy_quant": mark("float8_e4m3fn"),
                f"{layer}.weight_scale": torch.tensor(1.0),
            },
            words=f"float8_e4m3fn for {layer}",
        )
    yield LayoutCase(
        "nvfp4 for the segments",
        tensors | {"segment_embedding.comfy_quant": mark("nvfp4")},
        words="nvfp4 for segment_embedding",
    )


def _odd_types(weights: Weights) -> Iterator[LayoutCase]:
    layer = matrices(weights)[0]
    for dtype, name in (
        (torch.int8, "I8"),
        (torch.uint8, "U8"),
        (torch.int64, "I64"),
        (torch.int32, "I32"),
        (torch.bool, "BOOL"),
        (torch.int16, "I16"),
        (torch.complex64, "C64"),
    ):
        yield LayoutCase(
            f"a matrix in {name}",
            weights | {f"{layer}.weight": weights[f"{layer}.weight"].to(dtype)},
            words=f"{layer}.weight as {name} without a quantisation format",
        )
    yield LayoutCase(
        "a bias in I8",
        weights | {f"{layer}.bias": weights[f"{layer}.bias"].to(torch.int8)},
        words=f"{layer}.bias as I8 without",
    )
