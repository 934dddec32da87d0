"""Signed distances of the six shapes: negative inside, in units of the nominal radius.

Every function takes local coordinates x, y (y down, any equal shape) already divided by the radius. Sizes are chosen
so that the shapes cover similar areas; only the distance near the edge has to be right, corners may be mitred.
"""

import math

import torch


def circle(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.hypot(x, y) - 1.0


def ring(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Between radius 0.5 and 1.1."""
    return (torch.hypot(x, y) - 0.8).abs() - 0.3


def square(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Sides at 0.92, corners at 1.3."""
    return torch.maximum(x.abs(), y.abs()) - 0.92


def cross(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Two bars 2.3 long and 0.8 wide."""
    x, y = x.abs(), y.abs()
    long, wide = 1.15, 0.40
    return torch.maximum(torch.maximum(x, y) - long, torch.minimum(x, y) - wide)


def triangle(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Equilateral, tip up, corners at 1.3."""
    return torch.maximum(x.abs() * math.sin(math.pi / 3) - y * 0.5, y) - 0.65


def star(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Five points at 1.3, tip up, inner corners at 0.62; folded into half a point, where the edge is one line."""
    x, y = x.abs(), -y
    mirror_x, mirror_y = math.cos(math.pi / 5), -math.sin(math.pi / 5)
    for _ in range(2):  # the line 36 degrees from the tip, twice: every point of the star lands on the first
        beyond = 2 * (x * mirror_x + y * mirror_y).clamp(min=0)
        x, y = (x - beyond * mirror_x).abs(), y - beyond * mirror_y
    tip, notch_x, notch_y = 1.3, 0.62 * math.sin(math.pi / 5), 0.62 * math.cos(math.pi / 5)
    return (x * (tip - notch_y) + (y - tip) * notch_x) / math.hypot(notch_x, tip - notch_y)


DISTANCES = {"circle": circle, "square": square, "triangle": triangle, "star": star, "cross": cross, "ring": ring}
