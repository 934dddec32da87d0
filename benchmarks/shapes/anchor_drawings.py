"""Ten drawings that neither the world of SAMA-Shapes nor the training of its anchors contains.

Each is (4, S, S) as `sama_core.shapes.world.drawings` makes them: signs, letters and a photo's
patch. The patch is 48x48 pixels of Stéfan van der Walt's photo of the cat Chelsea (CC0).
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sama_core.shapes.world.drawings import over, picture, plane, polygon, strokes

PATCH = Path(__file__).with_name("anchor_patch.png")


def held_out_drawings() -> dict[str, Tensor]:
    """The ten by name."""
    x, y = plane()
    return {name: make(x, y) for name, make in DRAWINGS.items()}


def heart(x: Tensor, y: Tensor) -> Tensor:
    """A crimson heart."""
    turns = torch.arange(48) / 48 * 2 * math.pi
    across = 16 * turns.sin() ** 3
    up = 13 * turns.cos() - 5 * (2 * turns).cos() - 2 * (3 * turns).cos() - (4 * turns).cos()
    corners = torch.stack([across, -up - 2.5], 1) / 15
    return picture(polygon(corners, x, y), _rgb(0.80, 0.05, 0.20))


def moon(x: Tensor, y: Tensor) -> Tensor:
    """A pale crescent."""
    disc, bite = torch.hypot(x, y) - 1.1, torch.hypot(x - 0.55, y + 0.15) - 0.9
    return picture(torch.maximum(disc, -bite), _rgb(0.95, 0.93, 0.70))


def arrow(x: Tensor, y: Tensor) -> Tensor:
    """A white arrow to the right, with a black edge."""
    corners = [(-1.1, -0.3), (0.1, -0.3), (0.1, -0.85), (1.15, 0), (0.1, 0.85), (0.1, 0.3)]
    distance = polygon(torch.tensor([*corners, (-1.1, 0.3)]), x, y)
    edge = picture(distance.abs() - 0.09, _rgb(0.05, 0.05, 0.05))
    return over(edge, picture(distance, _rgb(1, 1, 1)))


def bolt(x: Tensor, y: Tensor) -> Tensor:
    """An amber bolt of lightning."""
    corners = [(0.25, -1.2), (-0.7, 0.2), (-0.1, 0.2), (-0.35, 1.2), (0.7, -0.25), (0.05, -0.25)]
    return picture(polygon(torch.tensor(corners), x, y), _rgb(1.0, 0.75, 0.05))


def house(x: Tensor, y: Tensor) -> Tensor:
    """A cream wall with a door under a brick-red roof."""
    wall = picture(torch.maximum(x.abs() - 0.75, (y - 0.45).abs() - 0.6), _rgb(0.95, 0.88, 0.72))
    door = picture(torch.maximum(x.abs() - 0.2, (y - 0.7).abs() - 0.35), _rgb(0.25, 0.15, 0.1))
    corners = torch.tensor([(-1.15, -0.1), (0, -1.15), (1.15, -0.1)])
    return over(picture(polygon(corners, x, y), _rgb(0.65, 0.2, 0.12)), over(door, wall))


def smiley(x: Tensor, y: Tensor) -> Tensor:
    """A yellow face with black eyes and mouth."""
    face = picture(torch.hypot(x, y) - 1.1, _rgb(1.0, 0.85, 0.2))
    eyes = torch.hypot(x.abs() - 0.4, y + 0.3) - 0.17
    mouth = torch.maximum((torch.hypot(x, y - 0.05) - 0.65).abs() - 0.1, 0.25 - y)
    return over(picture(torch.minimum(eyes, mouth), _rgb(0.05, 0.05, 0.05)), face)


def letter_a(x: Tensor, y: Tensor) -> Tensor:
    """A black A."""
    lines = [[(-0.8, 1.0), (0, -1.0)], [(0, -1.0), (0.8, 1.0)], [(-0.45, 0.35), (0.45, 0.35)]]
    return picture(strokes(torch.tensor(lines), x, y, 0.38), _rgb(0.03, 0.03, 0.03))


def letter_s(x: Tensor, y: Tensor) -> Tensor:
    """A teal S of two bows."""
    upper = torch.where(
        (x > 0) & (y > -0.5), torch.full_like(x, 9.0), (torch.hypot(x, y + 0.5) - 0.5).abs()
    )
    lower = torch.where(
        (x < 0) & (y < 0.5), torch.full_like(x, 9.0), (torch.hypot(x, y - 0.5) - 0.5).abs()
    )
    return picture(torch.minimum(upper, lower) - 0.19, _rgb(0.0, 0.45, 0.45))


def fish(x: Tensor, y: Tensor) -> Tensor:
    """An orange and white fish with an eye."""
    body = torch.hypot((x - 0.15) / 0.95, y / 0.6) - 1
    tail = polygon(torch.tensor([(-0.5, 0.0), (-1.2, -0.65), (-1.2, 0.65)]), x, y)
    bands = torch.sigmoid(8 * (6 * x).sin())
    skin = torch.lerp(_rgb(0.98, 0.42, 0.08), _rgb(1, 1, 1), bands[None])
    eye = picture(torch.hypot(x - 0.7, y + 0.12) - 0.14, _rgb(0, 0, 0))
    return over(eye, picture(torch.minimum(0.6 * body, tail), skin))


def photo(x: Tensor, y: Tensor) -> Tensor:
    """A square patch of a photo: a cat's eye and nose."""
    pixels = np.asarray(Image.open(PATCH).convert("RGB")).copy()
    colour = torch.from_numpy(pixels).movedim(-1, 0).float() / 255
    return picture(torch.maximum(x.abs(), y.abs()) - 1.05, colour)


DRAWINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "heart": heart,
    "moon": moon,
    "arrow": arrow,
    "bolt": bolt,
    "house": house,
    "smiley": smiley,
    "letter A": letter_a,
    "letter S": letter_s,
    "fish": fish,
    "photo": photo,
}


def _rgb(red: float, green: float, blue: float) -> Tensor:
    return torch.tensor([red, green, blue], dtype=torch.float32)[:, None, None]
