"""Steps and cfg that suit a model. Step-distilled LoRAs change them: which file is one, and
whether a run's cfg and steps go with it.

Such a LoRA makes Wan sample in a few steps and has the guidance trained in, so it needs cfg 1. Only
names show that a LoRA is one: its tensors look like those of any other. So a LoRA that Load SAMA
LoRA has read is recognised, and one from ComfyUI's own loaders is not, because they leave nothing
but the tensors on the model.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..released_files import (
    DISTILLED_CFG,
    DISTILLED_STEPS,
    MANY_STEPS,
    OwnSampling,
    release_of,
)
from .model import require_sama
from .non_finite import cfg_of

KEY = "sama_distilled"
"""The attachment of a ModelPatcher that holds its distilled LoRAs."""
_TITLES = ("ss_output_name", "modelspec.title", "title", "name")
"""Metadata with the LoRA's own name; a description may name another LoRA."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Family:
    """One kind of distilled LoRA for Wan 2.1 14B."""

    title: str
    """The name shown to users."""
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
"""Steps are those of the projects themselves and of video front ends' guides.

Unverified: none was run on SAMA.
"""


@dataclass(frozen=True)
class Distilled:
    """A distilled LoRA on a model."""

    name: str
    """The file's name."""
    family: Family
    """Its kind."""


def recognise(name: str, metadata: Mapping[str, str] | None = None) -> Family | None:
    """The family of a LoRA file by its name or the titles in its metadata; None for other LoRAs."""
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
    """Note on `model` (a ModelPatcher) and its clones that it has this LoRA."""
    model.set_attachments(KEY, (*loras_on(model), Distilled(name, family)))


def loras_on(model) -> tuple[Distilled, ...]:
    """The distilled LoRAs that `remember` noted on the model or on what it was cloned from."""
    return model.get_attachment(KEY) or ()


def own_sampling(model) -> OwnSampling:
    """The steps and cfg that suit a ModelPatcher: its release's, or its distilled LoRA's.

    Raises RuntimeSetupError if it is not a SAMA model.
    """
    require_sama(model)
    own, loras = release_of(model.model.dit_config.text_dim).sampling, loras_on(model)
    if not loras:
        return own
    lora = next((lora for lora in loras if lora.family.steps is not None), loras[0])
    least, most = lora.family.steps or (own.steps, own.steps)
    return OwnSampling(min(max(DISTILLED_STEPS, least), most), DISTILLED_CFG, lora.name)


def advice(model, steps: int, cfg: float) -> str:
    """What is wrong with steps or cfg for the model's distilled LoRAs, in one line, or empty."""
    loras = loras_on(model)
    made_for = [lora for lora in loras if lora.family.steps is not None]
    if loras and cfg > 1:
        return (
            f"{loras[0].name} has the guidance inside, and cfg {cfg:g} guides a second time and "
            "doubles the time of each step: set cfg to 1"
        )
    if made_for and steps > MANY_STEPS:
        least, most = made_for[0].family.steps
        return f"{made_for[0].name} is made for {least} to {most} steps: {steps} only take longer"
    return ""


def warn(guider, sigmas) -> str:
    """The `advice` on the run that `guider` is about to sample, logged; empty without any."""
    text = advice(guider.model_patcher, len(sigmas) - 1, cfg_of(guider))
    if text:
        log.warning("SAMA: %s.", text)
    return text and f"SAMA: {text}."
