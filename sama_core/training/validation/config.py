"""The settings of validation: a recipe's table `[validation]`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from ..recipe import Check, check_types, refuse_bad, settings_of


@dataclass(frozen=True)
class ValidationConfig:
    """Which rows are held out of a training, and what is measured and shown of them."""

    rows: int | str | tuple[int, ...]
    """The held-out rows: how many (`seed` draws them), their line numbers in `data`, or the path of
    a file of other rows. None of them is trained on."""
    every: int = 250
    """Steps between two measurements; there is one before the first step and one after the last."""
    sigmas: tuple[float, ...] = (0.4, 0.7, 0.95)
    """Noise levels, above 0 up to 1, at which the loss is measured."""
    samples: int | tuple[int, ...] = 0
    """Held-out rows that are edited into a clip each time: how many, or their line numbers."""
    sample_every: int = 0
    """Steps between two clips of a row; 0 means `every`."""
    steps: int = 20
    """Sampling steps of a clip."""
    cfg: float = -1.0
    """Guidance of a clip; -1 takes the model's own. 1 halves the time."""

    def __post_init__(self) -> None:
        """Raises ConfigError for what cannot be."""
        check_types(self, "validation")
        refuse_bad(self._checks())

    def _checks(self) -> list[Check]:
        levels = self.sigmas
        good_levels = isinstance(levels, tuple) and all(map(_is_level, levels)) and levels != ()
        return [
            (
                isinstance(self.rows, str) or _is_choice(self.rows),
                "validation.rows",
                repr(self.rows),
                _ROWS,
            ),
            (self.rows not in (0, (), ""), "validation.rows", repr(self.rows), _ROWS),
            (good_levels, "validation.sigmas", levels, "numbers above 0, up to 1"),
            (_is_choice(self.samples), "validation.samples", repr(self.samples), _SAMPLES),
            (self.every > 0, "validation.every", self.every, "1 or more"),
            (self.sample_every >= 0, "validation.sample_every", self.sample_every, "0 or more"),
            (1 <= self.steps <= 1000, "validation.steps", self.steps, "1 to 1000"),
            (self.cfg == -1 or 0 <= self.cfg <= 100, "validation.cfg", self.cfg, "0 to 100, or -1"),
        ]

    @classmethod
    def of_table(cls, values: Mapping[str, Any], name: str) -> Self:
        """The `[validation]` table of the recipe `name`. ConfigError for an unknown setting."""
        return settings_of(cls, dict(values), name)


_ROWS = "a number of rows, their line numbers, or the path of a file of rows"
_SAMPLES = "a number of held-out rows, or their line numbers"


def _is_choice(value: object) -> bool:
    """Whether it is a count or a list of line numbers."""
    if isinstance(value, tuple):
        return all(_is_choice(one) and one for one in value)
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_level(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1
