"""accelerate's trackers beside the plain log: TensorBoard and Weights & Biases."""

import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import RuntimeSetupError, needed
from .recipe import plain_settings

if TYPE_CHECKING:
    from accelerate import Accelerator

TRACKERS = {"tensorboard": "tensorboard", "wandb": "wandb"}
"""Trackers, and the package that each needs."""
PROJECT = "sama"


def names_of(track: str) -> list[str]:
    """The trackers that a recipe names, with commas or blanks between them."""
    return track.replace(",", " ").split()


def are_trackers(track: str) -> bool:
    """Whether all that a recipe names are known."""
    return all(name in TRACKERS for name in names_of(track))


def check_installed(track: str) -> None:
    """RuntimeSetupError for a tracker whose package is missing."""
    for name in names_of(track):
        package = TRACKERS[name]
        if importlib.util.find_spec(package) is None:
            fix = f"Run `pip install {package}`, or leave track empty: log.jsonl has all of it."
            raise RuntimeSetupError(needed("track", f"no package {package}", name, fix))


def begin_tracking(accelerator: "Accelerator", settings: Any) -> None:
    """Open the trackers that the accelerator was made with."""
    if accelerator.log_with:
        places = {"wandb": {"dir": settings.output}}  # by itself it writes where it is started
        accelerator.init_trackers(PROJECT, flatten_settings(settings), places)


def flatten_settings(settings: Any) -> dict[str, Any]:
    """Settings as trackers take them: numbers and texts, those of a table by "table.name"."""
    return _flatten(plain_settings(settings))


def _flatten(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _flatten(value, f"{before}{name}.")
        elif isinstance(value, int | float | str | bool):
            found[before + name] = value
        elif value is not None:
            found[before + name] = str(value)
    return found
