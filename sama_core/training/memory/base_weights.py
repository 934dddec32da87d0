"""A model whose frozen matrices stay packed: how its weights are read, and put into its layers."""

from collections.abc import Callable, Mapping

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ...convert.formats import is_matrix
from ...weights.header import WeightFile
from ...weights.names import strip_prefix
from .frozen_linear import FrozenLinear
from .packed import Packed, Weights, pack, read_packed

DtypeOf = Callable[[str], torch.dtype | None]
"""The dtype of a tensor by its name; None leaves it as it is stored."""


def read_weights(
    file: WeightFile, dtype_of: DtypeOf, packed: bool, shrink: bool = False
) -> Weights:
    """The tensors of a file under the model's names, each in the dtype that `dtype_of` its name
    gives. One that has it already is not copied: it stays in the file's pages.

    With `packed`, quantised matrices stay as the file has them; with `shrink`, those of the blocks
    are made scaled float8, one by one while they are read.
    """
    tensors: dict[str, Tensor] = strip_prefix(load_file(file.path))
    read = read_packed(file, tensors)
    tensors.clear()
    found: Weights = {}
    for name in list(read):
        value = read.pop(name)
        if isinstance(value, Packed):
            found[name] = value if packed else value.unpack(dtype_of(name) or torch.float32)
        elif shrink and is_matrix(name):
            found[name] = pack(value)
        else:
            found[name] = value.to(dtype=dtype_of(name))
    return found


def load_packed(
    model: nn.Module, weights: Mapping[str, Tensor | Packed], dtype_of: DtypeOf
) -> None:
    """Load all weights of a `model` that is on the device `meta`, strictly, without copies.

    Layers of packed matrices are replaced by frozen ones; a packed tensor that is no Linear's
    matrix is unpacked.
    """
    plain: dict[str, Tensor] = {}
    for name, value in weights.items():
        layer = model.get_submodule(name.rpartition(".")[0])
        if isinstance(value, Tensor):
            plain[name] = value
        elif isinstance(layer, nn.Linear):
            model.set_submodule(name.rpartition(".")[0], FrozenLinear.like(layer, value))
            plain[name] = value.numbers.view(torch.uint8)
        else:
            plain[name] = value.unpack(dtype_of(name) or torch.float32)
    model.load_state_dict(plain, assign=True)
