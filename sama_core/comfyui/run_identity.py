"""The key under which a finished segment is kept: of everything that decides it, or none.

    this pack, ComfyUI, flags, libraries, device     launch_identity.py
    model and VAE with all that hangs on them        model_identity.py
    text conditioning, sampler, settings             in full
    frames, noise, mask                              in full, by the caller

Contents count, not names: a renamed file is the same, a replaced one is not. What cannot be described exactly is not
kept (`why_not` says what it is). State that changes as a run works gives another key: then a segment is computed once
more, never taken wrongly. Segments kept by versions up to 0.1.0 have other keys: they are not found, and make room.

A run that leaves things as it found them, so that the next one begins as it did.

Patches write on what they work with: NAG leaves its scale and prompt on the model's own modules, guidance with
momentum its last average in a closure. What was there before is put back: attributes of the model's modules, variables
in closures, attributes of patch objects. Nothing is put back where callbacks or injections may need what they wrote
until the model is unloaded.
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
from .model_identity import OF_A_MODULES_LOAD, ModelParts, ejected

COVERED = {"comfy", __name__.split(".sama_core")[0].split(".")[0]}
"""Packages whose files are in the key as a whole."""


log = logging.getLogger(__name__)


class RunIdentity:
    """What a run depends on. `why_not` is None, or says in words what cannot be described: then there are no keys."""

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

    def key(self, *parts: Any) -> str | None:
        """40 hexadecimal digits, of the run as it is now and of `parts`; None where it cannot be described."""
        if self.why_not is not None:
            return None
        try:
            return self._describe().add(list(parts), "the segment").key
        except (
            Exception
        ) as error:  # whatever other packs' objects do when they are looked at, the edit goes on
            self.why_not = (
                str(error)
                if isinstance(error, Indescribable)
                else f"{type(error).__name__}: {error}"
            )
            log.warning("SAMA: finished segments are not kept: %s.", self.why_not)
            return None

    def as_found(self):
        """A context around one sampling, after which the run is what it was before, as far as that is safe."""
        if self.why_not is not None:
            return contextlib.nullcontext()
        try:
            with ejected(self._model):
                return as_found(
                    self._model, Description(self._parts, _is_covered).add(self._model).state
                )
        except Indescribable as error:
            log.warning("SAMA: what this run changes on its model is not put back: %s.", error)
            return contextlib.nullcontext()

    def _describe(self) -> Description:
        whole = add_launch(Description(self._parts, _is_covered))
        with ejected(self._model):
            for name, value in self._run.items():
                whole.add(value, f"the {name}")
        return whole


def _is_covered(module: str | None) -> bool:
    return (module or "").split(".")[0] in COVERED


_ABSENT = object()


@contextlib.contextmanager
def as_found(patcher: ModelPatcher, state: State) -> Iterator[None]:
    """Put back, in the end, what the block changed of `state` and of the model's modules."""
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
    """Who exchanges children notes it in attributes: such a module is left alone."""
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
