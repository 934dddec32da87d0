"""A run that leaves things as it found them, so that the next one begins as it did.

Patches write on what they work with: NAG leaves its scale and prompt on the model's own modules, guidance with
momentum its last average in a closure. What was there before is put back: attributes of the model's modules, variables
in closures, attributes of patch objects. Nothing is put back where callbacks or injections may need what they wrote
until the model is unloaded.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher

from ..identity.describe import State
from ..identity.kinds import own_attributes
from .model_identity import OF_A_MODULES_LOAD

_ABSENT = object()


@contextlib.contextmanager
def as_found(patcher: ModelPatcher, state: State) -> Iterator[None]:
    """Put back, in the end, what the block changed of `state` and of the model's modules."""
    if any(patcher.callbacks.values()) or patcher.injections:
        yield
        return
    patched = {*patcher.object_patches, *patcher.object_patches_backup}
    before = {path: (module, _plain(module), _children(module)) for path, module in patcher.model.named_modules()}
    try:
        yield
    finally:
        patched |= patcher.object_patches_backup.keys()
        for path, (module, attributes, children) in before.items():
            if children == _children(module):
                _restore(module, attributes, {key[len(path):].lstrip(".") for key in patched if key.startswith(path)})
        _restore_state(state)


def _plain(module: torch.nn.Module) -> dict[str, Any]:
    return {name: value for name, value in own_attributes(module).items()
            if name not in OF_A_MODULES_LOAD and name != "forward"}


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
        if attributes.keys() != before.keys() or any(attributes[name] is not before[name] for name in before):
            attributes.clear()
            attributes.update(before)
