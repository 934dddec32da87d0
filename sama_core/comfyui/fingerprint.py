"""What a result depends on, as a key: contents, not names, so a renamed file is the same and a replaced one is not.

    tensors           shape, kind and every value; of models' weights, a sample of every tensor's values
    functions         module and name, and what they hold
    other objects     class, and their plain attributes

An object that changes its plain attributes as it works gives a new key each time: then a segment is computed once more,
never wrongly taken from the store.
"""

import hashlib
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

_SAMPLE = 256
"""Values read at the beginning and in the middle of every weight."""
_PLAIN = (str, int, float, bool, bytes, type(None))
_DEEPEST = 6


class Fingerprint:
    """Collects what is given to `add`; `key` is 40 hexadecimal digits."""

    def __init__(self, *parts: Any):
        self._digest = hashlib.blake2b(digest_size=20)
        for part in parts:
            self.add(part)

    def add(self, value: Any) -> "Fingerprint":
        """One more thing that the result depends on. Order counts."""
        for piece in _pieces(value, 0):
            self._digest.update(len(piece).to_bytes(8, "little") + piece)
        return self

    def copy(self) -> "Fingerprint":
        """The same so far; what is added to one does not reach the other."""
        other = Fingerprint()
        other._digest = self._digest.copy()
        return other

    @property
    def key(self) -> str:
        return self._digest.hexdigest()


def model_identity(patcher) -> list:
    """What of a ModelPatcher decides its results: weights, LoRAs and other patches, options, wrappers."""
    weights = []
    for name, (base, *patches) in sorted(patcher.get_key_patches().items()):
        weights.append((name, _sample(base[0]), [(strength, scale, offset, function, _sampled(patch))
                                                 for strength, patch, scale, offset, function in patches]))
    return [weights, patcher.model_options, patcher.wrappers, patcher.object_patches,
            getattr(patcher.model, "model_config", None)]


def _sampled(patch: Any) -> Any:
    """A patch with samples in place of its tensors."""
    if isinstance(patch, Tensor):
        return _sample(patch)
    if isinstance(patch, (list, tuple)):
        return [_sampled(part) for part in patch]
    if hasattr(patch, "weights"):
        return type(patch).__name__, _sampled(patch.weights)
    return patch


def _sample(weight: Tensor) -> tuple:
    flat, middle = weight.detach().flatten(), weight.numel() // 2
    return tuple(weight.shape), str(weight.dtype), flat[:_SAMPLE].clone(), flat[middle:middle + _SAMPLE].clone()


def _pieces(value: Any, depth: int):
    """`value` as byte strings, in a fixed order."""
    yield type(value).__name__.encode()
    if isinstance(value, Tensor):
        yield f"{value.dtype} {tuple(value.shape)}".encode()
        yield value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
    elif isinstance(value, _PLAIN):
        yield repr(value).encode()
    elif depth == _DEEPEST:
        return
    elif isinstance(value, Mapping):
        for name in sorted(value, key=str):
            yield str(name).encode()
            yield from _pieces(value[name], depth + 1)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for part in sorted(value, key=str) if isinstance(value, (set, frozenset)) else value:
            yield from _pieces(part, depth + 1)
    else:
        yield from _object_pieces(value, depth)


def _object_pieces(value: Any, depth: int):
    if isinstance(value, partial):
        yield from _pieces([value.func, value.args, value.keywords], depth + 1)
        return
    named = value if hasattr(value, "__qualname__") else type(value)
    yield f"{getattr(named, '__module__', '')}.{named.__qualname__}".encode()
    for cell in getattr(value, "__closure__", None) or ():
        yield from _held(cell.cell_contents, depth)
    owner = getattr(value, "__self__", value)
    for name, held in sorted(getattr(owner, "__dict__", {}).items()):
        if not name.startswith("__"):
            yield name.encode()
            yield from _held(held, depth)


def _held(value: Any, depth: int):
    """What an object holds: plain values and containers of them; another object only by its class."""
    if isinstance(value, (*_PLAIN, Tensor, Mapping, list, tuple)):
        yield from _pieces(value, depth + 1)
    else:
        yield type(value).__qualname__.encode()
