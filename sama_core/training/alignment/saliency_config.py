"""Settings of the training of a learned saliency, SARA's first stage."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from ...errors import needed
from ..recipe import ConfigError, check_types, refuse_bad, settings_of

TARGETS = ("", "mask", "changed")
_COUNTS = ("steps", "batch_size", "checkpoint_every", "log_every")
_NOT_NEGATIVE = (
    "least_rate",
    "warmup",
    "weight_decay",
    "clip_norm",
    "mask_weight",  # and not 0: nothing else trains what is read from the tokens
    "contrast_weight",
    "held_out",
)


@dataclass(frozen=True)
class SaliencyConfig:
    """The `[saliency]` table of a recipe. Values in brackets are the paper's (SARA Tab. 10)."""

    steps: int = 3000
    """Optimiser steps (3,000)."""
    batch_size: int = 8
    """Rows of a step, at most as many as there are (64 forward passes). Each one's text is a
    negative of the others."""
    target: str = ""
    """What the saliency learns: each row's "mask", or where its source and target differ
    ("changed"). Empty: the mask of rows that have one, what changed of the others."""
    unite: bool = False
    """Rows of one target become one: their texts in a row, their masks laid over one another (SARA
    Tab. 3's "w/o entity-separated"). False: each row is seen by itself."""
    rate: float = 5e-5
    """Peak learning rate (5e-5)."""
    least_rate: float = 1e-6
    """What the rate falls to, by a cosine over the run (1e-6)."""
    warmup: int = 500
    """Steps in which the rate rises (500)."""
    weight_decay: float = 0.01
    """AdamW's (0.01)."""
    clip_norm: float = 1.0
    """Largest gradient norm (1.0); 0 does not clip."""
    mask_weight: float = 1.0
    """Weight of the cross-entropy with the mask (1)."""
    contrast_weight: float = 1.0
    """Weight of InfoNCE between tokens and text (1); 0 trains without it."""
    held_out: int = 16
    """Target clips that are kept apart to measure on, at most a fifth of all (128)."""
    checkpoint_every: int = 500
    """Steps between resumable checkpoints."""
    log_every: int = 10
    """Steps between lines of the log."""

    def __post_init__(self) -> None:
        """Raises ConfigError for what cannot be."""
        check_types(self, "saliency")
        need = " or ".join(map(repr, TARGETS))
        refuse_bad(
            [
                *(
                    (getattr(self, name) > 0, f"saliency.{name}", getattr(self, name), "1 or more")
                    for name in _COUNTS
                ),
                *(
                    (
                        0 <= getattr(self, name) < math.inf,
                        f"saliency.{name}",
                        getattr(self, name),
                        "0 or more",
                    )
                    for name in _NOT_NEGATIVE
                ),
                (self.target in TARGETS, "saliency.target", repr(self.target), need),
                (0 < self.rate < math.inf, "saliency.rate", self.rate, "more than 0"),
                (
                    self.least_rate <= self.rate,
                    "saliency.least_rate",
                    self.least_rate,
                    f"0 to rate ({self.rate:g})",
                ),
                (self.mask_weight > 0, "saliency.mask_weight", self.mask_weight, "more than 0"),
            ]
        )

    @classmethod
    def of_table(cls, values: Mapping[str, Any], name: str) -> Self:
        """The `[saliency]` table of the recipe `name`: `method`, one of SALIENCY_ARMS, is what it
        begins with. ConfigError for an unknown method or setting.
        """
        given = dict(values)
        method = given.pop("method", FULL)
        if not isinstance(method, str) or method not in SALIENCY_ARMS:
            fix = f"There are: {', '.join(SALIENCY_ARMS)}."
            raise ConfigError(needed("saliency.method", repr(method), "a known method", fix))
        return settings_of(cls, {**SALIENCY_ARMS[method], **given}, name, ("method",))


FULL = "full"
SALIENCY_ARMS: dict[str, dict[str, Any]] = {
    FULL: {},
    "without_infonce": {"contrast_weight": 0.0},
    "without_entity": {"unite": True},
}
"""Rows of SARA Tab. 3 and 4 on the first stage, by name: the settings that differ.

The paper does not say what stands for the saliency in its row "w/o saliency head", which is not
here.
"""
