"""Train SAMA-Shapes, the small model inside the pack, from a recipe.

    train    go on from the output folder's checkpoint, or begin; then write the averaged weights
    fill     make the pool's samples ahead of the trainer, e.g. on another machine
    export   write the checkpoint's averaged weights

    python -m sama_core.shapes train sama_core/shapes/recipes/shapes_stage0.toml steps=100
    torchrun --nproc_per_node 2 -m sama_core.shapes train RECIPE     several processes

A recipe is a TOML file with the settings of sama_core/shapes/config.py. Threads: OMP_NUM_THREADS;
on shared cores use 1. The VAE has its own command: python -m sama_core.shapes.codec.train --help
"""

from pathlib import Path
from typing import Any

from ..training.memory.out_of_memory import advise_on_memory
from ..training.run import Task, export, run_command, train
from ..training.stopping import leave_process
from .config import load_config
from .training.shapes_run import ShapesRun


def main(arguments: list[str] | None = None) -> int:
    """The command line; 0 when done, 1 after a message about what is wrong."""
    return run_command(arguments, "python -m sama_core.shapes", __doc__, TASKS)


def train_shapes(recipe: Path, settings: dict[str, Any]) -> None:
    """Train one stage."""
    config = load_config(recipe, **settings)
    with advise_on_memory(config):
        train(ShapesRun.of(config))


def fill_pools(recipe: Path, settings: dict[str, Any]) -> None:
    """Make the samples of all pools, those that training needs first coming first."""
    pools = ShapesRun.of(load_config(recipe, **settings)).data.pools()
    # Pools grow side by side, as the trainer opens them.
    shards = [
        (number / pool.shards, pool, number) for pool in pools for number in range(pool.shards)
    ]
    for _, pool, number in sorted(shards, key=lambda shard: shard[0]):
        pool.fill(number)


def export_shapes(recipe: Path, settings: dict[str, Any]) -> None:
    """Write what the stage would write."""
    export(ShapesRun.of(load_config(recipe, **settings)))


TASKS: dict[str, Task] = {"train": train_shapes, "fill": fill_pools, "export": export_shapes}


if __name__ == "__main__":
    leave_process(main())
