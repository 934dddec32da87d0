"""Step-distilled LoRAs: which file is one, and whether a run's cfg and steps go with it.

Such a LoRA makes Wan sample in a few steps and has the guidance trained in, so it wants cfg 1. What it is can only be
told from names: its tensors look like any other LoRA's. So a LoRA that Load SAMA LoRA has read is known, and one from
ComfyUI's own loaders is not, because they leave nothing but the tensors on the model.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .non_finite import cfg_of

KEY = "sama_distilled"
MANY_STEPS = 12
# Titles only: a description may well name another LoRA that goes with this one.
_TITLES = ("ss_output_name", "modelspec.title", "title", "name")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Family:
    """One kind of distilled LoRA for Wan 2.1 14B."""

    title: str
    words: str
    """Regular expression on a file's lower-case name."""
    steps: tuple[int, int] | None
    """Fewest and most steps it is made for; None if only the guidance is distilled."""

    def settings(self) -> str:
        """What to set, in words."""
        steps = (
            "the steps as without it"
            if self.steps is None
            else "{} to {} steps".format(*self.steps)
        )
        return f"a distilled LoRA ({self.title}): sample with cfg 1 and {steps}"


# Steps as the projects themselves and the guides of video front ends give them. Unverified: none was run on SAMA.
FAMILIES = (
    Family("CausVid", r"caus[-_ ]?vid", (4, 12)),
    Family("AccVid", r"acc[-_ ]?vid", None),
    Family("FusionX", r"fusioni?x", (8, 10)),
    Family("lightx2v", r"lightx2v|self[-_ ]?forc", (4, 8)),
    Family(
        "step-distilled",
        r"distill|lightning|turbo|(?<![a-z])dmd2?(?![a-z0-9])"
        r"|(?<!\d)([1-9]|1[0-2])[-_ ]?steps?(?![a-z]|[-_ ]?\d)",
        (4, 8),
    ),
)


@dataclass(frozen=True)
class Distilled:
    """A distilled LoRA on a model."""

    name: str
    family: Family


def recognise(name: str, metadata: Mapping[str, str] | None = None) -> Family | None:
    """The family of a LoRA file, from its name or the titles in its metadata; None for any other LoRA."""
    named = [Path(name).stem, *((metadata or {}).get(title, "") for title in _TITLES)]
    return next(
        (
            family
            for family in FAMILIES
            if any(re.search(family.words, text.lower()) for text in named)
        ),
        None,
    )


def remember(model, name: str, family: Family) -> None:
    """Write on `model` (a ModelPatcher) that it has this LoRA; its clones know it too."""
    model.set_attachments(KEY, (*on_model(model), Distilled(name, family)))


def on_model(model) -> tuple[Distilled, ...]:
    """The distilled LoRAs that `remember` wrote on the model or on what it was cloned from."""
    return model.get_attachment(KEY) or ()


def advice(model, steps: int, cfg: float) -> str:
    """What does not go together, in one line; empty where nothing is wrong."""
    loras = on_model(model)
    made_for = [lora for lora in loras if lora.family.steps is not None]
    if loras and cfg > 1:
        return (
            f"{loras[0].name} has the guidance inside, and cfg {cfg:g} guides a second time and doubles the time "
            "of each step: set cfg to 1"
        )
    if made_for and steps > MANY_STEPS:
        return (
            f"{made_for[0].name} is made for {made_for[0].family.steps[0]} to {made_for[0].family.steps[1]} steps: "
            f"{steps} only take longer"
        )
    return ""


def warn(guider, sigmas) -> str:
    """What does not go together in the run that `guider` is about to sample, logged; empty where all does."""
    text = advice(guider.model_patcher, len(sigmas) - 1, cfg_of(guider))
    if text:
        log.warning("SAMA: %s.", text)
    return text and f"SAMA: {text}."
