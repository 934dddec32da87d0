"""Train, from a recipe.

    train    go on from the output folder's checkpoint, or begin; then write the averaged weights
    fill     make the pool's samples ahead of the trainer (procedural data only)
    export   write the checkpoint's averaged weights

    python -m sama_core.training train sama_core/training/recipes/shapes_stage0.toml steps=100
    accelerate launch -m sama_core.training train RECIPE     several GPUs or nodes

A recipe is a TOML file with the settings of sama_core/training/config.py; recipes/sama_14b_stage0.toml has the command
for FSDP. Threads: OMP_NUM_THREADS; on shared cores use 1.
"""

import argparse
import sys
import tomllib
from pathlib import Path

from ..errors import SamaError, needed
from .config import ConfigError, TrainConfig, load_config
from .objective import SamaObjective
from .outputs import load_state
from .run import run_of
from .trainer import Trainer


def main(arguments: list[str] | None = None) -> int:
    """The command line; 0 when done, 1 after a message about what is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m sama_core.training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("recipe", type=Path, help="TOML file of settings")
    parser.add_argument(
        "settings", nargs="*", metavar="setting=value", help="instead of the recipe's"
    )
    asked = parser.parse_args(arguments)
    try:
        TASKS[asked.task](load_config(asked.recipe, **_overrides(asked.settings)))
    except SamaError as failed:
        print(failed, file=sys.stderr)
        return 1
    return 0


def train(config: TrainConfig) -> None:
    run = run_of(config)
    objective = SamaObjective(config, run.trainee.reader, run.channel_weights)
    trainer = Trainer(config, run.trainee, run.data, objective)
    trainer.run()
    averaged = trainer.averaged()  # by all processes: each holds a part of sharded weights
    if trainer.accelerator.is_main_process:
        _tell(run.write(averaged, trainer.step))
    trainer.accelerator.end_training()


def fill(config: TrainConfig) -> None:
    if config.data != "shapes":
        raise ConfigError(
            needed(
                "fill",
                f"data {config.data}",
                'data "shapes"',
                "Clips from files are encoded when they are read: go on with train.",
            )
        )
    from ..shapes.training.shapes_run import ShapesRun

    pools = ShapesRun.of(config).data.pools()
    # Pools grow side by side, as the trainer opens them.
    shards = [
        (number / pool.shards, pool, number) for pool in pools for number in range(pool.shards)
    ]
    for _, pool, number in sorted(shards, key=lambda shard: shard[0]):
        pool.fill(number)


def export(config: TrainConfig) -> None:
    run, state = run_of(config), load_state(Path(config.output))
    if state is None:
        raise SamaError(
            needed("export", f"no checkpoint in {config.output}", "one", "Train first.")
        )
    _tell(run.write({**run.trainee.state_dict(), **state["ema"]}, state["step"]))


TASKS = {"train": train, "fill": fill, "export": export}


def _overrides(settings: list[str]) -> dict[str, object]:
    """`name=value` in TOML's notation; a value that is none is text."""
    values: dict[str, object] = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        try:
            values[name] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            values[name] = value
    return values


def _tell(paths: list[Path]) -> None:
    for path in paths:
        print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    sys.exit(main())
