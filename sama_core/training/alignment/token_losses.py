"""Tokens compared one by one: REPA, CREPA, and SAM2VideoX without its flow.

Shape legend: B batch · T frames · N tokens of a frame · D width of the teacher's tokens.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from ...errors import SamaError, needed


def token_cosine(
    student: Tensor, teacher: Tensor, neighbours: int = 0, decay: float = 1.0
) -> Tensor:
    """1 − cosine of student and teacher tokens (B, T, N, D), the mean over tokens → (B,).

    With `neighbours` 0 it is REPA's loss. With more it is CREPA's (arXiv 2506.09229): a token is
    held to the teacher's of the frames up to `neighbours` before and after too, with weights
    exp(−distance / decay). Unverified: CREPA's own decay and its weight of the frame itself, here
    1.
    """
    _check(student, teacher)
    student, teacher = (functional.normalize(x.float(), dim=-1) for x in (student, teacher))
    frames = student.shape[1]
    total = student.new_zeros(student.shape[0])
    weights = 0.0
    for gap in range(-min(neighbours, frames - 1), min(neighbours, frames - 1) + 1):
        weight = math.exp(-abs(gap) / decay)
        here = slice(max(-gap, 0), frames - max(gap, 0))
        there = slice(max(gap, 0), frames - max(-gap, 0))
        cosine = (student[:, here] * teacher[:, there]).sum(-1)
        total = total + weight * (1 - cosine).flatten(1).sum(1)
        weights += weight * (frames - abs(gap)) * student.shape[2]
    return total / weights


def token_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of tokens (B, T, N, D), the row "w/o LGF" of SAM2VideoX Tab. 2 →
    (B,).
    """
    _check(student, teacher)
    return (student.float() - teacher.float()).square().flatten(1).mean(1)


def _check(student: Tensor, teacher: Tensor) -> None:
    if student.ndim != 4 or student.shape != teacher.shape:
        raise SamaError(
            needed(
                "teacher tokens",
                f"shape {tuple(teacher.shape)}",
                f"the student's {tuple(student.shape)}, (B, T, N, D)",
                "Project the student to the teacher's width and grid.",
            )
        )
    if not torch.is_floating_point(student):
        raise SamaError(needed("tokens", str(student.dtype), "floating point", "Convert them."))
