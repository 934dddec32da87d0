"""Local Gram flow: where the features of a token reappear in the next frame (SAM2VideoX §4.2).

    z[t, i, δ] = f[t, i] · f[t + 1, i + δ]        δ over a square window around the token i

The similarities are plain dot products, as the paper writes them: neither features nor products are
normalised. Out-of-frame neighbours are left out of the softmax (`border="mask"`, logits of −inf),
or count as a product of zero (`border="zero"`). Unverified: the paper does not name its border
rule, and the two differ within `window // 2` cells of the border only.

Shape legend: B batch · T frames · h, w cells · C channels · K = window² neighbours.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from ...errors import SamaError, needed

BORDERS = ("mask", "zero")


def local_gram_flow(features: Tensor, window: int = 7, border: str = "mask") -> Tensor:
    """Similarities of every token to its neighbourhood in the next frame (SAM2VideoX §4.2).

    `features` (B, T, h, w, C) → (B, T−1, h, w, window²), neighbours in rows from the upper left.
    Half precision is computed in float32. Memory for the gradient is that of the features, not of
    all products: each frame pair is multiplied again in the backward pass. Raises SamaError for
    another shape, fewer than two frames, an even window or an unknown border.
    """
    if features.ndim != 5 or features.shape[1] < 2:
        raise SamaError(
            needed(
                "features",
                f"shape {tuple(features.shape)}",
                "(B, T, h, w, C) with two frames or more",
                "Give a clip of at least two latent frames.",
            )
        )
    if window < 1 or window % 2 == 0:
        raise SamaError(needed("window", window, "an odd number", "Set window to 7, the paper's."))
    if border not in BORDERS:
        raise SamaError(needed("border", border, " or ".join(BORDERS), "Set border to mask."))
    if features.dtype in (torch.float16, torch.bfloat16):
        features = features.float()
    outside = -torch.inf if border == "mask" else 0.0
    return _LocalGram.apply(features, window // 2, outside)


def flow_both_ways(features: Tensor, window: int = 7, border: str = "mask") -> Tensor:
    """`local_gram_flow` to the next frame, then to the one before (SAM2VideoX Tab. 4).

    (B, T, h, w, C) → (B, 2T−2, h, w, window²): pairs t → t + 1 in order, then T−1 → T−2 down to 1 →
    0.
    """
    flows = [local_gram_flow(each, window, border) for each in (features, features.flip(1))]
    return torch.cat(flows, dim=1)


def fuse(forward: Tensor, backward: Tensor, k: float | Tensor = 0.5) -> Tensor:
    """k · forward + (1 − k) · backward: flows of two directions as one teacher (SAM2VideoX §4.3).

    Both (B, T−1, h, w, K), from features in the clip's own order of frames; `k` a number, or (T−1,)
    a number for each pair of frames. Similarities are fused before the softmax. Unverified: the
    paper does not give k. Neighbours that are out of frame in both stay so.
    """
    if isinstance(k, Tensor):
        k = k.to(forward).view(-1, 1, 1, 1)
    # −inf · 0 would be no number.
    inside = torch.isfinite(forward)
    mixed = k * forward.masked_fill(~inside, 0) + (1 - k) * backward.masked_fill(~inside, 0)
    return mixed.masked_fill(~inside, -torch.inf)


def flow_divergence(
    teacher: Tensor, student: Tensor, temperature: float = 0.1, weight: Tensor | None = None
) -> Tensor:
    """KL(teacher ‖ student) of the flows' distributions over the neighbourhood (SAM2VideoX §4.4) →
    (B,).

    Both (B, T−1, h, w, K), with the same border rule. The mean over positions and frame pairs; no
    factor T² (the paper names none). `weight` (B, T−1, h, w) makes it a weighted mean.
    Deviation: the weighted mean is ours; the paper takes all positions alike.
    """
    expected = functional.softmax(teacher / temperature, dim=-1)
    given = functional.log_softmax(student / temperature, dim=-1)
    surprise = torch.special.entr(expected).sum(-1)
    # Out of frame 0 · −inf would be no number; its gradient too.
    crossed = (expected * given.masked_fill(expected == 0, 0)).sum(-1)
    return _mean_over_positions(-surprise - crossed, weight)


def flow_distance(teacher: Tensor, student: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean squared difference of the flows themselves, the row "w/o KL" of SAM2VideoX Tab. 2 →
    (B,).

    Both (B, T−1, h, w, K); neighbours out of frame are left out of the mean. `weight` as in
    `flow_divergence`. Unverified: whether the paper takes the mean or the sum over neighbours.
    """
    inside = torch.isfinite(teacher) & torch.isfinite(student)
    difference = teacher.masked_fill(~inside, 0) - student.masked_fill(~inside, 0)
    per_position = difference.square().sum(-1) / inside.sum(-1)
    return _mean_over_positions(per_position, weight)


def _mean_over_positions(values: Tensor, weight: Tensor | None) -> Tensor:
    """(B, T−1, h, w) → (B,); a sample whose weights are all 0 gives 0."""
    if weight is None:
        return values.flatten(1).mean(1)
    weight = weight.to(values)
    return (values * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp(min=1e-6)


class _LocalGram(torch.autograd.Function):
    """`local_gram_flow` in little memory: of each neighbour only its number is kept."""

    @staticmethod
    def forward(ctx, features: Tensor, reach: int, outside: float) -> Tensor:
        ctx.save_for_backward(features)
        ctx.reach = reach
        batch, frames, height, width, _ = features.shape
        side = 2 * reach + 1
        flow = features.new_full((batch, frames - 1, height, width, side * side), outside)
        for number, here, there in _neighbours(reach, height, width):
            for frame in range(frames - 1):
                now, after = features[:, frame], features[:, frame + 1]
                flow[:, frame, *here, number] = (now[:, *here] * after[:, *there]).sum(-1)
        return flow

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        (features,) = ctx.saved_tensors
        _, frames, height, width, _ = features.shape
        total = torch.zeros_like(features)
        for number, here, there in _neighbours(ctx.reach, height, width):
            for frame in range(frames - 1):
                weight = gradient[:, frame, *here, number, None]
                total[:, frame, *here] += weight * features[:, frame + 1, *there]
                total[:, frame + 1, *there] += weight * features[:, frame, *here]
        return total, None, None


def _neighbours(
    reach: int, height: int, width: int
) -> Iterator[tuple[int, tuple[slice, slice], tuple[slice, slice]]]:
    """Of each neighbour: its number, the cells that have it, and where it lies."""
    number = 0
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            rows, columns = _overlap(down, height), _overlap(right, width)
            yield number, (rows[0], columns[0]), (rows[1], columns[1])
            number += 1


def _overlap(shift: int, size: int) -> tuple[slice, slice]:
    """The cells of a line whose neighbour `shift` cells on is in frame, and those neighbours."""
    length = max(size - abs(shift), 0)
    start = max(-shift, 0)
    return slice(start, start + length), slice(start + shift, start + shift + length)
