"""A semantic teacher without weights, for the embedded model: standardised colour and shape
statistics.

A cell is seen through 4 planes (brightness, red against green, blue against yellow, and how little
it looks like the background) on 4 x 4 points. A cosine transform of each plane turns them into 64
nearly uncorrelated numbers, coarse ones first: number 0 to 3 are the cell's mean in each plane, the
next ones its slopes, and so on. Most cells of a picture are flat and few hold an edge, so
everything but the means is compressed: asinh(x / 0.02), linear below.

The scales come from pictures made for it: soft discs and boxes over plain, gradient and striped
grounds. They resemble the embedded model's domain but do not come from it, so a change there does
not change the encoder.

Deviation: not SAMA's. A replacement for SigLIP that needs no weights.
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional

from ...errors import SamaError, needed
from .encoder import GRID, SemanticEncoder

POINTS = 4
"""Points per side of a cell."""

PLANES = 4
"""Planes that a cell is seen through."""

STATISTICS = PLANES * POINTS**2
"""Statistics of a cell."""

WIDTH = 48
"""Statistics that the embedded model's tokens hold."""

COUNT, SIDE, SEED = 256, 64, 20260319
"""Calibration pictures: how many, their side in pixels, and the seed they are drawn from."""

_KNEE = 0.02
_OPPONENT = ((1 / 3, 1 / 3, 1 / 3), (0.5, -0.5, 0.0), (-0.25, -0.25, 0.5))
_BACKGROUND_REACH = 0.25
"""Distance in RGB at which a pixel is 39 % foreground."""

_EDGE = 0.02
"""Softness of edges, in frame widths."""

_SMALLEST_SCALE = 1e-4


def cell_statistics(frame: Tensor, cells: int) -> Tensor:
    """Frames (B, H, W, 3) in 0..1 → (B, cells², 64), cells row by row, statistics from coarse to
    fine.

    Frames of fewer than 4 points per cell repeat pixels, larger ones average them.
    """
    points = functional.adaptive_avg_pool2d(_planes(frame), cells * POINTS)
    patches = points.unflatten(3, (cells, POINTS)).unflatten(
        2, (cells, POINTS)
    )  # (B, plane, row, y, column, x)
    cosines = _cosines(frame)
    spectrum = torch.einsum("bpryqx,uy,vx->brquvp", patches, cosines, cosines)
    order = sorted(range(POINTS**2), key=lambda k: (sum(divmod(k, POINTS)), k))
    means, details = (
        spectrum.flatten(3, 4)[:, :, :, order]
        .flatten(3)
        .flatten(1, 2)
        .tensor_split([PLANES], dim=-1)
    )
    return torch.cat([means, (details / _KNEE).asinh()], dim=-1)


def _planes(frame: Tensor) -> Tensor:
    """(B, H, W, 3) → (B, 4, H, W): three opponent colours, and foreground from 0 to 1."""
    colours = frame @ frame.new_tensor(_OPPONENT).T
    foreground = 1 - torch.exp(
        -0.5 * ((frame - _background(frame)) / _BACKGROUND_REACH).square().sum(-1, keepdim=True)
    )
    return torch.cat([colours, foreground], dim=-1).movedim(-1, 1)


def _background(frame: Tensor) -> Tensor:
    """(B, 1, 1, 3) background colour: the border's median, which an object there does not move."""
    border = torch.cat([frame[:, 0], frame[:, -1], frame[:, :, 0], frame[:, :, -1]], dim=1)
    return border.median(dim=1).values[:, None, None]


def _cosines(like: Tensor) -> Tensor:
    """(frequency, point) cosine transform that keeps means: row 0 averages."""
    point = torch.arange(POINTS, device=like.device, dtype=like.dtype)
    waves = torch.cos(math.pi / POINTS * torch.outer(point, point + 0.5)) / POINTS
    return torch.cat([waves[:1], waves[1:] * math.sqrt(2)])


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
    angle, waves, kind = (
        draw.between(0, 2 * torch.pi),
        draw.between(2, 6),
        draw.between(0, 3).floor(),
    )
    way = (x - 0.5) * angle.cos() + (y - 0.5) * angle.sin()
    stripes = torch.sigmoid(6 * (2 * torch.pi * waves * way).sin())
    blend = torch.where(
        kind == 0, torch.zeros_like(way), torch.where(kind == 1, (way + 0.7) / 1.4, stripes)
    )
    first, second = draw.colour(), draw.colour()
    return torch.lerp(first, torch.lerp(first, second, 0.4), blend[..., None])


def _shape(draw: _Draw, x: Tensor, y: Tensor) -> Tensor:
    """(count, H, W) coverage of one disc or turned box each, radius 0.1 to 0.25 of the frame."""
    dx, dy, turn = x - draw.between(0.2, 0.8), y - draw.between(0.2, 0.8), draw.between(0, torch.pi)
    dx, dy = turn.cos() * dx + turn.sin() * dy, turn.cos() * dy - turn.sin() * dx
    disc, box = (dx.square() + dy.square()).sqrt(), torch.maximum(dx.abs(), dy.abs())
    distance = torch.where(draw.between(0, 1) < 0.5, disc, box)
    return torch.sigmoid((draw.between(0.1, 0.25) - distance) / (_EDGE / 2))


class PixelEncoder(SemanticEncoder):
    """Local tokens: statistics of the 8 x 8 cells. Global token: the same of the whole frame as one
    cell.

    Deterministic: no learnt weights and no random features. Each channel is shifted and scaled to
    mean 0 and variance 1 over `calibration_frames`, apart for local and global tokens; on other
    pictures roughly so.
    """

    def __init__(self, width: int = WIDTH, frames: Tensor | None = None):
        """`width` E: the coarsest 1 to 64 statistics; multiples of 4 treat all planes alike.
        `frames` (n, H, W, 3) in 0..1 calibrates on other pictures, at least 2. Raises SamaError for
        another width.
        """
        super().__init__()
        if not 1 <= width <= STATISTICS:
            raise SamaError(
                needed(
                    "width of the pixel encoder",
                    width,
                    f"1 to {STATISTICS}",
                    f"Use {WIDTH}, or SigLIP for wider tokens.",
                )
            )
        self.width = width
        self.local_mean: Tensor
        self.local_scale: Tensor
        self.global_mean: Tensor
        self.global_scale: Tensor
        frames = calibration_frames() if frames is None else frames.float()
        for name, raw in zip(("local", "global"), self._statistics(frames), strict=True):
            seen = raw.flatten(0, -2)
            self.register_buffer(f"{name}_mean", seen.mean(0))
            self.register_buffer(f"{name}_scale", seen.std(0).clamp_min(_SMALLEST_SCALE))

    def tokens(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, H, W, 3) in 0..1, on the encoder's device → (B, 64, E), (B, E)."""
        local, whole = self._statistics(frame)
        local = (local - self.local_mean) / self.local_scale
        return local, (whole - self.global_mean) / self.global_scale

    def _statistics(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Of the 8 x 8 cells (B, 64, E), and of the whole frame (B, E)."""
        local, whole = cell_statistics(frame, GRID), cell_statistics(frame, 1)[:, 0]
        return local[..., : self.width], whole[..., : self.width]
