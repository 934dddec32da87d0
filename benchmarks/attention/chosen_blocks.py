"""Block-sparse attention, emulated: the rules by which Sol-Attn and SLA choose blocks of keys.

A block of queries sees a few blocks of keys exactly: itself, its two neighbours, and those that the
rule chooses by the scores of the blocks' means. Of every other block it sees one term, the mean key
with the sum of the values (`pooled`), or nothing (as radial attention, SpargeAttn and VSA do).

Written after the description of Sol-Attn (arXiv 2607.24027) and of ComfyUI's Model Sparse
Attention. It computes all scores, so it saves no time; the kernels also round to 8 bits.

Shape legend: B batch, H heads, N tokens, K head size, n blocks of `size` tokens.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Rule = Callable[[Tensor, Tensor], Tensor]
"""Scores of the blocks' means (B, H, n, n) and their spread (B, H, n, 1) → which are chosen."""


def above(sigmas: float) -> Rule:
    """Sol-Attn: blocks of keys whose score is this many standard deviations above the mean."""
    return lambda scores, spread: scores > sigmas * spread


def best(share: float) -> Rule:
    """SLA: the best-scored share of the blocks of keys, at least one."""

    def choose(scores: Tensor, spread: Tensor) -> Tensor:
        count = min(max(1, round(share * scores.shape[-1])), scores.shape[-1])
        return scores >= scores.topk(count, dim=-1).values[..., -1:]

    return choose


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    choose: Rule,
    size: int,
    pooled: bool = True,
) -> Tensor:
    """Attention of `q`, `k`, `v` (B, H, N, K) over the chosen blocks of keys → (B, H, N, K)."""
    tokens, scale = q.shape[2], q.shape[-1] ** -0.5
    block = torch.arange(tokens, device=q.device) // size
    lengths = torch.bincount(block).to(q.dtype)
    queries, keys, values = (_means(part, lengths, size) for part in (q, k, v))
    middle = keys.mean(2, keepdim=True)
    scores = queries @ (keys - middle).mT * scale
    variance = queries.square() @ (keys - middle).square().mean(2)[..., None]
    chosen = choose(scores, (variance * scale**2 + 1e-6 * math.log(2) ** 2).sqrt())
    number = torch.arange(len(lengths), device=q.device)
    chosen = chosen | ((number[:, None] - number).abs() <= 1)

    exact = q @ (k - middle).mT * scale
    exact = exact.masked_fill(~chosen[:, :, block][..., block], -math.inf)
    if not pooled:
        return exact.softmax(-1) @ v
    rest = (scores + lengths.log()).masked_fill(chosen, -math.inf)[:, :, block]
    weights = torch.cat([exact, rest], -1).softmax(-1)
    return weights @ torch.cat([v, values], 2)


def _means(x: Tensor, lengths: Tensor, size: int) -> Tensor:
    """(B, H, N, K) → means of blocks (B, H, n, K)."""
    missing = len(lengths) * size - x.shape[2]
    blocks = functional.pad(x, (0, 0, 0, missing)).unflatten(2, (-1, size))
    return blocks.sum(3) / lengths[:, None]
