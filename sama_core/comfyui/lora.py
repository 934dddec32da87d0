"""LoRA files on SAMA, with a report of what core applies. Core applies them; names are translated here.

What core makes of a LoRA's tensors, layer by layer, and whether it can be added to the model's weights.

Core is asked, not imitated: each layer is read by core's own reader and the patch computed by core's own arithmetic
on the meta device, where tensors have shapes and no values. Core reports of a patch that does not fit only in the
console, or not at all before sampling.
"""

import contextlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import comfy.lora
import comfy.lora_convert
import torch
from torch import Tensor

from ..errors import CheckpointError, needed, shown
from ..weights.checkpoint import model_shapes, refuse_non_finite
from ..weights.lora_names import PREFIX, Named, made_for, named
from . import distilled
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
        groups = (
            (self.unmatched, "not in this model"),
            (self.misshapen, "of another size"),
            (self.incomplete, "a part is missing or unknown"),
            (self.partial, "applied in part, without"),
            (self.twice, "twice in the file"),
        )
        total = len(self.matched) + sum(len(layers) for layers, _ in groups)
        text = f"{len(self.matched)} of {total} LoRA layers matched"
        for layers, what in groups:
            if layers:
                text += (
                    f"; {what}: {', '.join(layers[:_SHOWN])}{' …' if len(layers) > _SHOWN else ''}"
                )
        return shown(text)


def apply_lora(model, lora: dict[str, Tensor], strength: float, name: str = "the LoRA"):
    """A clone of `model` with the LoRA, and the report of what core patches by it.

    Sizes are the model's own: what quantised and GGUF weights report of themselves may be packed bytes.
    Raises CheckpointError, about `name`, for values that are not finite and where no layer can be applied.
    """
    refuse_non_finite(lora, name)
    held = model.model.state_dict().keys()
    shapes = {
        key: shape
        for key, shape in model_shapes(model.model.dit_config).items()
        if PREFIX + key in held
    }
    verdict = judge(
        named(
            comfy.lora_convert.convert_lora(lora),
            shapes,
            comfy.lora.model_lora_keys_unet(model.model, {}),
            name,
        ),
        shapes,
    )
    report = LoraReport(
        verdict.matched,
        verdict.unmatched,
        verdict.misshapen,
        verdict.incomplete,
        verdict.partial,
        verdict.twice,
    )
    if not verdict.patches:
        raise CheckpointError(
            needed(
                name,
                report.summary(),
                "a LoRA trained on Wan 2.1 14B or SAMA",
                "Check that the LoRA is whole, and for Wan 2.1 T2V, not for another model.",
            )
        )
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


_STRENGTH = 1.0


# Parts that core reads as numbers, so that no patch holds their tensors.
_NUMBERS = (".alpha", ".reshape_weight")


class Verdict:
    """Which layers core can apply in full, and what is wrong with the others."""

    def __init__(self):
        self.patches: dict[str, object] = {}
        """The model's tensor → core's patch, of all that fits."""
        self.matched: list[str] = []
        self.unmatched: list[str] = []
        self.misshapen: list[str] = []
        self.incomplete: list[str] = []
        """Layers of which core can make nothing: a half is missing, or their kind is unknown."""
        self.partial: list[str] = []
        """Layers applied without some of their tensors, with those in brackets."""
        self.twice: list[str] = []
        """Layers that change a tensor which another name of the file changes already."""


def judge(found: Named, shapes: dict[str, tuple[int, ...]]) -> Verdict:
    """The verdict on a LoRA for a model of these shapes, which are by name without prefix."""
    verdict = Verdict()
    with _silent():
        for layer in sorted(found.layers):
            _judge_layer(layer, found, shapes, verdict)
    return verdict


