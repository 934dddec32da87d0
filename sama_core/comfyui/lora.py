"""LoRA files on SAMA, with a report of what core applies. Core applies them; names are translated here."""

from dataclasses import dataclass, field
from pathlib import Path

import comfy.lora
import comfy.lora_convert
from torch import Tensor

from ..checkpoint import model_shapes, refuse_non_finite
from ..errors import CheckpointError, needed, shown
from ..lora_names import PREFIX, made_for, named
from . import distilled
from .lora_patches import judge
from .weight_files import read_weights

_SHOWN = 12


@dataclass(frozen=True)
class LoraReport:
    """What became of each layer of a LoRA file."""

    matched: list[str]
    """Applied in full."""
    unmatched: list[str] = field(default_factory=list)
    """Not in this model."""
    misshapen: list[str] = field(default_factory=list)
    """For weights of another size."""
    incomplete: list[str] = field(default_factory=list)
    """A part is missing without which core can make nothing of the rest."""
    partial: list[str] = field(default_factory=list)
    """Applied without the tensors in brackets."""
    twice: list[str] = field(default_factory=list)
    """Not applied, because another name of the file changes the same tensor."""

    def summary(self) -> str:
        """How many layers are applied, and by name (up to 12) what is not."""
        groups = ((self.unmatched, "not in this model"), (self.misshapen, "of another size"),
                  (self.incomplete, "a part is missing or unknown"), (self.partial, "applied in part, without"),
                  (self.twice, "twice in the file"))
        total = len(self.matched) + sum(len(layers) for layers, _ in groups)
        text = f"{len(self.matched)} of {total} LoRA layers matched"
        for layers, what in groups:
            if layers:
                text += f"; {what}: {', '.join(layers[:_SHOWN])}{' …' if len(layers) > _SHOWN else ''}"
        return shown(text)


def apply_lora(model, lora: dict[str, Tensor], strength: float, name: str = "the LoRA"):
    """A clone of `model` with the LoRA, and the report of what core patches by it.

    Sizes are the model's own: what quantised and GGUF weights report of themselves may be packed bytes.
    Raises CheckpointError, about `name`, for values that are not finite and where no layer can be applied.
    """
    refuse_non_finite(lora, name)
    held = model.model.state_dict().keys()
    shapes = {key: shape for key, shape in model_shapes(model.model.dit_config).items() if PREFIX + key in held}
    verdict = judge(named(comfy.lora_convert.convert_lora(lora), shapes,
                          comfy.lora.model_lora_keys_unet(model.model, {}), name), shapes)
    report = LoraReport(verdict.matched, verdict.unmatched, verdict.misshapen, verdict.incomplete, verdict.partial,
                        verdict.twice)
    if not verdict.patches:
        raise CheckpointError(needed(name, report.summary(), "a LoRA trained on Wan 2.1 14B or SAMA",
                                     "Check that the LoRA is whole, and for Wan 2.1 T2V, not for another model."))
    patched = model.clone()
    patched.add_patches(verdict.patches, strength)
    return patched, report


def load_lora(model, path: str, strength: float):
    """The model with a LoRA file, and its report in words. Nothing is loaded when the strength is 0.

    A step-distilled LoRA is recognised by its name, and the model remembers it: see `distilled`.
    """
    if strength == 0:
        return model, "not applied: strength is 0"
    name, (lora, metadata) = Path(path).name, read_weights(path)
    keys = list(lora)
    model, report = apply_lora(model, lora, strength, name)
    said = [report.summary(), made_for(name, keys)]
    family = distilled.recognise(name, metadata)
    if family is not None and strength > 0:
        distilled.remember(model, name, family)
        said.append(family.settings())
    return model, "; ".join(filter(None, said))
