"""Token relation distillation: pairs of tokens shall be as alike as in the teacher (SARA §3.1,
§3.4).

    S[t, i, j] = ⟨v[t, i], v[t, j]⟩           within a frame
    C[t, i, u, j] = ⟨v[t, i], v[u, j]⟩        across frames, t ≠ u
    L = Σ W |S_teacher − S_student| / ΣW + λ · Σ ω W |C_teacher − C_student| / Σ ω W

Tokens v are normalised to length 1. W weighs a pair by the saliency of its two tokens
(`pair_weight`), ω = exp(−|t − u| / decay) by the distance of its frames. Sums are taken per sample:
SARA does not say whether per sample or over the batch (Unverified), and only so the loss of a batch
is the mean of its samples' losses.

Shape legend: B batch · T frames · N tokens of a frame · D width, which may differ between the two.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from ...errors import SamaError, needed

ROUTERS = ("or", "and", "xor", "all")
EPSILON = 1e-6
"""Added to each sum of weights (SARA Eq. 9 to 11)."""


def pair_weight(one: Tensor, other: Tensor, router: str) -> Tensor:
    """The weight of pairs of tokens with saliencies in 0..1 (SARA Eq. 8 and 12); broadcasts.

    `and` keeps pairs within the foreground, `or` every pair with a foreground token, `xor` pairs of
    foreground and background, `all` every pair. Exactly so for saliencies of 0 and 1.
    """
    match router:
        case "and":
            return one * other
        case "or":
            return one + other - one * other
        case "xor":
            return (one - other).abs()
        case "all":
            return torch.ones_like(one * other)
    raise SamaError(needed("router", router, " or ".join(ROUTERS), "Set router to or."))


def routed_trd(
    student: Tensor,
    teacher: Tensor,
    saliency: Tensor | None = None,
    router: str = "or",
    decay: float = math.inf,
    margin: float = 0.0,
    temporal_weight: float = 1.0,
    one_mean: bool = False,
    temporal_router: str | None = None,
) -> Tensor:
    """Differences of the token relations of student and teacher → (B,), in little memory.

    `student` (B, T, N, D) and `teacher` (B, T, N, D') are normalised here; `saliency` (B, T, N) in
    0..1, None for equal weights (then any `router` is `all`). `decay` in frames (MoAlign: 10);
    differences up to `margin` count as none (VideoREPA's code: 0.1); `temporal_weight` is λ. With
    `one_mean` the sums of both parts are divided by the sum of all weights at once, as VideoREPA's
    code does. `temporal_router` takes another router across frames (`all`: SARA's row "w/o temporal
    mask").

    Gradients reach the student alone. The gradient is made along with the value, a frame's rows of
    pairs at a time: nothing of the size (T · N)² ever exists. Raises SamaError for shapes that do
    not fit and for an unknown router.
    """
    _check_shapes(student, teacher, saliency)
    across = temporal_router or router
    if saliency is None:
        saliency, router, across = student.new_ones(student.shape[:3]), "all", "all"
    dtype = torch.float64 if student.dtype == torch.float64 else torch.float32
    tokens, wanted = (
        functional.normalize(x.to(dtype), dim=-1) for x in (student, teacher.detach())
    )
    weights = saliency.detach().to(tokens)
    # Under autocast products would be rounded to 3 digits, and the sign of small differences lost.
    with torch.autocast(tokens.device.type, enabled=False):
        return _RoutedTrd.apply(
            tokens, wanted, weights, (router, across), decay, margin, temporal_weight, one_mean
        )


def _check_shapes(student: Tensor, teacher: Tensor, saliency: Tensor | None) -> None:
    if student.ndim != 4 or teacher.shape[:3] != student.shape[:3]:
        raise SamaError(
            needed(
                "teacher tokens",
                f"shape {tuple(teacher.shape)}",
                f"(B, T, N, width) like the student's {tuple(student.shape)}",
                "Bring both onto one grid of frames and tokens.",
            )
        )
    if saliency is not None and saliency.shape != student.shape[:3]:
        raise SamaError(
            needed(
                "saliency",
                f"shape {tuple(saliency.shape)}",
                f"{tuple(student.shape[:3])}",
                "Bring it onto the tokens' grid.",
            )
        )


class _RoutedTrd(torch.autograd.Function):
    """The loss of normalised tokens. Frame t meets itself and the frames after it; pairs count
    twice.
    """

    @staticmethod
    def forward(ctx, tokens, wanted, weights, routers, decay, margin, temporal_weight, one_mean):
        batch, frames = tokens.shape[:2]
        loss = tokens.new_zeros(batch)
        gradient = torch.zeros_like(tokens)
        fading = [1.0 if math.isinf(decay) else math.exp(-gap / decay) for gap in range(frames)]
        for sample in range(batch):
            within, across = _sums_of_weights(weights[sample], routers, fading)
            shares = _shares(within, across, temporal_weight, one_mean)
            for frame in range(frames):
                loss[sample] += _add_rows(
                    tokens[sample], wanted[sample], weights[sample], frame, routers, shares,
                    fading, margin, gradient[sample],
                )  # fmt: skip
        ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx, outer):
        (gradient,) = ctx.saved_tensors
        return gradient * outer.view(-1, 1, 1, 1), *[None] * 7


def _shares(
    within: float, across: float, temporal_weight: float, one_mean: bool
) -> tuple[float, float]:
    """What one pair's difference counts, within a frame and across frames."""
    if one_mean:
        whole = within + temporal_weight * across + EPSILON
        return 1 / whole, temporal_weight / whole
    return 1 / (within + EPSILON), temporal_weight / (across + EPSILON)


def _sums_of_weights(
    weights: Tensor, routers: tuple[str, str], fading: list[float]
) -> tuple[float, float]:
    """Sums of the weights of all ordered pairs of one sample (T, N): within frames, and across.

    With numpy: not every device has float64, and none has to wait for each sum.
    """
    rows = np.sort(weights.cpu().numpy().astype(np.float64))
    frames = len(rows)
    within = sum(_sum_of_pairs(row, row, routers[0]) for row in rows)
    across = sum(
        2 * fading[other - one] * _sum_of_pairs(rows[one], rows[other], routers[1])
        for one in range(frames)
        for other in range(one + 1, frames)
    )
    return within, across


def _sum_of_pairs(one: np.ndarray, other: np.ndarray, router: str) -> float:
    """Σ `pair_weight` over every pair of two frames' tokens (N,), each in order of size, without
    making the pairs.
    """
    count, first, second = len(one), float(one.sum()), float(other.sum())
    match router:
        case "all":
            return float(count * count)
        case "and":
            return first * second
        case "xor":
            below = np.searchsorted(other, one)
            sums = np.concatenate(([0.0], other.cumsum()))
            return float((one * (2 * below - count) - 2 * sums[below] + second).sum())
    return count * (first + second) - first * second


def _add_rows(
    tokens: Tensor,
    wanted: Tensor,
    weights: Tensor,
    frame: int,
    routers: tuple[str, str],
    shares: tuple[float, float],
    fading: list[float],
    margin: float,
    gradient: Tensor,
) -> Tensor:
    """The loss of frame `frame` with itself and all later frames; adds to `gradient` (T, N, D)."""
    count, width = tokens.shape[1:]
    rows, later = tokens[frame], tokens[frame:].reshape(-1, width)
    difference = rows @ later.T
    difference -= wanted[frame] @ wanted[frame:].reshape(-1, wanted.shape[-1]).T
    scale = _scales(weights, frame, routers, shares, fading)
    slope = difference.sign().mul_(scale)
    if margin:
        slope.mul_(difference.abs() > margin)
    excess = difference.abs_().sub_(margin).clamp_(min=0) if margin else difference.abs_()
    loss = excess.mul_(scale).sum()
    # A pair within the frame stands in its rows twice already; one across frames stands here once,
    # and its scale holds the two.
    slope[:, :count] *= 2
    gradient[frame] += slope @ later
    later_gradient = slope[:, count:].T @ rows
    gradient[frame + 1 :] += later_gradient.view(-1, count, width)
    return loss


def _scales(
    weights: Tensor,
    frame: int,
    routers: tuple[str, str],
    shares: tuple[float, float],
    fading: list[float],
) -> Tensor:
    """(N, N · frames from `frame` on): what each pair's difference counts, both orders of it."""
    own, later = weights[frame], weights[frame + 1 :]
    within = pair_weight(own[:, None], own[None], routers[0]).mul_(shares[0])
    fade = later.new_tensor(fading[1 : len(later) + 1]).repeat_interleave(len(own))
    across = pair_weight(own[:, None], later.reshape(1, -1), routers[1])
    return torch.cat([within, across.mul_(fade * (2 * shares[1]))], dim=1)
