"""One matrix in float8 (e4m3fn) with one scale: w ≈ scale · q, scale = max|w| / 448.

The same numbers as ComfyUI's own `TensorCoreFP8E4M3Layout.quantize(w.float(), scale="recalculate")`.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

FLOAT8 = torch.float8_e4m3fn
LARGEST = torch.finfo(FLOAT8).max
"""448"""


def fp8_scale(chunks: Iterable[Tensor]) -> Tensor:
    """Scalar float32 scale of a matrix given in chunks; 1 for a matrix of zeros."""
    largest = torch.stack([chunk.abs().amax().float() for chunk in chunks]).amax()
    return largest / LARGEST if largest > 0 else torch.ones(())


def to_fp8(chunk: Tensor, scale: Tensor) -> Tensor:
    """A chunk of the matrix, of any float type, as float8 of the same shape; computed in float32."""
    return (chunk.float() * (1.0 / scale)).clamp_(-LARGEST, LARGEST).to(FLOAT8)
