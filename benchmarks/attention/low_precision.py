"""Attention in few bits, emulated: queries and keys in int8; weights and values in fp16, fp8, int8.

SageAttention's scheme: a scale for each block of 128 queries and of 64 keys; the keys' mean over
all tokens may be taken off first (`smooth`), which changes no weight. Weights are exp(score −
maximum), so that the largest is 1; the values of a channel share a scale; a block's sum is rounded
to fp16, and the sums are added in float32. `in_fp4` is the scheme of SageAttention 3.

Unverified: that the kernels round as this does. They run on graphics cards only.
"""

import torch
from torch import Tensor
from torch.nn import functional

QUERIES, KEYS = 128, 64
"""Rows that share a scale."""
_FP8 = torch.float8_e4m3fn
_FP8_MAX = 448.0
_WEIGHTS = 448.0 * 6.0
"""The largest weight in fp4: the largest scale times the largest number."""


def attend(q: Tensor, k: Tensor, v: Tensor, values: str = "fp16", smooth: bool = True) -> Tensor:
    """Attention of `q`, `k`, `v` (B, H, N, K) → (B, H, N, K). `values` is fp16, fp8 or int8."""
    if smooth:
        k = k - k.mean(2, keepdim=True)
    scores = _to_int8(q, QUERIES) @ _to_int8(k, KEYS).mT * q.shape[-1] ** -0.5
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    total = weights.sum(-1, keepdim=True)
    weights, v = ROUNDINGS[values](weights, v)
    parts = zip(weights.split(KEYS, -1), v.split(KEYS, 2), strict=True)
    return sum(((w @ part).half().float() for w, part in parts), torch.zeros_like(q)) / total


def in_fp4(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Everything in fp4: 16 numbers share a scale in fp8.

    What is taken off first is added in full: the keys' mean, which changes no weight, and the mean
    of each block of queries.
    """
    k = k - k.mean(2, keepdim=True)
    middle = torch.cat(
        [part.mean(2, keepdim=True).expand_as(part) for part in q.split(QUERIES, 2)], 2
    )
    scores = (_to_fp4(q - middle) @ _to_fp4(k).mT + middle @ k.mT) * q.shape[-1] ** -0.5
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    total = weights.sum(-1, keepdim=True)
    return _to_fp4(weights * _WEIGHTS) @ _to_fp4(v.mT).mT / (total * _WEIGHTS)


def to_bfloat16(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Flash attention's precision: all of it is there, rounded to bfloat16."""
    q, k, v = (part.bfloat16().float() for part in (q, k, v))
    scores = q @ k.mT * q.shape[-1] ** -0.5
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    return weights.bfloat16().float() @ v / weights.sum(-1, keepdim=True)


def _to_int8(x: Tensor, rows: int) -> Tensor:
    """`x` (B, H, N, K) as int8 with a scale for each block of `rows`, back in its dtype."""
    rounded = []
    for block in x.split(rows, 2):
        scale = block.abs().amax((2, 3), keepdim=True).clamp(min=1e-8) / 127
        rounded.append((block / scale).round() * scale)
    return torch.cat(rounded, 2)


def _to_fp4(x: Tensor) -> Tensor:
    """`x` (…, n) rounded to fp4: 0, 0.5, 1, 1.5, 2, 3, 4, 6 times a scale for 16 of an axis."""
    groups = functional.pad(x, (0, -x.shape[-1] % 16)).unflatten(-1, (-1, 16))
    scale = (groups.abs().amax(-1, keepdim=True) / 6).to(_FP8).float().clamp(min=2**-9)
    size = (groups / scale).abs().clamp(max=6)
    step = 2.0 ** (size.clamp(min=1).log2().floor() - 1)
    rounded = (size / step).round() * step * groups.sign() * scale
    return rounded.flatten(-2)[..., : x.shape[-1]]


def _fp16(weights: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    return weights.half().float(), v.half().float()


def _fp8(weights: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    scale = v.abs().amax(2, keepdim=True).clamp(min=1e-8) / _FP8_MAX
    return (weights * _FP8_MAX).to(_FP8).float() / _FP8_MAX, (v / scale).to(_FP8).float() * scale


def _int8(weights: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    scale = v.abs().amax(2, keepdim=True).clamp(min=1e-8) / 127
    return (weights * 255).round() / 255, (v / scale).round() * scale


ROUNDINGS = {"fp16": _fp16, "fp8": _fp8, "int8": _int8}
