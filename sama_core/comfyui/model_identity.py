"""What of a ModelPatcher decides its results: weights, patches, hooks, options and attachments.

Described are the model as it was loaded and what the patcher does to it, not the current contents
of memory: ComfyUI patches weights and attributes in place, and keeps what it replaced in `backup`,
`hook_backup` and `object_patches_backup`. So the key of a model is the same before its first
sampling and after it.
"""

import contextlib
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import comfy.hooks
import comfy.model_management
import torch
from comfy.context_windows import IndexListContextHandler
from comfy.model_patcher import ModelPatcher
from comfy.weight_adapter.bypass import BypassForwardHook, BypassInjectionManager

from ..identity import Description, Part, full_bytes, sampled_bytes
from ..identity.kinds import attribute_parts, own_attributes

PATCH_BYTES = 64 * 2**20
"""Tensors of LoRAs are read in full up to this size, that is all but whole-weight differences."""

OF_A_PATCHERS_LOAD = {
    "model",
    "size",
    "patches_uuid",
    "clone_base_uuid",
    "parent",
    "cached_patcher_init",
    "pinned",
    "backup",
    "backup_buffers",
    "object_patches_backup",
    "hook_backup",
    "hook_patches_backup",
    "cached_hook_patches",
    "current_hooks",
    "hook_mode",
    "is_injected",
    "skip_injection",
    "non_dynamic_delegate_model",
    "offload_device",
    "_free_methods",
    "_last_free_log_time",
    "_last_prepare_log_key",
    "mmap_released",
    "named_modules_to_munmap",
}
"""Where a patcher's model is and what was replaced in it, also by ComfyUI-GGUF.

All other attributes are described.
"""
OF_A_MODULES_LOAD = {
    "current_patcher",
    "device",
    "model_loaded_weight_memory",
    "lowvram_patch_counter",
    "model_lowvram",
    "current_weight_patches_uuid",
    "model_offload_buffer_memory",
    "dynamic_vbars",
    "dynamic_pins",
    "dynamic_patchers",
    "comfy_cast_weights",
    "prev_comfy_cast_weights",
    "comfy_patched_weights",
    "comfy_force_cast_weights",
    "weight_function",
    "bias_function",
    "weight_lowvram_function",
    "bias_lowvram_function",
    "seed_key",
    "can_assign_sd",
    "_v",
    "_v_signature",
    "_v_weight",
    "_v_bias",
    "_prefetch",
    "_pins",
    "_pin_state",
    "_v_block",
    "_v_block_faulted",
    "_comfy_graph",
    "latent_shapes",
}
"""What ComfyUI writes on modules when it loads them or begins a run, and removes again.

It follows from the patcher, which is described itself.
"""
OF_A_RUN = {
    comfy.hooks.HookKeyframeGroup: {
        "_current_keyframe",
        "_current_used_steps",
        "_current_index",
        "_current_strength",
        "_curr_t",
        "curr_t",
    },
    comfy.hooks.HookKeyframe: {"start_t"},
    comfy.hooks.TransformerOptionsHook: {"_skip_adding"},
    IndexListContextHandler: {"_step", "_model"},
}
"""Attributes of ComfyUI's own classes that each run sets before it reads them."""


@dataclass(frozen=True)
class _Weight:
    """A tensor of a model, as `Description` meets it."""

    name: str
    """Its path in the model."""
    value: torch.Tensor
    """Its value before patches."""


class ModelParts:
    """Parts of patchers and of the modules in their models, for `Description(special=…)`.

    The weights of a model are read once, when it is first met.
    """

    def __init__(self):
        self._modules: dict[int, tuple[torch.nn.Module, ModelPatcher, str]] = {}
        self._weights: dict[tuple[int, int], str] = {}
        self._patch_tensors: dict[int, torch.Tensor] = {}

    def __call__(self, value: Any) -> Iterator[bytes | Part] | None:
        if isinstance(value, ModelPatcher):
            return self._patcher_parts(value)
        if id(value) in self._modules:
            return self._module_parts(*self._modules[id(value)])
        if isinstance(value, BypassInjectionManager):
            return _bypass_parts(value)
        if id(value) in self._patch_tensors:
            return sampled_bytes(value, PATCH_BYTES)
        if type(value) in OF_A_RUN:
            return _parts_without(value, OF_A_RUN[type(value)])
        return None

    def _patcher_parts(self, patcher: ModelPatcher) -> Iterator[bytes | Part]:
        tree = dict(as_loaded(patcher))
        for path, module in tree.items():
            self._modules.setdefault(id(module), (module, patcher, path))
        self._patch_tensors.update((id(tensor), tensor) for tensor in _patch_tensors(patcher))
        yield Part("", type(patcher))
        yield Part(".model", patcher.model)
        yield self._weights_key(patcher, tree).encode()
        for name in sorted(vars(patcher).keys() - OF_A_PATCHERS_LOAD):
            yield name.encode()
            yield Part(f".{name}", getattr(patcher, name))

    def _module_parts(
        self, module: torch.nn.Module, patcher: ModelPatcher, path: str
    ) -> Iterator[bytes | Part]:
        replaced = _find_replaced(patcher, path)
        held = {
            **own_attributes(module),
            **{name: old for name, old in replaced.items() if name in vars(module)},
        }
        yield Part("", type(module))
        yield from attribute_parts(
            {
                name: value
                for name, value in held.items()
                if name not in OF_A_MODULES_LOAD and not _is_own_method(module, name, value)
            }
        )
        for name, child in module._modules.items():
            yield name.encode()
            yield Part(f".{name}", replaced.get(name, child))

    def _weights_key(self, patcher: ModelPatcher, tree: dict[str, torch.nn.Module]) -> str:
        known = id(patcher.model), id(patcher.backup)
        if known not in self._weights:
            weights = Description(
                lambda value: _weight_parts(value) if isinstance(value, _Weight) else None
            )
            for name, value in _weights_of(patcher, tree):
                weights.add(_Weight(name, value), name)
            self._weights[known] = weights.key
        return self._weights[known]


