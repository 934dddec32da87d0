"""Compute once per sampling run what no step changes: the text's keys and values, source tokens.

For SAMA-14B the gain is negligible and the text's keys and values would take 0.4 GB per
conditioning, so the memory is limited. Small models and small clips, which have more text tokens
than video tokens, save a quarter of a step.
"""

import weakref
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

MEMORY = "sama_once_per_run"
"""Key of the run's `OncePerRun` in `transformer_options`. Without it nothing is cached."""
LIMIT_BYTES = 64 << 20
"""Bytes of tensors that one run may keep."""

Cached = TypeVar("Cached", bound=Tensor | tuple[Tensor, ...])


class OncePerRun:
    """Results of one run by key, up to `limit_bytes` of tensors in total."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES):
        self._cached: dict[Hashable, Any] = {}
        self._weights: dict[Hashable, list[tuple]] = {}
        self._read: dict[Hashable, Tensor | None] = {}
        self._left = limit_bytes

    def get(
        self,
        key: Hashable,
        make: Callable[[], Cached],
        of: Tensor | None = None,
        by: Iterable[nn.Module] = (),
    ) -> Cached:
        """The result of `make` at the first call with `key`.

        It is cached if there is room and, where `of` is given, only if `of` is itself a cached
        tensor. It is computed again after a weight of the modules `by`, which `make` uses, was
        replaced or written to.
        """
        if of is not None:
            if not any(cached is of for cached in self._cached.values()):
                return make()
            key = (key, id(of))
        weights = [weight for module in by for weight in module.parameters()]
        if key in self._cached and not _same(weights, self._weights[key]):
            self._left += _bytes(self._cached.pop(key))
        if key not in self._cached:
            made = make()
            size = _bytes(made)
            if size > self._left:
                return made
            self._left -= size
            self._cached[key] = made
            self._weights[key] = [(weakref.ref(weight), _state(weight)) for weight in weights]
            self._read[key] = of  # Kept, so that no other tensor gets the id in the key.
        return self._cached[key]


def _bytes(made: Tensor | tuple[Tensor, ...]) -> int:
    return sum(tensor.nbytes for tensor in (made if isinstance(made, tuple) else (made,)))


def _same(weights: Sequence[Tensor], before: list[tuple]) -> bool:
    """Whether these are the weights of `before`, and nothing was written to them since."""
    return len(weights) == len(before) and all(
        ref() is weight and state == _state(weight)
        for weight, (ref, state) in zip(weights, before, strict=True)
    )


def _state(weight: Tensor) -> tuple:
    """Address and count of writes, each None if unknown; inference tensors do not count writes."""
    place = written = None
    try:
        place = weight.data_ptr()
        written = weight._version
    except (RuntimeError, NotImplementedError):
        pass
    return place, written


def once(
    options: dict,
    name: Hashable,
    make: Callable[[], Cached],
    of: Tensor | None = None,
    by: Iterable[nn.Module] = (),
) -> Cached:
    """`make()`, or its earlier result in this run for the same conditioning (ComfyUI's `uuids`).

    `options` are the model's `transformer_options`. `of` is the tensor that `make` reads, if a
    caller may pass another one; `by` are the modules that `make` uses.
    """
    memory: OncePerRun | None = options.get(MEMORY)
    conditioning = options.get("uuids")
    if not conditioning or torch.compiler.is_compiling() or torch.is_grad_enabled():
        return make()
    return make() if memory is None else memory.get((name, *conditioning), make, of, by)
