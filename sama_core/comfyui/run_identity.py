"""The key under which a finished segment is kept, made of everything that decides its result.

    this pack, ComfyUI, flags, libraries, device     launch_identity.py
    model and VAE with what they refer to            model_identity.py
    text conditioning, sampler, settings             in full
    frames, noise, mask                              in full, by the caller

Contents count, not names: a renamed file is the same, a replaced one is not. Segments of a run that
cannot be described exactly are not kept; `why_not` says what cannot. State that changes during a
run gives another key: then a segment is computed once more, but never reused wrongly. Segments of
versions up to 0.1.0 have other keys: they are not found, and are removed in time.

`as_found` puts back what a run changed, so that the next one has the same key. Patches write on
their surroundings: NAG leaves its scale and prompt on the model's own modules, guidance with
momentum its last average in a closure. Put back are attributes of the model's modules, variables in
closures, and attributes of patch objects; nothing where callbacks or injections may need what they
wrote until the model is unloaded.
"""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import comfy.samplers
import torch
from comfy.model_patcher import ModelPatcher

from ..identity import Description, Indescribable
from ..identity.kinds import own_attributes
from ..identity.parts import State
from .launch_identity import add_launch
from .model_identity import OF_A_MODULES_LOAD, ModelParts, eject_injections

COVERED = {"comfy", __name__.split(".sama_core")[0].split(".")[0]}
"""Packages whose files are in the key as a whole."""
_ABSENT = object()

log = logging.getLogger(__name__)


class RunIdentity:
    """What a run depends on.

    `why_not` is None, or says what cannot be described; then there are no keys.
    """

    def __init__(self, model, vae, prompts: Any, settings: Any, sampler_name: str = "euler"):
        self._parts, self.why_not = ModelParts(), None
        self._run = {
            "model": model,
            "VAE's model": vae.patcher,
            "VAE": vae,
            "conditioning": prompts,
            "settings": settings,
            "sampler": comfy.samplers.sampler_object(sampler_name),
        }
        self._model = model
        self.key()

    @property
    def obstacle(self) -> str:
        """What cannot be described, without the way to it through the model: short, for a node."""
        return (self.why_not or "").rsplit(" reading ", 1)[-1]

    @property
    def remark(self) -> str:
        """For the line in the node: that the run's segments are not kept, and why; else empty."""
        return f" (not kept: {self.obstacle})" if self.why_not else ""

    def key(self, *parts: Any) -> str | None:
        """40 hexadecimal digits for the current state of the run and for `parts`.

        None where it cannot be described.
        """
        if self.why_not is not None:
            return None
        try:
            return self._describe().add(list(parts), "the segment").key
        except Exception as error:  # other packs' objects may raise anything; the edit continues
            self.why_not = (
                str(error)
                if isinstance(error, Indescribable)
                else f"{type(error).__name__}: {error}"
            )
            log.warning("SAMA: finished segments are not kept: %s.", self.why_not)
            return None

    def as_found(self):
        """A context for one sampling; after it the run's state is put back where that is safe."""
        if self.why_not is not None:
            return contextlib.nullcontext()
        try:
            with eject_injections(self._model):
                return as_found(
                    self._model, Description(self._parts, _is_covered).add(self._model).state
                )
        except Indescribable as error:
            log.warning("SAMA: what this run changes on its model is not put back: %s.", error)
            return contextlib.nullcontext()

    def _describe(self) -> Description:
        whole = add_launch(Description(self._parts, _is_covered))
        with eject_injections(self._model):
            for name, value in self._run.items():
                whole.add(value, f"the {name}")
        return whole


def _is_covered(module: str | None) -> bool:
    return (module or "").split(".")[0] in COVERED


# --- putting back --------------------------------------------------------------------------------
@contextlib.contextmanager
def as_found(patcher: ModelPatcher, state: State) -> Iterator[None]:
    """Put back at its end what the context changed of `state` and of the model's modules."""
    if any(patcher.callbacks.values()) or patcher.injections:
        yield
        return
    patched = {*patcher.object_patches, *patcher.object_patches_backup}
    before = {
        path: (module, _plain(module), _children(module))
        for path, module in patcher.model.named_modules()
    }
    try:
        yield
    finally:
        patched |= patcher.object_patches_backup.keys()
        for path, (module, attributes, children) in before.items():
            if children == _children(module):
                _restore(
                    module,
                    attributes,
                    {key[len(path) :].lstrip(".") for key in patched if key.startswith(path)},
                )
        _restore_state(state)


def _plain(module: torch.nn.Module) -> dict[str, Any]:
    return {
        name: value
        for name, value in own_attributes(module).items()
        if name not in OF_A_MODULES_LOAD and name != "forward"
    }


def _children(module: torch.nn.Module) -> list[int]:
    """Identities of child modules; a module whose children were replaced is not put back."""
    return [id(child) for child in module._modules.values()]


def _restore(module: torch.nn.Module, before: dict[str, Any], patched: set[str]) -> None:
    after = _plain(module)
    for name in after.keys() | before.keys():
        if name in patched or after.get(name, _ABSENT) is before.get(name, _ABSENT):
            continue
        if name in before:
            module.__dict__[name] = before[name]
        else:
            del module.__dict__[name]


def _restore_state(state: State) -> None:
    for cell, held in state.cells:
        cell.cell_contents = held
    for thing, before in state.instances:
        if isinstance(thing, ModelPatcher):
            continue
        attributes = object.__getattribute__(thing, "__dict__")
        if attributes.keys() != before.keys() or any(
            attributes[name] is not before[name] for name in before
        ):
            attributes.clear()
            attributes.update(before)
