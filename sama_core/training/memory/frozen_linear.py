"""A frozen layer whose matrix stays packed: it is unpacked when it is used, and dropped at once.

forward    y = x · Wᵀ + b        W unpacked, used, dropped
backward   ∂x = ∂y · W           W unpacked again; the graph keeps the packed one alone
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .packed import Packed, pack, unpack


class FrozenLinear(nn.Linear):
    """A Linear that is not trained. peft puts its adapters on it as on any other.

    Its parameter `weight` holds the stored numbers as bytes (rows, columns · bytes of one): so no
    cast of the whole model, and no adapter that follows the type of its layer, changes them.
    """

    scale: Tensor | None

    def __init__(
        self, rows: int, columns: int, bias: bool, stored: torch.dtype, scale: Tensor | None
    ):
        """Without numbers of use, on the device `meta`: load a state dict of bytes next.

        `stored` is what the bytes are, `scale` as a `Packed` has it.
        """
        super().__init__(columns, rows, bias, device="meta")
        width = columns * stored.itemsize
        empty = torch.empty(rows, width, dtype=torch.uint8, device="meta")
        self.weight = nn.Parameter(empty, requires_grad=False)
        self.stored, self.in_ram = stored, False
        self.register_buffer("scale", scale, persistent=False)

    def reset_parameters(self) -> None:
        """Draws nothing: the bytes are loaded."""

    @classmethod
    def like(cls, layer: nn.Linear, packed: Packed) -> "FrozenLinear":
        """A layer of the same sizes for a packed matrix, whose bytes are to be loaded."""
        stored, has_bias = packed.numbers.dtype, layer.bias is not None
        return cls(layer.out_features, layer.in_features, has_bias, stored, packed.scale)

    @classmethod
    def of(cls, layer: nn.Linear) -> "FrozenLinear":
        """A frozen layer with the numbers of `layer` itself, not copies."""
        return cls._holding(layer, Packed(layer.weight.detach(), None))

    @classmethod
    def packing(cls, layer: nn.Linear) -> "FrozenLinear":
        """A frozen layer with the matrix of `layer` in scaled float8."""
        return cls._holding(layer, pack(layer.weight.detach()))

    @classmethod
    def _holding(cls, layer: nn.Linear, packed: Packed) -> "FrozenLinear":
        made = cls.like(layer, packed)
        tensors = {"weight": packed.numbers.view(torch.uint8)}
        if layer.bias is not None:
            tensors["bias"] = layer.bias.detach()
        made.load_state_dict(tensors, assign=True)
        return made.requires_grad_(False)

    @property
    def matrix(self) -> Packed:
        """The matrix as it is stored, where it is now."""
        return Packed(self.weight.view(self.stored), self.scale)

    def forward(self, x: Tensor) -> Tensor:
        """`x` (…, columns) → (…, rows), in the type of `x`, or of the autocast around it."""
        dtype = _choose_dtype(x)
        bias = None if self.bias is None else self.bias.to(dtype)
        return _Product.apply(x.to(dtype), self.weight.view(self.stored), self.scale, bias)

    def _apply(self, fn: Any, recurse: bool = True) -> "FrozenLinear":
        """Move with the model, but for a matrix that lives in RAM; scales stay float32."""
        weight: Any = self.weight
        exact = self.scale
        if self.in_ram:
            self._parameters["weight"] = None
        super()._apply(fn, recurse)
        if self.in_ram:
            self._parameters["weight"] = weight
        if exact is not None and self.scale is not None:
            self.scale = exact.to(self.scale.device)
        return self

    def extra_repr(self) -> str:
        """As of a Linear, with what the matrix is stored as."""
        return f"{super().extra_repr()}, {self.stored}"


class _Product(torch.autograd.Function):
    """x · Wᵀ + b for a packed W that gets no gradient."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, numbers: Tensor, scale: Tensor | None, bias: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(numbers, scale)
        return functional.linear(x, unpack(numbers, scale, x.dtype), bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, None, None]:
        (gradient,) = gradients
        numbers, scale = ctx.saved_tensors
        wanted = ctx.needs_input_grad[0]
        return (
            gradient @ unpack(numbers, scale, gradient.dtype) if wanted else None,
            None,
            None,
            None,
        )


def _choose_dtype(x: Tensor) -> torch.dtype:
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