def _parts_without(value: Any, names: set[str]) -> Iterator[bytes | Part]:
    yield Part("", type(value))
    yield from attribute_parts(
        {name: held for name, held in vars(value).items() if name not in names}
    )


# --- the model as it was loaded -----------------------------------------------------------------


def as_loaded(patcher: ModelPatcher) -> Iterator[tuple[str, torch.nn.Module]]:
    """Every module of the model with its path; in place of an object patch, what it replaced."""
    waiting, seen = [("", patcher.model)], set()
    while waiting:
        path, module = waiting.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        yield path, module
        replaced = _find_replaced(patcher, path)
        for name, current in module._modules.items():
            child = replaced.get(name, current)
            if isinstance(child, torch.nn.Module):
                waiting.append((f"{path}.{name}".lstrip("."), child))


def _find_replaced(patcher: ModelPatcher, path: str) -> dict[str, Any]:
    """What the current object patches replaced in the module at `path`, by attribute."""
    pairs = ((*key.rpartition("."), old) for key, old in patcher.object_patches_backup.items())
    return {name: old for parent, _dot, name, old in pairs if parent == path}


def _is_own_method(module: torch.nn.Module, name: str, value: Any) -> bool:
    """Whether an attribute is the class's own method: ComfyUI leaves it when it removes a patch."""
    return (
        isinstance(value, types.MethodType)
        and value.__self__ is module
        and value.__func__ is getattr(type(module), name, None)
    )


@contextlib.contextmanager
def eject_injections(patcher: ModelPatcher):
    """Remove, in this context, the injections of the patcher that has the model loaded."""
    with contextlib.ExitStack() as stack:
        loaded = [entry.model for entry in comfy.model_management.current_loaded_models]
        for other in {
            id(other): other for other in (patcher, *loaded) if other is not None
        }.values():
            if other.model is patcher.model and other.is_injected:
                stack.enter_context(other.use_ejected())
        yield


# --- weights and patches ------------------------------------------------------------------------


def _weights_of(
    patcher: ModelPatcher, tree: dict[str, torch.nn.Module]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Every parameter and buffer with its name, as it was before patches."""
    for path, module in sorted(tree.items(), key=lambda item: item[0]):
        for kind in (module._parameters, module._buffers):
            for name, tensor in kind.items():
                key = f"{path}.{name}".lstrip(".")
                if tensor is not None:
                    yield key, _before_patches(patcher, key, tensor)


def _before_patches(patcher: ModelPatcher, key: str, tensor: torch.Tensor) -> torch.Tensor:
    if key in patcher.backup:
        return patcher.backup[key].weight
    if key in patcher.hook_backup:
        return patcher.hook_backup[key][0]
    return patcher.backup_buffers.get(key, tensor) if hasattr(patcher, "backup_buffers") else tensor


def _weight_parts(weight: _Weight) -> Iterator[bytes | Part]:
    yield weight.name.encode()
    if weight.value.is_meta:
        # ComfyUI makes zeros of them when it loads the model.
        yield f"zeros {weight.value.dtype} {tuple(weight.value.shape)}".encode()
    else:
        yield from sampled_bytes(weight.value)


def _patch_tensors(patcher: ModelPatcher) -> Iterator[torch.Tensor]:
    """Tensors in weight patches, regular ones and those of hooks."""
    waiting = [patcher.patches, patcher.hook_patches]
    while waiting:
        value = waiting.pop()
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, (list, tuple)):
            waiting.extend(value)
        elif hasattr(value, "weights"):
            waiting.append(value.weights)


# --- bypass LoRAs -------------------------------------------------------------------------------


def _bypass_parts(manager: BypassInjectionManager) -> Iterator[bytes | Part]:
    """A bypass LoRA as it is injected: its hooks.

    They cast its tensors to the module's dtype, for good.
    """
    yield Part("", type(manager))
    for hook in manager.hooks:
        yield from _bypass_hook_parts(hook)


def _bypass_hook_parts(hook: BypassForwardHook) -> Iterator[bytes | Part]:
    adapter, weights = hook.adapter, getattr(hook.adapter, "weights", None)
    yield Part(".hook", type(hook))
    yield Part(".module", hook.module)
    yield from attribute_parts(
        {
            name: value
            for name, value in vars(hook).items()
            if name not in ("module", "adapter", "original_forward")
        }
    )
    if isinstance(adapter, torch.nn.Module):
        yield Part(".adapter", adapter)
        return
    yield Part(".adapter", type(adapter))
    yield from attribute_parts(
        {name: value for name, value in vars(adapter).items() if name != "weights"}
    )
    dtype = getattr(getattr(hook.module, "weight", None), "dtype", None)
    for held in weights if isinstance(weights, (list, tuple)) else [weights]:
        if isinstance(held, torch.Tensor):
            yield from full_bytes(held.to(dtype) if dtype in _INJECTED_IN else held)
        else:
            yield Part(".weights", held)


_INJECTED_IN = (torch.float32, torch.float16, torch.bfloat16)
