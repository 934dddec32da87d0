"""What no step of a sampling run changes, computed at its first step: the text's keys and values, the source's tokens.

For SAMA-14B the gain is nearly nothing and the text's keys and values would take 0.4 GB per conditioning, so what is
kept is limited; small models and small clips, where text outnumbers video tokens, gain a quarter of a step.
"""

from collections.abc import Callable, Hashable

import torch
from torch import Tensor

MEMORY = "sama_once_per_run"
"""Where `transformer_options` carry the run's `OncePerRun`; without one everything is computed every time."""
LIMIT_BYTES = 64 << 20


class OncePerRun:
    """Results of one run by key, up to `limit_bytes` of tensors in all."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES):
        self._kept: dict[Hashable, Tensor | tuple[Tensor, ...]] = {}
        self._left = limit_bytes

    def get(self, key: Hashable, make: Callable, of: Tensor | None = None):
        """What `make` gave at the first call with `key`. Kept if there is room, and only if `of` is itself kept."""
        if of is not None:
            if not any(kept is of for kept in self._kept.values()):
                return make()
            key = (key, id(of))
        if key not in self._kept:
            made = make()
            size = sum(tensor.nbytes for tensor in (made if isinstance(made, tuple) else (made,)))
            if size > self._left:
                return made
            self._left -= size
            self._kept[key] = made
        return self._kept[key]


def once(options: dict, name: Hashable, make: Callable, of: Tensor | None = None):
    """`make()`, or what it gave before in this run for the same conditioning (ComfyUI's `uuids`).

    `of` is the tensor that `make` reads, where callers may hand in another one.
    """
    memory, conditioning = options.get(MEMORY), options.get("uuids")
    if memory is None or not conditioning or torch.compiler.is_compiling() or torch.is_grad_enabled():
        return make()
    return memory.get((name, *conditioning), make, of)
