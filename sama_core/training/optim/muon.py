"""Muon: momentum whose step is made orthogonal (Jordan et al. 2024), for matrices and convolutions.

Torch's own version computes in bfloat16, which many CPUs emulate: measured 30 times slower than all
the rest of a step, and rounded so coarsely that two processes drift apart. This one computes in
float32 on a CPU, and takes matrices of one shape together.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

_QUINTIC = (3.4445, -4.775, 2.0315)
_STEPS = 5


class Muon(torch.optim.Optimizer):
    """weight ← (1 - lr·decay)·weight - lr·√max(1, rows / columns)·orthogonal(Nesterov momentum).

    A convolution's weight counts as the matrix (out, in · kernel).
    """

    def __init__(
        self,
        weights: Iterable[nn.Parameter],
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
    ):
        """`lr` per step, `weight_decay` as a factor on it, `momentum` in 0..1."""
        super().__init__(weights, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # it takes no closure
        """Move the weights along their gradients; those without a gradient stay as they are."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[tuple[nn.Parameter, Tensor]]] = {}
            for weight in group["params"]:
                if weight.grad is not None:
                    direction = self._direction(weight, weight.grad, group["momentum"])
                    by_shape.setdefault(direction.shape, []).append((weight, direction))
            for shape, pairs in by_shape.items():
                rate = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
                for (weight, _), update in zip(
                    pairs, _orthogonal([pair[1] for pair in pairs]), strict=True
                ):
                    weight.mul_(1 - group["lr"] * group["weight_decay"])
                    weight.add_(update.view_as(weight).to(weight.dtype), alpha=-rate)

    def _direction(self, weight: nn.Parameter, gradient: Tensor, momentum: float) -> Tensor:
        """Nesterov's direction as a matrix (rows, columns); keeps the momentum."""
        state = self.state[weight]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        state["momentum_buffer"].lerp_(gradient, 1 - momentum)
        ahead = gradient.lerp(state["momentum_buffer"], momentum)
        return ahead if ahead.ndim == 2 else ahead.flatten(1)


def _orthogonal(matrices: list[Tensor]) -> list[Tensor]:
    """Matrices of one shape with their singular values brought near 1.

    Sharded ones (FSDP) one by one.
    """
    if hasattr(matrices[0], "full_tensor"):
        return [orthogonalise(matrix) for matrix in matrices]
    return list(orthogonalise(torch.stack(matrices)))


def orthogonalise(matrices: Tensor) -> Tensor:
    """(…, rows, columns) → the same shape, singular values between about 0.7 and 1.2.

    Five Newton–Schulz steps.
    """
    x = matrices.float() if matrices.device.type == "cpu" else matrices.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True) + 1e-7)
    a, b, c = _QUINTIC
    for _ in range(_STEPS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x
