"""A recipe's plan: memory, disk and time of its training, before anything is loaded.

As a program: `python -m sama_core.training.memory.plan_recipe RECIPE MACHINE [setting=value …]`
prints it; MACHINE is a `plan.machine.Machine` as JSON. `run.py plan --train` calls it.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import SamaError, needed
from ...geometry import ClipShape
from ...plan.machine import Machine
from ...plan.read_model import read_model
from ...plan.train_plan import plan_training
from ...plan.train_request import SEMANTIC_ENCODER, TrainRequest
from ...plan.train_summary import report_training
from ...weights.checkpoint import model_shapes
from ...weights.header import shard_paths
from ..config import TrainConfig, load_config
from ..lora import count_adapted
from ..recipe import ConfigError, read_settings
from ..rows.clips_config import BEFORE
from ..rows.rows import count_rows
from .packed import FORMATS
from .plan_align import align_shapes, read_features

NO_FILE = "Model file {} is not here: planned for SAMA-14B as released, by its published sizes."
SHAPES = "shapes"
"""The data of SAMA-Shapes' own recipes; its codec's have none."""
FP8_NAMES = ("fp8", *FORMATS)


def request_of(config: TrainConfig) -> tuple[TrainRequest, str]:
    """The training that a recipe describes, and what is assumed. Reads headers only.

    Raises SamaError for a model file that is there and cannot be trained.
    """
    clips, memory = config.clips or BEFORE, config.memory
    found = TrainRequest(
        ClipShape(config.frames, config.height, config.width),
        batch_size=max(1, config.batch_size),
        accumulation=config.accumulation,
        lora_rank=config.lora_rank,
        fp8_base=memory.base == "fp8",
        bf16=config.precision == "bf16",
        checkpointing=config.gradient_checkpointing,
        half_states=memory.states == "bf16",
        inputs_in_ram=memory.activations_in_ram,
        block_swap=memory.block_swap,
        cached=clips.cache and clips.windows != 0 and config.stage == 1,
        steps=config.steps,
        rows=_count_rows(Path(config.data)),
        semantic_encoder=0 if config.semantic_encoder == "pixels" else SEMANTIC_ENCODER,
    )
    found = replace(
        found,
        text_encoder=_size(config.text_encoder, found.text_encoder),
        vae=_size(config.vae, found.vae),
    )
    return _with_model(found, config)


def _size(path: str, published: int) -> int:
    """Bytes of a file, or of the published one where it is not here."""
    return Path(path).stat().st_size if Path(path).is_file() else published


def _with_model(request: TrainRequest, config: TrainConfig) -> tuple[TrainRequest, str]:
    """The request with sizes and weights of the recipe's model, where that is here, and with what
    is trained of it and along with it.
    """
    path, note = Path(config.model), ""
    if not path.is_file():
        fp8 = request.fp8_base or "fp8" in path.name
        request, note = replace(request, fp8_base=fp8), NO_FILE.format(config.model)
    else:
        base = shard_paths(config.base_model)[0] if config.base_model else None
        facts = read_model(path, base)
        fp8 = request.fp8_base or facts.weights.format in FP8_NAMES
        request = replace(request, config=facts.config, weights=facts.weights, fp8_base=fp8)
    adapted = count_adapted(model_shapes(request.config), config.lora_rank, config.lora_targets)
    request = replace(request, adapted=adapted)
    if config.align is None:
        return request, note
    features = read_features(config, config.align)
    align = align_shapes(config, config.align, request.config, features)
    return replace(request, align=align), "\n".join(filter(None, (note, features.note)))


def _count_rows(data: Path) -> int | None:
    """Rows of a file or a folder; None where it is not here."""
    return count_rows(data) if data.exists() else None


def plan_recipe(recipe: str | Path, machine: Machine, **settings: Any) -> str:
    """The plan of a recipe on a machine, as text. Raises SamaError for a recipe that is wrong."""
    named = Path(recipe).name.startswith(f"{SHAPES}_")
    if named or read_settings(recipe, **settings).get("data") == SHAPES:
        fix = f"{Path(recipe).name} trains SAMA-Shapes itself; docs/lab tells what that took."
        raise ConfigError(needed("data", f'"{SHAPES}"', "a file or a folder of rows", fix))
    request, note = request_of(load_config(recipe, **settings))
    return report_training(plan_training(request, machine), note)


def main(arguments: list[str]) -> None:
    """The command of this module. Exits with the error's text where it fails."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("recipe", help="TOML file of settings")
    parser.add_argument("machine", help="the fields of Machine, as JSON")
    parser.add_argument("settings", nargs="*", metavar="setting=value")
    asked = parser.parse_args(arguments)
    changed: dict[str, Any] = {}
    try:
        if asked.settings:
            from ..run import read_overrides

            changed = read_overrides(asked.settings)
        print(plan_recipe(asked.recipe, Machine(**json.loads(asked.machine)), **changed))
    except SamaError as refused:
        sys.exit(str(refused))


if __name__ == "__main__":
    main(sys.argv[1:])
