"""LoRA files on SAMA, with a report of what ComfyUI applies.

ComfyUI applies a LoRA; here its names are translated, and each layer is judged beforehand. This is
done with ComfyUI's own code: its reader reads each layer, and its arithmetic computes the patch on
the meta device, where tensors have shapes and no values. ComfyUI itself reports a patch that does
not fit only in the console, or not at all before sampling.
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

from ..errors import CheckpointError, needed, shorten
from ..weights.checkpoint import model_shapes, refuse_non_finite
from ..weights.lora_names import PREFIX, Named, describe_expert, name_layers
from . import anchors, distilled
from .weight_files import read_weights

_SHOWN = 12
"""Layers that a report names of each kind."""
_NUMBERS = (".alpha", ".reshape_weight")
"""Parts that ComfyUI reads as numbers, so that no patch holds their tensors."""


@dataclass
class LoraReport:
    """What becomes of each layer of a LoRA file.

    ComfyUI applies the layers of `matched`, `partial`.
    """

    matched: list[str] = field(default_factory=list)
    """Applied in full."""
    unmatched: list[str] = field(default_factory=list)
    """Not in this model."""
    misshapen: list[str] = field(default_factory=list)
    """For weights of another size."""
    incomplete: list[str] = field(default_factory=list)
    """Not applied: a part is missing that ComfyUI needs, or the layer's kind is unknown to it."""
    partial: list[str] = field(default_factory=list)
    """Applied without the tensors in brackets."""
    twice: list[str] = field(default_factory=list)
    """Not applied, because another name of the file changes the same tensor."""
    patches: dict[str, object] = field(default_factory=dict)
    """Name of the model's tensor → ComfyUI's patch, of all that is applied."""

    def summary(self) -> str:
        """How many layers are applied, and by name (up to 12 of each kind) which are not."""
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
                more = " …" if len(layers) > _SHOWN else ""
                text += f"; {what}: {', '.join(layers[:_SHOWN])}{more}"
        return shorten(text)


def load_lora(model, path: str, strength: float):
    """The model with a LoRA file, and its report in words. At strength 0 nothing is loaded.

    A step-distilled LoRA is recognised by its name, and the model remembers it: see `distilled`.
    """
    if strength == 0:
        return model, "not applied: strength is 0"
    name, (lora, metadata) = Path(path).name, read_weights(path)
    keys = list(lora)
    model, report = apply_lora(model, lora, strength, name)
    texts = [report.summary(), describe_expert(name, keys)]
    family = distilled.recognise(name, metadata)
    if family is not None and strength > 0:
        distilled.remember(model, name, family)
        texts.append(family.settings())
    if strength > 0 and anchors.note_metadata(model, metadata):
        texts.append("it carries an anchor, the first frame that is given")
    return model, "; ".join(filter(None, texts))


def apply_lora(model, lora: dict[str, Tensor], strength: float, name: str = "the LoRA"):
    """A clone of `model` with the LoRA, and the LoraReport of what ComfyUI patches by it.

    Sizes are the model's own: what quantised and GGUF weights report of themselves may be packed
    bytes. Raises CheckpointError, about `name`, for values that are not finite and where no layer
    can be applied.
    """
    refuse_non_finite(lora, name)
    stored = model.model.state_dict().keys()
    shapes = model_shapes(model.model.dit_config)
    shapes = {key: shape for key, shape in shapes.items() if PREFIX + key in stored}
    names = comfy.lora.model_lora_keys_unet(model.model, {})
    report = judge(name_layers(comfy.lora_convert.convert_lora(lora), shapes, names, name), shapes)
    if not report.patches:
        raise CheckpointError(
            needed(
                name,
                report.summary(),
                "a LoRA trained on Wan 2.1 14B or SAMA",
                "Check that the LoRA is whole, and for Wan 2.1 T2V, not for another model.",
            )
        )
    patched = model.clone()
    patched.add_patches(report.patches, strength)
    return patched, report


