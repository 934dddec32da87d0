"""What a plan needs of a model file, read from its header alone.

As a program: `python -m sama_core.plan.read_model FILE [BASE]` prints the facts as JSON. If the
file is no SAMA model, the last line on standard error says why, in words for the user.
"""

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ..errors import CheckpointError, RuntimeSetupError, SamaError, needed
from ..model.config import DitConfig
from ..weights.checkpoint import model_shapes, plan_checkpoint, transformer_settings
from ..weights.header import WeightFile
from ..weights.report import compare
from .weight_bytes import StoredTensor, Weights, count

_ORIGINAL_SHAPE = "comfy.gguf.orig_shape."


class ModelFacts(NamedTuple):
    """What the header says."""

    config: DitConfig
    """Sizes of the model."""
    weights: Weights
    """Its weights, counted."""
    area: int | None = None
    """Pixels of a frame the model was made for; None where the file does not say."""


def read_model(path: str | Path, base: str | Path | None = None) -> ModelFacts:
    """Sizes and weights of a safetensors or GGUF file, or of a delta file with its `base` shards.

    Raises CheckpointError, as loading would, for anything that is no SAMA model, and
    RuntimeSetupError for a GGUF file where the library `gguf` is not installed.
    """
    path = Path(path)
    if path.suffix.lower() == ".gguf":
        return _read_gguf(path)
    plan = plan_checkpoint(path, base)
    shapes = model_shapes(plan.config)
    tensors = [tensor for file in plan.files for tensor in _tensors_of(file, shapes)]
    return ModelFacts(
        plan.config, count(path.name, tensors), transformer_settings(plan.metadata).get("area")
    )


def _tensors_of(file: WeightFile, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[StoredTensor]:
    """Every tensor of the file, with the parameters of the model's `shapes`.

    The file's own shapes may be those of packed bytes.
    """
    for name, place in file.places.items():
        yield StoredTensor(
            name, place.dtype, math.prod(shapes.get(name, file.shapes[name])), place.size
        )


def _read_gguf(path: Path) -> ModelFacts:
    if not path.is_file():
        raise CheckpointError(
            needed(str(path), "no such file", "a GGUF file", "Choose a file that exists.")
        )
    try:
        from gguf import GGUFReader
    except ImportError as absent:
        raise RuntimeSetupError(
            needed(
                path.name,
                "no library to read GGUF files",
                "the package gguf",
                "Install it (pip install gguf), as ComfyUI-GGUF does.",
            )
        ) from absent
    try:
        reader = GGUFReader(path)
    except Exception as broken:  # the library raises whatever a damaged file leads it to
        raise CheckpointError(
            needed(
                path.name,
                f"no readable GGUF header ({broken})",
                "a GGUF file",
                "Download it again.",
            )
        ) from broken
    shapes, tensors = {}, []
    for tensor in reader.tensors:
        shape = tuple(int(side) for side in reversed(tensor.shape))
        original = reader.get_field(_ORIGINAL_SHAPE + tensor.name)
        shapes[tensor.name] = tuple(original.contents()) if original else shape
        tensors.append(
            StoredTensor(
                tensor.name, tensor.tensor_type.name, math.prod(shape), int(tensor.n_bytes)
            )
        )
    stored = reader.get_field("config")
    settings = transformer_settings({"config": stored.contents()} if stored else None)
    config = DitConfig.from_shapes(
        shapes, settings.get("num_heads"), settings.get("semantic_tokens"), path.name
    )
    compare(shapes, model_shapes(config)).raise_if_bad(path.name)
    return ModelFacts(config, count(path.name, tensors, gguf=True), settings.get("area"))


def to_json(facts: ModelFacts) -> str:
    """The facts as JSON, for a process that may lack torch."""
    return json.dumps(
        {
            "config": dataclasses.asdict(facts.config),
            "weights": dataclasses.asdict(facts.weights),
            "area": facts.area,
        }
    )


def main(arguments: list[str] | None = None) -> None:
    """The command of this module. Exits with the error's text for a file that is refused."""
    parser = argparse.ArgumentParser(
        "python -m sama_core.plan.read_model", description=__doc__.splitlines()[0]
    )
    parser.add_argument("file", help="a SAMA file: safetensors or GGUF")
    parser.add_argument("base", nargs="?", help="base Wan shards, for a delta file")
    asked = parser.parse_args(arguments)
    try:
        print(to_json(read_model(asked.file, asked.base)))
    except SamaError as refused:
        sys.exit(str(refused))


if __name__ == "__main__":
    main()
