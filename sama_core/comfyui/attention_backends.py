"""Block-sparse attention on a model: ComfyUI's own is served, any other is refused by name.

Such a back end looks at the blocks of keys that score best. What it gets and what becomes of the
semantic tokens then: `model/token_order.py`. ComfyUI's Model Sparse Attention also sums up the
blocks that it does not look at, so its methods sol-attn and sla come near the exact result
(docs/attention.md). Its vsa needs trained weights, and back ends of other packs may drop the rest:
the resulting picture would be plausible and wrong. Dense back ends (sage, flash, PyTorch) pass.

How it is found: ComfyUI's Model Sparse Attention leaves a function in
`optimized_attention_override` that comes from its module `nodes_sparse_attention` and holds its
settings (`topk_ratio`, `vsa`), and callbacks that put it back at every step; other packs leave a
function, or their settings, under a name that says so. Unverified: packs whose
names say nothing of the kind are taken for dense.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import pairwise
from types import FunctionType, MethodType

from ..errors import ConditioningError, needed
from ..model.token_order import BLOCK, BLOCK_SPARSE

OVERRIDE = "optimized_attention_override"
"""The key of a model's own attention function in `transformer_options`."""
SERVED = ("sol-attn", "sla")
"""ComfyUI's methods that come near the exact result."""
_CALLBACKS = "block_sparse_attention"
"""The key of ComfyUI's callbacks."""
_WORDS = {
    "sparse": "block-sparse",
    "spas": "SpargeAttn",
    "sparge": "SpargeAttn",
    "solattn": "Sol-Attn",
    "sla": "SLA",
    "vsa": "VSA",
    "radial": "radial",
}
_PLAIN = (str, bytes, int, float, bool, type(None), list, tuple, dict, set, frozenset)


def refuse_sparse(patcher, training: bool = False) -> None:
    """Raises ConditioningError where block-sparse attention on `patcher` (a ModelPatcher) is not
    one of SERVED, and for any of them in a `training`, which needs gradients.
    """
    name = sparse_backend(patcher)
    if name and (training or name not in SERVED):
        instead = "" if training else ", or Model Sparse Attention with sol-attn"
        raise ConditioningError(
            needed(
                "attention",
                f"block-sparse attention ({name})",
                f"dense attention{instead}: SAMA's semantic tokens attend to all",
                "Remove Model Sparse Attention, or the pack's own node for it, from between loader "
                "and sampler; Model Attention Backend and sage attention may stay.",
            )
        )


def serve_sparse(guider) -> str:
    """Have a run's self-attention prepared for block-sparse attention, where the model has it.

    To be called on the run's own clone of the options, after `refuse_sparse`. Returns a remark.
    """
    name = sparse_backend(guider.model_patcher)
    if not name:
        return ""
    guider.model_options.setdefault("transformer_options", {}).setdefault(BLOCK_SPARSE, BLOCK)
    return f"Model Sparse Attention ({name}) is on: this edit is near the exact one, not equal."


def sparse_backend(patcher) -> str:
    """The name of the block-sparse attention on the model; empty where there is none."""
    options, seen = patcher.model_options.get("transformer_options", {}), set()
    callbacks = [
        function for by_key in patcher.callbacks.values() for function in by_key.get(_CALLBACKS, ())
    ]
    for piece in (
        piece
        for function in (options.get(OVERRIDE), *callbacks)
        for piece in _pieces(function, seen)
    ):
        if hasattr(piece, "topk_ratio") and hasattr(piece, "vsa"):
            return "vsa" if piece.vsa else "sla" if piece.topk_ratio else "sol-attn"
        if found := _backend_in(_name(piece)):
            return found
    if callbacks:
        return "Model Sparse Attention"
    return next(
        (found for key in options if isinstance(key, str) and (found := _backend_in(key))), ""
    )


def _pieces(value: object, seen: set[int]) -> Iterator[object]:
    """The function and all its parts: what it wraps, holds in its closure, or is a method of.

    Inner parts come first, so ComfyUI's settings object comes before the function around it.
    """
    if isinstance(value, _PLAIN) or id(value) in seen:
        return
    seen.add(id(value))
    parts = [getattr(value, "__wrapped__", None)]
    if isinstance(value, FunctionType):
        for cell in value.__closure__ or ():
            with suppress(ValueError):  # a variable that is not set
                parts.append(cell.cell_contents)
    elif isinstance(value, MethodType):
        parts += [value.__self__, value.__func__]
    elif isinstance(value, partial):
        parts += [value.func, *value.args, *value.keywords.values()]
    elif callable(value):
        parts += [part for part in getattr(value, "__dict__", {}).values() if callable(part)]
    for part in parts:
        yield from _pieces(part, seen)
    yield value


def _name(piece: object) -> str:
    """Module and name, without the user's own folders above `custom_nodes`."""
    named = piece if hasattr(piece, "__qualname__") else type(piece)
    module = getattr(named, "__module__", None) or ""
    return re.split(r"custom_nodes[./\\]", module)[-1] + "." + named.__qualname__


def _backend_in(name: str) -> str:
    """The block-sparse back end in a name, such as "make_sol_attn" or "ComfyUI-RadialAttn"."""
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
    pairs = ["".join(pair) for pair in pairwise(words)]
    return next((_WORDS[word] for word in (*pairs, *words) if word in _WORDS), "")
