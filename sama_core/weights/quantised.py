"""Quantised layers of a weight file: which formats ComfyUI applies, and which parts it would ignore
without an error.

A quantised layer is its packed weight, its scales, and a mark that names the format. ComfyUI finds
marks in three places: a `comfy_quant` entry beside the weight, the file's `_quantization_metadata`,
or, for all layers that have a `scale_weight`, the one entry `scaled_fp8`. Scales without a mark are
not read at all, and the picture is black.

Everything here is judged from names, types and shapes, and from the few bytes of marks and small
scales.
"""

import json
import math
import struct
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ..errors import CheckpointError, needed
from .quant_formats import (
    EMBEDDINGS,
    FLOATS,
    FORMATS,
    MARK,
    METADATA,
    OLD_MARK,
    OLD_NAMES,
    OTHERS,
    OURS,
    SMALL,
    Shape,
    is_quant_key,
)

_FIX = (
    "Choose a file made for ComfyUI, or the one in 16 bit: SAMA Convert Weights makes a small "
    "one of it."
)


class Stored(NamedTuple):
    """One tensor of a file."""

    dtype: str
    """As safetensors writes it: BF16, F8_E4M3 …"""
    shape: Shape
    """As the file gives it."""
    mark: Any = None
    """Of a mark what it says: {"format": …}."""


def as_core_reads(
    stored: Mapping[str, Stored], layers: Mapping[str, object] | None, name: str
) -> dict[str, Stored]:
    """The file's tensors with one mark for each quantised layer, wherever the file says so.

    `layers` are those of `_quantization_metadata`, None without it; ComfyUI then looks for
    `scaled_fp8`. Raises CheckpointError, about `name`, for marks that cannot be read.
    """
    found = dict(stored)
    if layers is None and OLD_MARK in found:
        found = {_rename_scale(key): value for key, value in found.items() if key != OLD_MARK}
        layers = {
            key.removesuffix(".scale_weight"): {"format": "float8_e4m3fn"}
            for key in stored
            if key.endswith(".scale_weight")
        }
    for layer, mark in (layers or {}).items():
        found[f"{layer}.{MARK}"] = Stored("U8", (), mark)
    for key, value in found.items():
        if key.endswith(f".{MARK}") and not (
            isinstance(value.mark, Mapping) and isinstance(value.mark.get("format"), str)
        ):
            raise CheckpointError(
                needed(name, f"no readable quantisation format in {key}", '{"format": …}', _FIX)
            )
    return found


def unpack_shapes(stored: Mapping[str, Stored]) -> dict[str, Shape]:
    """Shape of every tensor of the model, by name; that of a packed weight counts its values.

    `stored` comes from `as_core_reads`. What a format fills up to whole blocks is counted, too.
    """
    shapes = {key: value.shape for key, value in stored.items() if not is_quant_key(key)}
    for key, value in stored.items():
        weight, form = f"{key.removesuffix(MARK)}weight", None
        if key.endswith(f".{MARK}"):
            form = FORMATS.get(value.mark["format"])
        if form is not None and shapes.get(weight):
            *rows, columns = shapes[weight]
            shapes[weight] = (*rows, columns * form.packs)
    return shapes


def _rename_scale(key: str) -> str:
    layer, _, part = key.rpartition(".")
    return f"{layer}.{OLD_NAMES[part]}" if part in OLD_NAMES else key


def metadata_layers(metadata: Mapping[str, str], name: str) -> dict[str, object] | None:
    """Layer → mark of the `_quantization_metadata` entry, None without one.

    Raises CheckpointError, about `name`, where the entry cannot be read.
    """
    if METADATA not in metadata:
        return None
    try:
        return dict(json.loads(metadata[METADATA])["layers"])
    except (ValueError, TypeError, LookupError, RecursionError) as broken:
        raise CheckpointError(
            needed(name, f"no readable {METADATA} ({broken})", '{"layers": {…}}', _FIX)
        ) from broken


