"""Pictures that set the pixel encoder's scales: soft discs and boxes over plain, gradient and striped grounds.

They resemble the embedded model's domain but do not come from it, so a change there does not change the encoder.
"""

import torch
from torch import Generator, Tensor

COUNT = 256
SIDE = 64
SEED = 20260319
_EDGE = 0.02
"""Softness of edges, in frame widths."""


def calibration_frames(count: int = COUNT, seed: int = SEED) -> Tensor:
    """(count, 64, 64, 3) float32 in 0..1, the same for the same seed."""
    generator = Generator().manual_seed(seed)
    draw = _Draw(count, generator)
    along = (torch.arange(SIDE) + 0.5) / SIDE
    y, x = torch.meshgrid(along, along, indexing="ij")
    frames = _ground(draw, x, y)
    for _ in range(2):
        frames = torch.lerp(frames, draw.colour(), _shape(draw, x, y)[..., None])
    return frames


class _Draw:
    """Uniform draws for `count` pictures, shaped to broadcast over rows and columns."""

    def __init__(self, count: int, generator: Generator):
        self.count, self.generator = count, generator

    def between(self, low: float, high: float) -> Tensor:
        """(count, 1, 1)"""
        return low + (high - low) * torch.rand(self.count, 1, 1, generator=self.generator)

    def colour(self) -> Tensor:
        """(count, 1, 1, 3)"""
        return torch.rand(self.count, 1, 1, 3, generator=self.generator)


def _ground(draw: _Draw, x: Tensor, y: Tensor) -> Tensor:
    """(count, H, W, 3): a third each plain, gradient and striped, between two near colours."""
    angle, waves, kind = draw.between(0, 2 * torch.pi), draw.between(2, 6), draw.between(0, 3).floor()
    way = (x - 0.5) * angle.cos() + (y - 0.5) * angle.sin()
    stripes = torch.sigmoid(6 * (2 * torch.pi * waves * way).sin())
    blend = torch.where(kind == 0, torch.zeros_like(way), torch.where(kind == 1, (way + 0.7) / 1.4, stripes))
    first, second = draw.colour(), draw.colour()
    return torch.lerp(first, torch.lerp(first, second, 0.4), blend[..., None])


def _shape(draw: _Draw, x: Tensor, y: Tensor) -> Tensor:
    """(count, H, W) coverage of one disc or turned box each, radius 0.1 to 0.25 of the frame."""
    dx, dy, turn = x - draw.between(0.2, 0.8), y - draw.between(0.2, 0.8), draw.between(0, torch.pi)
    dx, dy = turn.cos() * dx + turn.sin() * dy, turn.cos() * dy - turn.sin() * dx
    disc, box = (dx.square() + dy.square()).sqrt(), torch.maximum(dx.abs(), dy.abs())
    distance = torch.where(draw.between(0, 1) < 0.5, disc, box)
    return torch.sigmoid((draw.between(0.1, 0.25) - distance) / (_EDGE / 2))
