"""Wan's tensors under diffusers' names: one table, read in both directions.

    Wan                      diffusers
    blocks.0.self_attn.q     blocks.0.attn1.to_q
    blocks.0.ffn.0           blocks.0.ffn.net.0.proj
    blocks.0.modulation      blocks.0.scale_shift_table
    head.modulation          scale_shift_table

Tensors are the same under both, in value and shape. SAMA's own 11 keep their names.
"""

import re
from collections.abc import Iterable

_ATTENTIONS = {"self_attn": "attn1", "cross_attn": "attn2"}
_PROJECTIONS = {"q": "to_q", "k": "to_k", "v": "to_v", "o": "to_out.0", "norm_q": "norm_q", "norm_k": "norm_k"}
_IN_BLOCK = {f"{attention}.{part}": f"{theirs}.{name}" for attention, theirs in _ATTENTIONS.items()
             for part, name in _PROJECTIONS.items()}
_IN_BLOCK |= {"ffn.0": "ffn.net.0.proj", "ffn.2": "ffn.net.2", "norm3": "norm2", "modulation": "scale_shift_table"}
_OUTSIDE = {
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "head.modulation": "scale_shift_table",
    "head.head": "proj_out",
}
_BLOCK = re.compile(r"(blocks\.\d+)\.(.+)")
_MARKER = re.compile(r"(^|\.)blocks\.\d+\.attn[12]\.")


def uses_diffusers_names(names: Iterable[str]) -> bool:
    """True where any of `names` is one that only diffusers gives, with or without a prefix."""
    return any(_MARKER.search(name) for name in names)


def to_wan(name: str) -> str:
    """Wan's name of a tensor, layer or scale that diffusers named; any other name as it is."""
    return _translated(name, _FROM_BLOCK, _FROM_OUTSIDE)


def to_diffusers(name: str) -> str:
    """Diffusers' name of a tensor or layer under Wan's; any other name as it is."""
    return _translated(name, _IN_BLOCK, _OUTSIDE)


def _translated(name: str, in_block: dict[str, str], outside: dict[str, str]) -> str:
    block = _BLOCK.fullmatch(name)
    if block:
        return f"{block[1]}.{_replaced(block[2], in_block)}"
    return _replaced(name, outside)


def _replaced(name: str, table: dict[str, str]) -> str:
    """`name` with the longest beginning that stands in the table replaced, at a dot."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        found = table.get(".".join(parts[:count]))
        if found is not None:
            return ".".join([found, *parts[count:]])
    return name


_FROM_BLOCK = {theirs: ours for ours, theirs in _IN_BLOCK.items()} | {"ffn.net.0": "ffn.0"}
_FROM_OUTSIDE = {theirs: ours for ours, theirs in _OUTSIDE.items()}