def read_mark(data: bytes) -> object:
    """What the bytes of a `comfy_quant` entry say, None where they are no JSON."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def refuse_unreadable(
    name: str,
    stored: Mapping[str, Stored],
    need: Mapping[str, Shape],
    formats: Iterable[str] | None = None,
) -> None:
    """Raise CheckpointError, about `name`, if ComfyUI would not read a quantised layer, or would
    read it in a wrong way.

    `stored` comes from `as_core_reads`; `need` are the model's names and shapes. `formats` are
    those that the ComfyUI at hand knows; all of FORMATS unless given.
    """
    known = sorted(FORMATS if formats is None else formats)
    marks = {
        key.removesuffix(f".{MARK}"): value.mark["format"]
        for key, value in stored.items()
        if key.endswith(f".{MARK}")
    }
    _refuse_formats(name, marks, known)
    _refuse_layers(name, marks, need)
    _refuse_scales(name, stored, marks, need)
    for layer, format_name in marks.items():
        if format_name in FORMATS and f"{layer}.weight" in stored:
            _refuse_shapes(name, layer, format_name, stored, need[f"{layer}.weight"])
    odd = {
        key: value.dtype
        for key, value in stored.items()
        if key in need and value.dtype not in FLOATS and key.removesuffix(".weight") not in marks
    }
    if odd:
        first = next(iter(odd))
        raise CheckpointError(
            needed(
                name,
                f"{_several(list(odd))} as {odd[first]} without a quantisation format",
                "floating-point weights, or a format for each quantised layer",
                _FIX,
            )
        )


def _refuse_formats(name: str, marks: Mapping[str, str], known: list[str]) -> None:
    strange = [layer for layer, format_name in marks.items() if format_name not in known]
    if not strange:
        return
    got = f"the quantisation format {marks[strange[0]]} ({_several(strange)})"
    if known:
        need, fix = (
            f"one that ComfyUI reads here ({', '.join(known)})",
            "Choose a file in one, or update ComfyUI.",
        )
    else:
        need, fix = "weights in 16 or 32 bit", "Choose the file that is not quantised."
    raise CheckpointError(needed(name, got, need, fix))


def _refuse_layers(name: str, marks: Mapping[str, str], need: Mapping[str, Shape]) -> None:
    absent = [layer for layer in marks if f"{layer}.weight" not in need]
    if absent:
        raise CheckpointError(
            needed(
                name,
                f"a quantisation format for {_several(absent)}",
                "layers of this model only",
                "The file is of another model, or damaged: choose another.",
            )
        )
    flat = [
        layer
        for layer, format_name in marks.items()
        if len(need[f"{layer}.weight"]) != 2
        or (
            layer.endswith(EMBEDDINGS)
            and format_name in FORMATS
            and not FORMATS[format_name].embeddings
        )
    ]
    if flat:
        raise CheckpointError(
            needed(name, f"{marks[flat[0]]} for {_several(flat)}", "16 or 32 bit for it", _FIX)
        )


def _refuse_scales(
    name: str, stored: Mapping[str, Stored], marks: Mapping[str, str], need: Mapping[str, Shape]
) -> None:
    """Scales that no mark claims, and marks without their scales."""
    loose = [
        key for key in stored if key not in need and _is_scale(key) and not _is_claimed(key, marks)
    ]
    if loose:
        raise CheckpointError(
            needed(
                name,
                f"quantisation scales that nothing applies ({_several(loose)})",
                f"a format for their layers ({MARK} entries, {METADATA} or {OLD_MARK})",
                _FIX,
            )
        )
    lost = [
        f"{layer}.{part}"
        for layer, format_name in marks.items()
        if format_name in FORMATS
        for part in FORMATS[format_name].scales
        if f"{layer}.{part}" not in stored and not layer.endswith(EMBEDDINGS)
    ]
    if lost:
        raise CheckpointError(
            needed(
                name,
                f"quantised layers without {_several(lost)}",
                "a scale for each",
                "The file is incomplete: download it again.",
            )
        )


def _is_scale(key: str) -> bool:
    return key == OLD_MARK or key.endswith(tuple(f".{part}" for part in (*OURS, *OTHERS)))


def _is_claimed(key: str, marks: Mapping[str, str]) -> bool:
    """Whether the layer's format reads this tensor.

    Formats that only the ComfyUI at hand knows claim all.
    """
    layer, _, part = key.rpartition(".")
    if part == MARK or key == OLD_MARK:
        return True
    form = FORMATS.get(marks.get(layer, ""))
    return layer in marks and (form is None or part in form.scales or part in form.optional)


def _refuse_shapes(
    name: str, layer: str, format_name: str, stored: Mapping[str, Stored], need: Shape
) -> None:
    form, weight = FORMATS[format_name], stored[f"{layer}.weight"]
    if weight.dtype not in form.dtypes:
        raise CheckpointError(
            needed(
                name,
                f"{layer}.weight as {weight.dtype}",
                f"{form.dtypes[0]} for the format {format_name}",
                _FIX,
            )
        )
    if weight.shape != form.weight(*need):
        raise CheckpointError(
            needed(
                name,
                f"{layer}.weight of shape {list(weight.shape)}",
                f"{list(form.weight(*need))} for {list(need)} in the format {format_name}",
                "The file is of another model, or damaged: choose another.",
            )
        )
    for part, fits in {**form.scales, **form.optional}.items():
        scale = stored.get(f"{layer}.{part}")
        if scale is not None and not fits(need[0], need[1], scale.shape):
            raise CheckpointError(
                needed(
                    name,
                    f"{layer}.{part} of shape {list(scale.shape)}",
                    f"a scale as {format_name} has it for {list(need)}",
                    _FIX,
                )
            )


# --- values --------------------------------------------------------------------------------------
_CODES = {"F64": "d", "F32": "f", "F16": "e"}


def is_small_scale(key: str, dtype: str, size: int) -> bool:
    """Whether a tensor is a scale whose values are looked at before the weights are read."""
    return (
        _is_scale(key)
        and not key.endswith(f".{MARK}")
        and dtype in (*_CODES, "BF16")
        and size <= SMALL
    )


def refuse_broken_scales(name: str, scales: Mapping[str, tuple[str, bytes]]) -> None:
    """CheckpointError naming the scales, given as (type, bytes), that hold NaN or infinity."""
    broken = [
        key
        for key, (dtype, data) in scales.items()
        if not all(map(math.isfinite, _numbers(dtype, data)))
    ]
    if broken:
        raise CheckpointError(
            needed(
                name,
                f"NaN or infinite values in {_several(broken)}",
                "finite scales",
                "The file is damaged or its quantisation broke: download it again.",
            )
        )


def _numbers(dtype: str, data: bytes) -> Iterable[float]:
    if dtype == "BF16":  # the upper half of a float32
        data, dtype = b"".join(b"\0\0" + data[at : at + 2] for at in range(0, len(data), 2)), "F32"
    return (number for (number,) in struct.iter_unpack(f"<{_CODES[dtype]}", data))


def _several(names: list[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")
