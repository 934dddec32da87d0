"""Random models: SAMA-14B's sizes at any depth, weights in memory, and whole files of any size.

Tests use them too (`tests/harness/untrained.py`).
"""

import json
import math
import os
import shutil
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from sama_core.errors import needed
from sama_core.model.config import DitConfig
from sama_core.model.dit import SamaDiT
from sama_core.released_files import SAMA_14B
from sama_core.weights.checkpoint import model_shapes

POOL = 1 << 23
"""Random numbers that a file repeats."""
DEVIATION, FP8_SCALE = 0.02, 0.125


def sama_14b(blocks: int = SAMA_14B.sizes["num_layers"]) -> DitConfig:
    """SAMA-14B's sizes with that many of its 40 blocks."""
    return replace(DitConfig(**SAMA_14B.sizes), num_layers=blocks)


def bf16_bytes(config: DitConfig) -> int:
    """Bytes of a model's weights in bfloat16."""
    return 2 * sum(math.prod(shape) for shape in model_shapes(config).values())


def random_weights(
    shapes: Mapping[str, tuple[int, ...]], generator: torch.Generator
) -> dict[str, Tensor]:
    """Random float32 weights of these shapes, scaled so that activations stay near 1.

    Nothing is 0.
    """
    return {name: _random(name, shape, generator) for name, shape in shapes.items()}


def random_dit(config: DitConfig, generator: torch.Generator, **made: object) -> SamaDiT:
    """A DiT with random float32 weights on the CPU; `made` are SamaDiT's own arguments."""
    dit = SamaDiT(config, device="meta", **made)
    dit.load_state_dict(random_weights(model_shapes(config), generator), assign=True)
    return dit


def _random(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Norm scales near 1, biases near 0, matrices of variance 1 / fan-in, embeddings of 1."""
    noise = torch.randn(shape, generator=generator)
    if name.endswith("gamma") or ("norm" in name and name.endswith("weight")):
        return noise.mul_(0.05).add_(1)
    if name.endswith("bias") or len(shape) < 2:
        return noise.mul_(0.05)
    if name.startswith("shared"):
        return noise
    return noise.div_(math.sqrt(math.prod(shape[1:])))


def write_model(
    path: Path, config: DitConfig, seed: int = 0, fp8: bool = False, device: str = "cpu"
) -> int:
    """Write a whole SAMA file of these sizes (heads of 128) in bfloat16; returns its size in bytes.

    Its values are normal numbers of deviation 0.02, from one pool that is repeated and made on
    `device`: never more than the pool is in memory. With `fp8` the blocks' matrices are
    float8_e4m3fn with a scale each, in ComfyUI's own format (`comfy_quant`). The file is renamed
    when it is whole. Raises OSError where the disk has too little free room.
    """
    pools = _pools(seed, device)
    parts = [
        part
        for name, shape in sorted(model_shapes(config).items())
        for part in _parts(name, shape, fp8)
    ]
    header, size = _header(parts)
    if shutil.disk_usage(path.parent).free < 1.1 * size:
        room = f"{size / 1e9:.1f} GB"
        raise OSError(needed(str(path.parent), "too little free room", room, "Give --folder."))
    unfinished = path.with_suffix(".part")
    with unfinished.open("wb") as file:
        file.write(header)
        for part in parts:
            values = part.value or pools[part.dtype]
            for start in range(0, part.size, len(values)):
                file.write(values[: part.size - start])
        os.fsync(file.fileno())
    os.replace(unfinished, path)
    return path.stat().st_size


@dataclass(frozen=True)
class _Part:
    """One tensor of a file."""

    name: str
    dtype: str
    """In safetensors' words."""
    shape: tuple[int, ...]
    size: int
    """Bytes."""
    value: bytes | None = None
    """Its bytes; None for random ones."""


def _parts(name: str, shape: tuple[int, ...], fp8: bool) -> list[_Part]:
    """A weight, and beside a float8 matrix its scale and ComfyUI's mark."""
    count, layer = math.prod(shape), name.removesuffix(".weight")
    if not (fp8 and name.startswith("blocks.") and name.endswith(".weight") and len(shape) == 2):
        return [_Part(name, "BF16", shape, 2 * count)]
    mark = json.dumps({"format": "float8_e4m3fn"}).encode().ljust(32)
    return [
        _Part(name, "F8_E4M3", shape, count),
        _Part(f"{layer}.weight_scale", "F32", (), 4, struct.pack("<f", FP8_SCALE)),
        _Part(f"{layer}.comfy_quant", "U8", (len(mark),), len(mark), mark),
    ]


def _header(parts: list[_Part]) -> tuple[bytes, int]:
    """safetensors' header for these tensors in their order, and the size of the whole file."""
    table, end = {}, 0
    for part in parts:
        start, end = end, end + part.size
        table[part.name] = {"dtype": part.dtype, "shape": part.shape, "data_offsets": [start, end]}
    header = json.dumps(table).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header, 8 + len(header) + end


def _pools(seed: int, device: str) -> dict[str, bytes]:
    """The repeated bytes of each dtype."""
    generator = torch.Generator(device).manual_seed(seed)
    noise = DEVIATION * torch.randn(POOL, generator=generator, device=device)
    # Divided by the scale: float8 has little room near zero.
    values = {
        "BF16": noise.bfloat16(),
        "F8_E4M3": (noise / FP8_SCALE).to(torch.float8_e4m3fn),
    }
    return {name: part.view(torch.uint8).cpu().numpy().tobytes() for name, part in values.items()}
