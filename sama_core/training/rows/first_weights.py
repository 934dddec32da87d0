"""The model that training begins with: which files make it, checked before weights are read.

full SAMA file                       as it is
SAMA delta file + base Wan shards    the delta laid over the shards
plain Wan 2.1                        SAMA's 11 tensors are new: how stage 0 begins (SAMA §3.1)
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Generator, Tensor, nn

from ...errors import CheckpointError, needed
from ...model.config import DitConfig
from ...model.dit import SamaDiT
from ...weights.checkpoint import (
    CheckpointPlan,
    merge,
    model_shapes,
    plan_checkpoint,
    transformer_settings,
)
from ...weights.header import read_header, shard_paths
from ...weights.names import SAMA_KEYS, strip_prefix
from ...weights.quant_formats import is_quant_key
from ...weights.report import compare
from ..memory.base_weights import load_packed, read_weights
from ..memory.packed import FORMATS, Weights

SEMANTIC_HIDDEN = 1024
"""Hidden width of a new semantic projector (released checkpoint)."""


@dataclass(frozen=True)
class ModelFiles:
    """Where a model comes from: its files, and what they lack."""

    plan: CheckpointPlan
    """The files, and what they are."""
    new: dict[str, tuple[int, ...]]
    """Shapes of the SAMA tensors that plain Wan has not."""

    @classmethod
    def of(
        cls, model: str, base_model: str, semantic_dim: int, frozen: bool = False
    ) -> "ModelFiles":
        """Reads headers only.

        Raises CheckpointError for files that are no SAMA, or that cannot be trained: a quantised
        one only if its weights stay `frozen`, under a LoRA.
        """
        path = Path(model)
        shards = [path] if path.is_file() else shard_paths(path)
        if base_model or read_header(shards[0]).kind != "wan":
            formats = FORMATS if frozen else None
            files = cls(plan_checkpoint(shards[0], base_model or None, formats=formats), {})
        else:
            files = cls._of_wan(path, semantic_dim)
        quantised = [key for file in files.plan.files for key in file.shapes if is_quant_key(key)]
        if quantised and not frozen:
            raise CheckpointError(
                needed(
                    f"model {path.name}",
                    f"quantised weights ({quantised[0]})",
                    "weights in bfloat16 or float32",
                    "Choose the file that is not quantised, or train a LoRA (lora_rank), under "
                    "which they stay as they are.",
                )
            )
        return files

    @classmethod
    def _of_wan(cls, path: Path, semantic_dim: int) -> "ModelFiles":
        files = [read_header(shard) for shard in shard_paths(path)]
        shapes = {key: shape for file in files for key, shape in file.shapes.items()}
        new = new_shapes(shapes.get("head.modulation", (0,))[-1], semantic_dim)
        settings = transformer_settings(files[0].metadata)
        config = DitConfig.from_shapes(shapes | new, settings.get("num_heads"), name=path.name)
        report = compare(shapes | new, model_shapes(config))
        report.raise_if_bad(f"model {path.name}")
        return cls(CheckpointPlan(files, config, report), new)

    def load(
        self,
        dtype: torch.dtype | None,
        generator: Generator,
        frozen: bool = False,
        shrink: bool = False,
        operations: Any = nn,
    ) -> SamaDiT:
        """The model, new tensors drawn from `generator`. Memory: the weights once, and one file.

        Matrices of layers are in `dtype`. Where a file has them so, or without a `dtype`, they stay
        in its pages, which processes share, and take no memory. Norms, biases, modulations and
        segments stay float32: under autocast they are used as they are, while matrices are rounded
        in every pass. Where they stay `frozen`, quantised matrices are kept as the file has them;
        with `shrink` the blocks' are made float8 while they are read. `operations` are the model's
        layers.
        """
        dit = SamaDiT(self.plan.config, operations, device="meta")
        rounded = {
            f"{name}.weight"
            for name, layer in dit.named_modules()
            if isinstance(layer, nn.Linear | nn.Conv3d)
        }

        def dtype_of(name: str) -> torch.dtype | None:
            return dtype if name in rounded else torch.float32

        weights: Weights = {}
        for file in self.plan.files:
            merge(weights, read_weights(file, dtype_of, frozen, shrink))
        new = new_tensors(self.new, generator)
        weights |= {name: value.to(dtype=dtype_of(name)) for name, value in new.items()}
        load_packed(dit, weights, dtype_of)
        return dit

    def base(self) -> dict[str, Tensor]:
        """The weights that a delta file lies over, as stored; none for a full file."""
        weights: dict[str, Tensor] = {}
        for file in self.plan.files[:-1]:
            weights |= strip_prefix(load_file(file.path))
        return weights


def new_shapes(dim: int, semantic_dim: int) -> dict[str, tuple[int, ...]]:
    """SAMA's 11 tensors for a Wan model of width `dim`."""
    config = DitConfig(
        dim=dim,
        num_heads=1,
        ffn_dim=1,
        num_layers=0,
        text_dim=1,
        freq_dim=1,
        in_dim=1,
        out_dim=1,
        semantic_dim=semantic_dim,
        semantic_hidden=SEMANTIC_HIDDEN,
    )
    shapes = model_shapes(config)
    return {name: shapes[name] for name in SAMA_KEYS}


@torch.no_grad()
def new_tensors(shapes: dict[str, tuple[int, ...]], generator: Generator) -> dict[str, Tensor]:
    """First values, float32.

    As released: segments 0, the head Xavier-uniform with a bias of deviation 0.001.

    Unverified: the projector. Here torch's own: uniform, bounded by 1 / √fan-in.
    """
    found = {name: torch.empty(shape) for name, shape in shapes.items()}
    for name, value in found.items():
        if name == "segment_embedding.weight":
            value.zero_()
        elif ".norm." in name:
            value.fill_(1.0 if name.endswith("weight") else 0.0)
        elif name == "semantic_head.proj.weight":
            torch.nn.init.xavier_uniform_(value, generator=generator)
        elif name == "semantic_head.proj.bias":
            value.normal_(std=1e-3, generator=generator)
        else:
            bound = shapes[f"{name.rpartition('.')[0]}.weight"][1] ** -0.5
            value.uniform_(-bound, bound, generator=generator)
    return found
