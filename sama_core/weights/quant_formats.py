"""The formats of quantised layers that ComfyUI reads: their tensors, and the names of these."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

METADATA = "_quantization_metadata"
MARK = "comfy_quant"
OLD_MARK = "scaled_fp8"
OLD_NAMES = {"scale_weight": "weight_scale", "scale_input": "input_scale"}
OURS = (
    MARK,
    "weight_scale",
    "weight_scale_2",
    "input_scale",
    "pre_quant_scale",
    "weight_s_rel",
    "weight_s_channel",
    "weight_codebook",
    *OLD_NAMES,
)
# What the files of other libraries hold beside a packed weight: vLLM, GPTQ and AWQ, bitsandbytes,
# SVDQuant, SDNQ.
OTHERS = (
    "weight_scale_inv",
    "weight_zero_point",
    "zero_point",
    "weight_shape",
    "weight_packed",
    "qweight",
    "qzeros",
    "scales",
    "g_idx",
    "SCB",
    "absmax",
    "quant_map",
    "nested_absmax",
    "nested_quant_map",
    "wscales",
    "scale",
    "quant_state.bitsandbytes__nf4",
    "quant_state.bitsandbytes__fp4",
    "weight_format",
)
SUFFIXES = tuple(f".{part}" for part in OURS)
"""Endings of the tensors that belong to a quantised layer besides its weight."""
FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
"""Types whose numbers are the weights themselves."""
EMBEDDINGS = ("segment_embedding", "shared", "relative_attention_bias")
SMALL = 1 << 20
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Format:
    """How ComfyUI stores a layer of `rows` outputs and `columns` inputs."""

    dtypes: tuple[str, ...]
    """Of the weight."""
    weight: Callable[[int, int], Shape]
    """Shape of the packed weight from (rows, columns)."""
    scales: Mapping[str, Callable[[int, int, Shape], bool]]
    """Tensors that must be there, each with whether a shape is right."""
    optional: Mapping[str, Callable[[int, int, Shape], bool]] = field(default_factory=dict)
    """Tensors that may be there, in the same form."""
    embeddings: bool = False
    """Whether ComfyUI reads an embedding in this format."""
    packs: int = 1
    """Values in one element of the weight."""


def _round(value: int, step: int) -> int:
    return -(-value // step) * step


def _one(rows: int, columns: int, shape: Shape) -> bool:
    return math.prod(shape) == 1


def _each_row(rows: int, columns: int, shape: Shape) -> bool:
    return math.prod(shape) == 1 or shape == (rows, 1)


def _rows(rows: int, columns: int, shape: Shape) -> bool:
    return math.prod(shape) == rows


def _columns(rows: int, columns: int, shape: Shape) -> bool:
    return math.prod(shape) in (1, columns)


def _any(rows: int, columns: int, shape: Shape) -> bool:
    return True


def _blocks(step: int, pad: int) -> Callable[[int, int, Shape], bool]:
    """One scale for each `step` inputs, in the tiles of 128 by 4 that tensor cores read."""

    def fits(rows: int, columns: int, shape: Shape) -> bool:
        return math.prod(shape) == _round(_round(rows, pad), 128) * _round(
            _round(columns, pad) // step, 4
        )

    return fits


_FLOAT8: dict[str, Any] = {
    "weight": lambda rows, columns: (rows, columns),
    "scales": {"weight_scale": _one},
    "optional": {"input_scale": _one},
    "embeddings": True,
}
FORMATS = {
    # ComfyUI casts a weight of more bits to float8 before it scales it.
    "float8_e4m3fn": Format(("F8_E4M3", "BF16", "F16", "F32"), **_FLOAT8),
    "float8_e5m2": Format(("F8_E5M2", "BF16", "F16", "F32"), **_FLOAT8),
    "nvfp4": Format(
        ("U8",),
        lambda rows, columns: (_round(rows, 16), _round(columns, 16) // 2),
        {"weight_scale": _blocks(16, 16), "weight_scale_2": _one},
        {"input_scale": _one, "pre_quant_scale": _columns},
        packs=2,
    ),
    "mxfp8": Format(
        ("F8_E4M3",),
        lambda rows, columns: (_round(rows, 32), _round(columns, 32)),
        {"weight_scale": _blocks(32, 32)},
        {"input_scale": _one},
    ),
    "int8_tensorwise": Format(
        ("I8",), lambda rows, columns: (rows, columns), {"weight_scale": _each_row}, embeddings=True
    ),
    "convrot_w4a4": Format(
        ("I8",), lambda rows, columns: (rows, columns // 2), {"weight_scale": _rows}, packs=2
    ),
    "asym_w4a8_int8": Format(
        ("I8",),
        lambda rows, columns: (rows, columns // 2),
        {"weight_s_rel": _any},
        {"weight_s_channel": _any, "weight_codebook": _any},
        packs=2,
    ),
}
"""ComfyUI's formats up to 0.33, as its loader and comfy-kitchen's layouts read them."""


def is_quant_key(key: str) -> bool:
    """True for the extra tensors that scaled-fp8 and ComfyUI's quantised files carry."""
    return key == OLD_MARK or key.endswith(SUFFIXES)
