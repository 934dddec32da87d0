"""Train SAMA on your own clips, from a recipe.

    check    decode every row of a file, a folder or a recipe, and say what is wrong with it
    fill     make and keep latents and texts of every row, where [clips] keeps them; train does too
    features make what an alignment's teacher says of every row, ahead of the trainer
    saliency train the model of a learned saliency on the rows; `train` of the same recipe reads it
    train    go on from the output folder's checkpoint, or begin; then write the averaged weights
    export   write the checkpoint's averaged weights

    python -m sama_core.training train sama_core/training/recipes/sama_14b_lora.toml steps=100
    python -m sama_core.training check my_pairs/rows.jsonl   its own options: check --help
    accelerate launch -m sama_core.training train RECIPE     several GPUs or nodes

A recipe is a TOML file with the settings of sama_core/training/config.py; docs/training_run.md
tells of stopping, checkpoints and several processes. Threads: OMP_NUM_THREADS; on shared cores use
1. Recipes with data "shapes" are run by `sama_core.shapes`, which has the task `fill` too; it
makes their teacher's features along with the samples.
"""

import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import needed
from .packages import list_absent, say_absent

if __name__ == "__main__" and (absent := list_absent()):
    sys.exit(say_absent(absent))

from .config import load_config
from .memory.out_of_memory import advise_on_memory
from .recipe import ConfigError, read_settings
from .rows.check.command import check_command
from .rows.fill_features import fill_features
from .rows.fill_kept import fill_rows
from .rows.rows_run import RowsRun
from .rows.saliency_run import train_saliency
from .run import Task, export, run_command, train
from .stopping import leave_process

CHECK = "check"
"""The task that takes rows as well as a recipe."""
SHAPES = "sama_core.shapes.__main__"
"""The command of SAMA-Shapes.

It stands a floor above this one, and is imported by name for its own recipes only.
"""


def main(arguments: list[str] | None = None) -> int:
    """The command line; 0 when done, 1 after a message about what is wrong."""
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == [CHECK]:
        return check_command(words[1:])
    tasks = {name: partial(_run_task, name) for name in TASKS}
    return run_command(arguments, "python -m sama_core.training", __doc__, tasks)


def _run_task(name: str, recipe: Path, settings: dict[str, Any]) -> None:
    """Run the task here, or hand it over to SAMA-Shapes if the recipe is one of its own."""
    if read_settings(recipe, **settings).get("data") != "shapes":
        TASKS[name](recipe, settings)
        return
    if name == "saliency":
        fix = "SAMA-Shapes learns its own: see sama_core/shapes/learned_saliency.py."
        raise ConfigError(needed("saliency", 'data "shapes"', "rows of a file", fix))
    tasks: dict[str, Task] = import_module(SHAPES).TASKS
    tasks["fill" if name == "features" else name](recipe, settings)


def train_rows(recipe: Path, settings: dict[str, Any]) -> None:
    """Train on the rows of a file."""
    config = load_config(recipe, **settings)
    with advise_on_memory(config):
        train(RowsRun.of(config))


def make_features(recipe: Path, settings: dict[str, Any]) -> None:
    """Fill the cache of the teacher's features, and print how many were made."""
    print(fill_features(load_config(recipe, **settings)))


def learn_saliency(recipe: Path, settings: dict[str, Any]) -> None:
    """Train the model of a learned saliency, and print what it is like."""
    print(train_saliency(load_config(recipe, **settings)))


def fill_cache(recipe: Path, settings: dict[str, Any]) -> None:
    """Keep what the encoders say of the rows, as `train` does first, and print where."""
    config = load_config(recipe, **settings)
    if config.clips is None:
        fix = "Clips from files are encoded when they are read: go on with train, or add [clips]."
        raise ConfigError(needed("fill", f"data {config.data}", 'data "shapes"', fix))
    print(fill_rows(config))


def export_rows(recipe: Path, settings: dict[str, Any]) -> None:
    """Write what training on these rows would write."""
    export(RowsRun.of(load_config(recipe, **settings), fills=False))


TASKS: dict[str, Task] = {
    "train": train_rows,
    "features": make_features,
    "saliency": learn_saliency,
    "fill": fill_cache,
    "export": export_rows,
}


if __name__ == "__main__":
    leave_process(main())