def _judge_layer(layer: str, found: Named, shapes: dict, verdict: Verdict) -> None:
    parts = found.layers[layer]
    if layer not in found.weights:
        verdict.unmatched.append(layer)
        return
    made = _read(parts, layer, found.weights[layer])
    if any(key in verdict.patches for key in made):
        verdict.twice.append(layer)
        return
    fitting = {
        key: patch
        for key, patch in made.items()
        if _fits(patch, key, shapes.get(key.removeprefix(PREFIX)))
    }
    verdict.patches |= fitting
    used = {id(tensor) for patch in fitting.values() for tensor in _tensors(patch)}
    left = [
        name.removeprefix(layer + ".")
        for name, value in parts.items()
        if id(value) not in used and not (used and name.endswith(_NUMBERS))
    ]
    if not made or (not fitting and _lacks_alpha(parts, layer, found.weights[layer], shapes)):
        verdict.incomplete.append(layer)
    elif not fitting:
        verdict.misshapen.append(layer)
    elif left:
        verdict.partial.append(f"{layer} ({', '.join(left)})")
    else:
        verdict.matched.append(layer)


def _read(parts: dict[str, Tensor], layer: str, weight: str) -> dict[str, object]:
    """Core's patches for one layer, none where its reader fails: core takes a missing half for granted."""
    if not all(
        value.is_floating_point() or name.endswith(_NUMBERS) for name, value in parts.items()
    ):
        return {}
    try:
        return comfy.lora.load_lora(parts, {layer: weight}, log_missing=False)
    except Exception:  # whatever half a LoRA leads core's readers to
        return {}


def _lacks_alpha(parts: dict[str, Tensor], layer: str, weight: str, shapes: dict) -> bool:
    """Whether the layer would fit if it had an alpha: core computes BOFT only with one."""
    if f"{layer}.alpha" in parts:
        return False
    made = _read({**parts, f"{layer}.alpha": torch.tensor(1.0)}, layer, weight)
    return any(
        _fits(patch, key, shapes.get(key.removeprefix(PREFIX))) for key, patch in made.items()
    )


def _fits(patch: object, key: str, shape: tuple[int, ...] | None) -> bool:
    """Whether core can add the patch to a weight of this shape, and gets a weight of this shape."""
    if shape is None:
        return False
    if isinstance(patch, tuple) and patch[0] == "set":
        return tuple(patch[1][0].shape) == shape
    added: list[tuple[int, ...]] = []

    def note(difference: Tensor) -> Tensor:
        """Core passes here what it is about to add; where the patch does not fit it never comes so far."""
        added.append(tuple(difference.shape))
        return difference

    try:
        weight = comfy.lora.calculate_weight(
            [(_STRENGTH, _without_values(patch), 1.0, None, note)],
            torch.empty(shape, device="meta"),
            key,
        )
    except Exception:  # arithmetic that core begins outside its own try
        return False
    return added == [shape] and tuple(weight.shape) == shape


def _without_values(patch: object) -> object:
    """The same patch with tensors of no values, and numbers that make core's arithmetic ask for none."""
    if isinstance(patch, Tensor):
        return patch.to("meta")
    if isinstance(patch, float):
        return 0.0
    if isinstance(patch, tuple | list):
        return type(patch)(_without_values(part) for part in patch)
    if hasattr(patch, "weights"):
        return type(patch)(patch.loaded_keys, _without_values(patch.weights))
    return patch


def _tensors(patch: object) -> Iterator[Tensor]:
    """All tensors that a patch holds."""
    if isinstance(patch, Tensor):
        yield patch
    elif isinstance(patch, tuple | list):
        for part in patch:
            yield from _tensors(part)
    elif hasattr(patch, "weights"):
        yield from _tensors(patch.weights)


@contextlib.contextmanager
def _silent():
    """Keeps what core logs of patches that do not fit from the console: the report says it, by name."""
    here, root = threading.get_ident(), logging.getLogger()

    def drop(record: logging.LogRecord) -> bool:
        return record.thread != here

    root.addFilter(drop)
    try:
        yield
    finally:
        root.removeFilter(drop)
