"""Matrices as they are stored in little memory: numbers of one byte, and their scale.

    matrix (rows, columns)  ≈  scale · numbers       numbers in float8 or int8, scale float32

The forms are those of `convert` and of ComfyUI's own quantised files that need no kernel of their
own: scaled float8 under both of its marks, float8 without a scale, and int8 with a scale for each
matrix or row.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ...convert.layouts import fp8_scale, to_fp8
from ...weights.header import WeightFile
from ...weights.quant_formats import MARK, OLD_NAMES, is_quant_key

FORMATS = {
    "float8_e4m3fn": torch.float8_e4m3fn,
    "float8_e5m2": torch.float8_e5m2,
    "int8_tensorwise": torch.int8,
}
"""ComfyUI's quantised formats that can be trained on, and what their numbers are."""
FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2)


@dataclass(frozen=True)
class Packed:
    """One matrix in little memory."""

    numbers: Tensor
    """(rows, columns) float8 or int8; or floats of more bits, which stand for themselves."""
    scale: Tensor | None
    """() or (rows, 1) float32; None for numbers that stand for themselves."""

    def unpack(self, dtype: torch.dtype) -> Tensor:
        """The matrix itself (rows, columns)."""
        return unpack(self.numbers, self.scale, dtype)


Weights = dict[str, Tensor | Packed]
"""Tensors of a model by name; a packed one under the name of its layer's weight."""


def shape_of(value: Tensor | Packed) -> tuple[int, ...]:
    """The shape of a tensor, or of the matrix that a packed one stands for."""
    return tuple(value.numbers.shape if isinstance(value, Packed) else value.shape)


def unpack(numbers: Tensor, scale: Tensor | None, dtype: torch.dtype) -> Tensor:
    """numbers (rows, columns) times their scale in `dtype`; without one and a cast the same
    tensor.
    """
    return numbers.to(dtype) if scale is None else numbers.to(dtype).mul_(scale.to(dtype))


def pack(matrix: Tensor) -> Packed:
    """A matrix (rows, columns) in scaled float8, the numbers that `convert` writes."""
    scale = fp8_scale([matrix])
    return Packed(to_fp8(matrix, scale), scale)


def read_packed(file: WeightFile, tensors: Mapping[str, Tensor]) -> Weights:
    """The tensors of one file, its quantised matrices packed as they are, without their scales.

    `tensors` has the names of `file`, which was judged readable in one of FORMATS.
    """
    marks = {
        name.removesuffix(f".{MARK}"): stored.mark["format"]
        for name, stored in file.list_stored().items()
        if name.endswith(f".{MARK}")
    }
    scales = {_current_name(name): value for name, value in tensors.items() if is_quant_key(name)}
    found: Weights = {}
    for name, value in tensors.items():
        layer = name.removesuffix(".weight")
        if is_quant_key(name):
            continue
        if name.endswith(".weight") and layer in marks:
            # ComfyUI, too, casts a weight of more bits before it scales it.
            scale = scales[f"{layer}.weight_scale"].float()
            numbers = value.to(FORMATS[marks[layer]])
            found[name] = Packed(numbers, scale if scale.ndim == 2 else scale.reshape(()))
        elif value.dtype in FLOAT8 and value.ndim == 2:
            found[name] = Packed(value, torch.ones(()))
        else:
            found[name] = value
    return found


def _current_name(name: str) -> str:
    layer, _, part = name.rpartition(".")
    return f"{layer}.{OLD_NAMES.get(part, part)}"
