"""What a recipe's settings make: the embedded model on procedural data, or a model from files on rows of a file."""

from pathlib import Path
from typing import Protocol

from torch import Tensor

from .config import TrainConfig
from .objective import BatchSource
from .trainee import Trainee


class Run(Protocol):
    """A training, ready for the trainer."""

    @property
    def trainee(self) -> Trainee: ...

    @property
    def data(self) -> BatchSource: ...

    @property
    def channel_weights(self) -> Tensor | None:
        """(16,) weights of the velocity's channels, None where all count alike."""
        ...

    def write(self, averaged: dict[str, Tensor], steps: int) -> list[Path]:
        """Write what the loaders take; returns the paths."""
        ...


def run_of(config: TrainConfig) -> Run:
    """The run that `data` asks for. Raises SamaError for files or settings that do not fit."""
    if config.data == "shapes":
        from ..shapes.training.shapes_run import ShapesRun

        return ShapesRun.of(config)
    from .rows.rows_run import PairsRun

    return PairsRun.of(config)
