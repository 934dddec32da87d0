"""A training that is ready to start, and what the command line does with it."""

import argparse
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from ..errors import SamaError, needed
from .checkpoints import Checkpoints
from .config import TrainConfig
from .objective import BatchSource
from .stopping import StoppedError
from .trainee import Trainee
from .trainer import Objective, Trainer
from .trainer_state import read_averages
from .validation.held_out_loss import Validation


class Run(Protocol):
    """A training, ready for the trainer."""

    @property
    def config(self) -> TrainConfig:
        """Its settings."""

    @property
    def trainee(self) -> Trainee:
        """What is trained, with its first weights."""

    @property
    def data(self) -> BatchSource:
        """The samples of every step."""

    @property
    def objective(self) -> Objective:
        """The losses. May be costly to make, and is made for training only."""

    @property
    def digests(self) -> dict[str, str]:
        """Digests of what it reads beside its settings, by name."""

    def validation(self) -> Validation | None:
        """What measures the held-out rows, where the settings ask for it."""

    def write(
        self, averaged: dict[str, Tensor], steps: int, folder: Path | None = None
    ) -> list[Path]:
        """Write what the loaders take, into the output folder or another one; returns the paths."""


def train(run: Run) -> None:
    """Train from the output folder's checkpoint or from the start, then write the weights.

    Raises StoppedError where it was asked to stop, and has saved.
    """
    trainer = Trainer(
        run.config, run.trainee, run.data, run.objective, run.digests, run.validation()
    )
    trainer.writer = run.write
    try:
        trainer.run()
        averaged = trainer.average()  # by all processes: each holds a part of sharded weights
        if trainer.accelerator.is_main_process:
            _report(run.write(averaged, trainer.step))
    finally:
        trainer.accelerator.end_training()


def export(run: Run) -> None:
    """Write the checkpoint's averaged weights. Raises SamaError where there is no checkpoint."""
    folder = run.config.output
    state = Checkpoints(Path(folder)).newest()
    if state is None:
        raise SamaError(needed("export", f"no checkpoint in {folder}", "one", "Train first."))
    averages = state["ema"] if "ema" in state else read_averages(state, run.trainee)
    below = {} if run.config.lora_rank else run.trainee.state_dict()
    _report(run.write({**below, **averages}, state["step"]))


Task = Callable[[Path, dict[str, Any]], None]
"""What a word of the command line does with a recipe and the settings that stand beside it."""


def run_command(
    arguments: list[str] | None, program: str, description: str | None, tasks: Mapping[str, Task]
) -> int:
    """`program TASK RECIPE [setting=value …]`: 0 when done, 1 after a message on what is wrong, and
    what shells expect, 130 or 143, after a signal.
    """
    parser = argparse.ArgumentParser(
        prog=program,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("task", choices=tasks)
    parser.add_argument("recipe", type=Path, help="TOML file of settings")
    parser.add_argument(
        "settings", nargs="*", metavar="setting=value", help="instead of the recipe's"
    )
    chosen = parser.parse_args(arguments)
    try:
        tasks[chosen.task](chosen.recipe, read_overrides(chosen.settings))
    except SamaError as failed:
        print(failed, file=sys.stderr)
        return failed.code if isinstance(failed, StoppedError) else 1
    except OSError as failed:
        got = f"{failed.strerror or failed}"
        fix = "Start it again: it goes on from what is on disk."
        print(needed(failed.filename or "a file", got, "room and rights", fix), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "Stopped at once. What is on disk stays, and the same command goes on from it.",
            file=sys.stderr,
        )
        return 130
    return 0


def read_overrides(settings: list[str]) -> dict[str, Any]:
    """`name=value` in TOML's notation; a value that is not TOML is text."""
    values: dict[str, Any] = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        try:
            values[name] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            values[name] = value
    return values


def _report(paths: list[Path]) -> None:
    """Print the written files and their sizes."""
    for path in paths:
        print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")
