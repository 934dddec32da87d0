"""Muon for convolutions: momentum, then the nearest semi-orthogonal matrix, on weights flattened to (out, in x kernel).

Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks". torch's own takes only plain
matrices and iterates in bfloat16, which CPUs without bfloat16 arithmetic do some fifty times slower than float32.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

# Coefficients of the quintic Newton-Schulz iteration (Jordan et al.).
_A, _B, _C = 3.4445, -4.7750, 2.0315
_ITERATIONS = 5


class ConvMuon(torch.optim.Optimizer):
    """SGD with Nesterov momentum whose step has all singular values near 1; `lr` is thus relative to the weights."""

    def __init__(self, weights: Iterable[torch.nn.Parameter], lr: float, momentum: float = 0.95):
        super().__init__(list(weights), {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure=None) -> None:
        """Weights without a gradient are left alone."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                held = state["momentum"].mul_(group["momentum"]).add_(weight.grad)
                ahead = weight.grad.add(held, alpha=group["momentum"]).flatten(1)
                rate = group["lr"] * max(1.0, ahead.shape[0] / ahead.shape[1]) ** 0.5
                weight.sub_(orthogonal(ahead).view_as(weight), alpha=rate)


def orthogonal(matrix: Tensor) -> Tensor:
    """(M, N) → the same with singular values brought near 1; columns of zeros stay zero."""
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(_ITERATIONS):
        square = x @ x.T
        x = _A * x + (_B * square + _C * square @ square) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x
