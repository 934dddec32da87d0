"""A tiny SAMA in the file forms that conversion meets, and what is read back from a result."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from sama_core.convert.formats import is_matrix
from sama_core.model.config import DitConfig
from sama_core.weights.names import SAMA_KEYS

from ..harness.untrained import diffusion_model

TINY = DitConfig(
    dim=128,
    num_heads=1,
    ffn_dim=96,
    num_layers=2,
    text_dim=32,
    freq_dim=32,
    in_dim=16,
    out_dim=16,
    semantic_dim=12,
    semantic_hidden=10,
)
MATRICES = 20
"""Of two blocks: eight attention and two feed-forward matrices each."""
TENSORS = 80


def tiny(dtype: torch.dtype = torch.bfloat16) -> dict[str, torch.Tensor]:
    weights = diffusion_model(torch.Generator().manual_seed(0), TINY)
    return {name: value.to(dtype) for name, value in weights.items()}


def write(path: Path, tensors: dict[str, torch.Tensor], metadata: dict | None = None) -> Path:
    save_file(
        {name: value.contiguous() for name, value in tensors.items()}, path, metadata=metadata
    )
    return path


def base_and_delta(
    folder: Path, weights: dict[str, torch.Tensor], trained: str
) -> tuple[Path, Path]:
    """Two float32 shards of the base, whose `trained` is zero, and a delta that brings it."""
    wan = {name: value.float() for name, value in weights.items() if name not in SAMA_KEYS}
    names = sorted(wan)
    for number, part in enumerate((names[::2], names[1::2]), 1):
        shard = {
            name: torch.zeros_like(wan[name]) if name == trained else wan[name] for name in part
        }
        write(folder / f"wan-{number:05d}-of-00002.safetensors", shard)
    delta = {name: weights[name] for name in (*SAMA_KEYS, trained)}
    return folder / "wan-00001-of-00002.safetensors", write(folder / "delta.safetensors", delta)


def fp8_values(path: Path) -> dict[str, torch.Tensor]:
    """A float8 file's weights in float32, scales applied by hand."""
    tensors = load_file(path)
    values = {}
    for name, value in tensors.items():
        layer = name.removesuffix(".weight")
        scale = tensors.get(f"{layer}.scale_weight", tensors.get(f"{layer}.weight_scale"))
        if value.dtype == torch.float8_e4m3fn and name != "scaled_fp8":
            values[name] = value.float() * scale
        elif (
            not name.endswith((".scale_weight", ".weight_scale", ".comfy_quant"))
            and name != "scaled_fp8"
        ):
            values[name] = value.float()
    return values


def gguf_values(path: Path) -> dict[str, torch.Tensor]:
    """A GGUF file's weights in float32, dequantised by the library."""
    import gguf

    reader, values = gguf.GGUFReader(path), {}
    for tensor in reader.tensors:
        field = reader.get_field(f"comfy.gguf.orig_shape.{tensor.name}")
        shape = field.contents() if field else [int(size) for size in reversed(tensor.shape)]
        data = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        values[tensor.name] = torch.from_numpy(data.copy()).reshape(shape)
    return values


def worst(values: dict[str, torch.Tensor], weights: dict[str, torch.Tensor]) -> tuple[float, float]:
    """Largest relative L2 distance of (a matrix, anything else)."""
    distances = {
        name: ((values[name] - weight.float()).norm() / weight.float().norm()).item()
        for name, weight in weights.items()
    }
    return (
        max(distance for name, distance in distances.items() if is_matrix(name)),
        max(distance for name, distance in distances.items() if not is_matrix(name)),
    )