# --- judging layers ------------------------------------------------------------------------------
def judge(found: Named, shapes: dict[str, tuple[int, ...]]) -> LoraReport:
    """The report on a LoRA for a model with tensors of these shapes, by name without prefix."""
    report = LoraReport()
    with _mute_log():
        for layer in sorted(found.layers):
            _judge_layer(layer, found, shapes, report)
    return report


def _judge_layer(layer: str, found: Named, shapes: dict, report: LoraReport) -> None:
    parts = found.layers[layer]
    if layer not in found.weights:
        report.unmatched.append(layer)
        return
    patches = _read(parts, layer, found.weights[layer])
    if any(key in report.patches for key in patches):
        report.twice.append(layer)
        return
    fitting = {
        key: patch
        for key, patch in patches.items()
        if _fits(patch, key, shapes.get(key.removeprefix(PREFIX)))
    }
    report.patches |= fitting
    used = {id(tensor) for patch in fitting.values() for tensor in _tensors(patch)}
    left = [
        name.removeprefix(layer + ".")
        for name, value in parts.items()
        if id(value) not in used and not (used and name.endswith(_NUMBERS))
    ]
    if not patches or (not fitting and _lacks_alpha(parts, layer, found.weights[layer], shapes)):
        report.incomplete.append(layer)
    elif not fitting:
        report.misshapen.append(layer)
    elif left:
        report.partial.append(f"{layer} ({', '.join(left)})")
    else:
        report.matched.append(layer)


def _read(parts: dict[str, Tensor], layer: str, weight: str) -> dict[str, object]:
    """ComfyUI's patches for one layer by tensor; none where its reader fails on a missing half."""
    if not all(
        value.is_floating_point() or name.endswith(_NUMBERS) for name, value in parts.items()
    ):
        return {}
    try:
        return comfy.lora.load_lora(parts, {layer: weight}, log_missing=False)
    except Exception:  # ComfyUI's readers raise anything for incomplete layers
        return {}


def _lacks_alpha(parts: dict[str, Tensor], layer: str, weight: str, shapes: dict) -> bool:
    """Whether the layer would fit if it had an alpha, without which ComfyUI cannot compute BOFT."""
    if f"{layer}.alpha" in parts:
        return False
    patches = _read({**parts, f"{layer}.alpha": torch.tensor(1.0)}, layer, weight)
    return any(
        _fits(patch, key, shapes.get(key.removeprefix(PREFIX))) for key, patch in patches.items()
    )


def _fits(patch: object, key: str, shape: tuple[int, ...] | None) -> bool:
    """Whether ComfyUI can add the patch to a weight of this shape, and the shape stays the same."""
    if shape is None:
        return False
    if isinstance(patch, tuple) and patch[0] == "set":
        return tuple(patch[1][0].shape) == shape
    added: list[tuple[int, ...]] = []

    def note(difference: Tensor) -> Tensor:
        """ComfyUI passes what it is about to add; it does not call this for a patch that fails."""
        added.append(tuple(difference.shape))
        return difference

    try:
        weight = comfy.lora.calculate_weight(
            [(1.0, _without_values(patch), 1.0, None, note)],
            torch.empty(shape, device="meta"),
            key,
        )
    except Exception:  # ComfyUI does some of its arithmetic outside its own try
        return False
    return added == [shape] and tuple(weight.shape) == shape


def _without_values(patch: object) -> object:
    """The same patch on the meta device, with numbers for which ComfyUI reads no values."""
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
def _mute_log() -> Iterator[None]:
    """Drop what ComfyUI logs in this thread on patches that do not fit: the report names them."""
    here, root = threading.get_ident(), logging.getLogger()

    def drop(record: logging.LogRecord) -> bool:
        return record.thread != here

    root.addFilter(drop)
    try:
        yield
    finally:
        root.removeFilter(drop)
