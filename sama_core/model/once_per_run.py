"""What no step of a sampling run changes, computed at its first step: the text's keys and values, the source's tokens.

For SAMA-14B the gain is nearly nothing and the text's keys and values would take 0.4 GB per conditioning, so what is
kept is limited; small models and small clips, where text outnumbers video tokens, gain a quarter of a step.
"""

import weakref
from collections.abc import Callable, Hashable, Iterable

import torch
from torch import Tensor, nn

MEMORY = "sama_once_per_run"
"""Where `transformer_options` carry the run's `OncePerRun`; without one everything is computed every time."""
LIMIT_BYTES = 64 << 20


class OncePerRun:
    """Results of one run by key, up to `limit_bytes` of tensors in all."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES):
        self._kept: dict[Hashable, Tensor | tuple[Tensor, ...]] = {}
        self._weights: dict[Hashable, list[tuple]] = {}
        self._left = limit_bytes

    def get(
        self, key: Hashable, make: Callable, of: Tensor | None = None, by: Iterable[nn.Module] = ()
    ):
        """What `make` gave at the first call with `key`. Kept if there is room, and only if `of` is itself kept.

        Made anew where a weight of the modules `by`, which `make` uses, was exchanged or written to meanwhile.
        """
        if of is not None:
            if not any(kept is of for kept in self._kept.values()):
                return make()
            key = (key, id(of))
        weights = [weight for module in by for weight in module.parameters()]
        if key in self._kept and not _same(weights, self._weights[key]):
            self._left += _bytes(self._kept.pop(key))
        if key not in self._kept:
            made = make()
            size = _bytes(made)
            if size > self._left:
                return made
            self._left -= size
            self._kept[key], self._weights[key] = (
                made,
                [(weakref.ref(weight), _state(weight)) for weight in weights],
            )
        return self._kept[key]


def _bytes(made: Tensor | tuple[Tensor, ...]) -> int:
    return sum(tensor.nbytes for tensor in (made if isinstance(made, tuple) else (made,)))


def _same(weights: list[Tensor], before: list[tuple]) -> bool:
    return len(weights) == len(before) and all(
        ref() is weight and state == _state(weight)
        for weight, (ref, state) in zip(weights, before, strict=True)
    )


def _state(weight: Tensor) -> tuple:
    """Place and count of writes, as far as the tensor tells: none is counted for those made in inference mode."""
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
    make: Callable,
    of: Tensor | None = None,
    by: Iterable[nn.Module] = (),
):
    """`make()`, or what it gave before in this run for the same conditioning (ComfyUI's `uuids`).

    `of` is the tensor that `make` reads, where callers may hand in another one; `by` the modules that it uses.
    """
    memory, conditioning = options.get(MEMORY), options.get("uuids")
    if (
        memory is None
        or not conditioning
        or torch.compiler.is_compiling()
        or torch.is_grad_enabled()
    ):
        return make()
    return memory.get((name, *conditioning), make, of, by)
