"""The attention back ends that are measured, as overrides for a model of ComfyUI.

Dense ones come as they come from Model Attention Backend or from sage's and flash's nodes, for
self- and cross-attention. Block-sparse ones behave as ComfyUI's Model Sparse Attention with its
defaults: dense for the first fifth of the steps, and for cross-attention. They come in blocks of
several sizes, since a clip of SAMA-Shapes is four of the kernels' blocks of 64, where one of
SAMA-14B is a thousand.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from benchmarks.attention import chosen_blocks, low_precision
from sama_core.model.schedule import flow_sigmas
from sama_core.model.token_order import BLOCK_SPARSE

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""`q`, `k`, `v` (B, H, N, K) → (B, H, N, K)."""
OVERRIDE = "optimized_attention_override"
SIZES = (8, 16, 64)
"""Tokens of a block."""
DENSE_STEPS = 0.2
"""Share of the schedule before a block-sparse back end begins."""
TAU, KEPT = 1.3, 0.1
"""The node's defaults: Sol-Attn's threshold, and the share of blocks that SLA keeps."""


@dataclass(frozen=True)
class BackEnd:
    """One row of the table."""

    name: str
    """In the table."""
    attend: Attend
    """What stands for its kernel."""
    block: int = 0
    """Tokens of a block; 0 for a dense one."""
    method: str = ""
    """Under which of its names ComfyUI's node puts it on; empty for a back end that SAMA would not
    recognise, and so gives its tokens as they are."""

    def put_on(self, model: Any) -> Any:
        """A clone of the model (ModelPatcher) with it."""
        model = model.clone()
        options = model.model_options.setdefault("transformer_options", {})
        function = override(self.attend)
        if self.block:
            function = begin_late(function, NodeSettings(self.method))
        if self.method:
            options[BLOCK_SPARSE] = self.block
        options[OVERRIDE] = function
        return model


class NodeSettings:
    """What ComfyUI's node keeps in the closure of its override, by which SAMA knows it."""

    def __init__(self, method: str):
        if method:
            self.topk_ratio, self.vsa = KEPT if method == "sla" else 0.0, method == "vsa"


def override(attend: Attend) -> Callable[..., Tensor]:
    """`attend` as ComfyUI's `optimized_attention_override`, in float32."""

    def run(func, q, k, v, heads, mask=None, **named):
        if mask is not None:
            return func(q, k, v, heads, mask=mask, **named)
        parts = (part.unflatten(-1, (heads, -1)).transpose(1, 2).float() for part in (q, k, v))
        return attend(*parts).transpose(1, 2).flatten(2).to(q.dtype)

    return run


def begin_late(function: Callable[..., Tensor], node: NodeSettings) -> Callable[..., Tensor]:
    """An override for self-attention of the later steps, as ComfyUI's node makes one."""
    begin = flow_sigmas(1000)[int(1000 * DENSE_STEPS)]

    def run(func, q, k, v, heads, mask=None, **named):
        sigmas = named["transformer_options"].get("sigmas")
        early = sigmas is not None and float(sigmas[0]) > begin
        if early or q.shape != k.shape:
            return func(q, k, v, heads, mask=mask, **named)
        return function(func, q, k, v, heads, mask=mask, node=node, **named)

    return run


def dense() -> list[BackEnd]:
    """Back ends that look at all keys."""
    sage = partial(partial, low_precision.attend)
    return [
        BackEnd("flash attention, bf16", low_precision.to_bfloat16),
        BackEnd("sage, int8 and fp16, as ComfyUI calls it", sage(values="fp16", smooth=False)),
        BackEnd("sage, int8 and fp16, smoothed keys", sage(values="fp16", smooth=True)),
        BackEnd("sage, int8 and fp8, as ComfyUI calls it", sage(values="fp8", smooth=False)),
        BackEnd("sage, int8 and fp8, smoothed keys", sage(values="fp8", smooth=True)),
        BackEnd("int8 throughout, as comfy-kitchen's", sage(values="int8", smooth=True)),
        BackEnd("sage 3, fp4", low_precision.in_fp4),
    ]


def block_sparse() -> Iterator[BackEnd]:
    """Sol-Attn and SLA as SAMA serves them, and what they would do by themselves; and one that
    drops what it does not look at.
    """
    rules = {
        "sol-attn": (chosen_blocks.above(TAU), True),
        "sla": (chosen_blocks.best(KEPT), True),
        "dropping": (chosen_blocks.best(KEPT), False),
    }
    for block in SIZES:
        for name, (rule, pooled) in rules.items():
            attend = partial(chosen_blocks.attend, choose=rule, size=block, pooled=pooled)
            title = f"{name}, blocks of {block}"
            if name == "dropping":
                yield BackEnd(title, attend, block)
                continue
            yield BackEnd(title, attend, block, name)
            yield BackEnd(f"{title}, tokens as they are", attend, block)
