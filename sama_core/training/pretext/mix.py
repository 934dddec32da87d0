"""Which pretext a stage-0 clip gets, and what that puts before its caption."""

from bisect import bisect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate

import torch
from torch import Generator, Tensor

from ...errors import SamaError, needed
from ...geometry import Lattice
from . import operators as ops


@dataclass(frozen=True)
class Pretext:
    """One way to perturb a source clip."""

    name: str
    """What ratios call it."""
    tag: str
    """Put before the caption (SAMA §3.3, App. C)."""
    perturb: Callable[[Tensor, Generator], Tensor]
    """Frames (F, H, W, C) or (B, F, H, W, C) and a generator → frames of the same shape."""

    def caption(self, text: str) -> str:
        """`text` behind the tag and a space, as the release does with `[Video edit]`."""
        return f"{self.tag} {text}".strip()


@dataclass(frozen=True)
class Perturbed:
    """What stage 0 trains on: restore the untouched clip from `source`, as `caption` asks."""

    source: Tensor
    """Perturbed frames, shaped like the clip."""
    caption: str
    """The clip's caption behind the pretext's tag."""
    name: str
    """The pretext's name."""


PRETEXTS: Mapping[str, Pretext] = {
    pretext.name: pretext
    for pretext in (
        Pretext("none", ops.NONE_TAG, ops.none),
        Pretext("cube_inpainting", ops.CUBE_TAG, ops.cube_inpainting),
        Pretext("speed_perturbation", ops.SPEED_TAG, ops.speed_perturbation),
        Pretext("tube_shuffle", ops.TUBE_TAG, ops.tube_shuffle),
    )
}
RATIOS: Mapping[str, float] = {
    "none": 1,
    "cube_inpainting": 2,
    "speed_perturbation": 3,
    "tube_shuffle": 4,
}
"""SAMA App. C."""


def pretexts_for(lattice: Lattice) -> Mapping[str, Pretext]:
    """The pretexts by name, for a model that divides clips as `lattice` says."""
    speed = PRETEXTS["speed_perturbation"]
    perturb = partial(ops.speed_perturbation, lattice=lattice)
    return {**PRETEXTS, speed.name: replace(speed, perturb=perturb)}


@dataclass(frozen=True)
class PretextMix:
    """Draws pretexts in fixed proportions: 1 : 2 : 3 : 4 by default."""

    ratios: Mapping[str, float] = field(default_factory=lambda: RATIOS)
    """Relative frequency of each pretext by name; one not named, or with 0, is never drawn."""
    pretexts: Mapping[str, Pretext] = field(default_factory=lambda: PRETEXTS)
    """The pretexts by name; replace one to change its settings."""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.ratios) - set(self.pretexts))
        if unknown:
            raise SamaError(
                needed(
                    "pretext ratios",
                    f"unknown names {', '.join(unknown)}",
                    f"some of {', '.join(self.pretexts)}",
                    "Correct the names.",
                )
            )
        if (
            any(not ratio >= 0 for ratio in self.ratios.values())
            or not sum(self.ratios.values()) > 0
        ):
            raise SamaError(
                needed(
                    "pretext ratios",
                    dict(self.ratios),
                    "numbers of at least 0, one of them above 0",
                    f"Use {dict(RATIOS)}, the paper's.",
                )
            )

    def draw(self, generator: Generator) -> Pretext:
        """One pretext. One draw from `generator`, whatever the outcome."""
        names = [name for name, ratio in self.ratios.items() if ratio > 0]
        *edges, total = accumulate(self.ratios[name] for name in names)
        at = torch.rand(1, generator=generator, dtype=torch.float64).item() * total
        return self.pretexts[names[bisect(edges, at)]]

    def perturb(self, frames: Tensor, caption: str, generator: Generator) -> Perturbed:
        """A pretext drawn for frames (F, H, W, C) and applied to them.

        A batch (B, F, H, W, C) gets one pretext for all its clips; draw clip by clip where they
        should differ.
        """
        pretext = self.draw(generator)
        return Perturbed(pretext.perturb(frames, generator), pretext.caption(caption), pretext.name)
