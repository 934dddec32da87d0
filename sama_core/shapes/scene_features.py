"""Exact features of the toy world: where each point of a picture lies on what is seen there.

A cell's feature is the same wherever its point of an object moves, and unlike those of all other
points: the relations that a perfect tracker would see. Made from random Fourier features, whose
products are nearly exp(−d² / 2ℓ²) of the distance d between two points of one surface, and 0
between surfaces.

Shape legend: B scenes · F frames · h, w cells · N object slots (2) · K frequencies.
"""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from .world.render import coverage, into_object, pixel_grid
from .world.scene import Scenes, angles, centres, sizes

FREQUENCIES = 48
"""K of each surface. Products are off by about 1/√K."""
SURFACES = 3
"""Background and two object slots."""
WIDTH = SURFACES * 2 * FREQUENCIES
"""Channels of a feature."""
REACH = 0.6
"""ℓ in cells: at the next cell a product has fallen to a quarter."""
_SEED = 20_251_212


def scene_features(
    scenes: Scenes, frames: int, height: int, width: int, cell: int
) -> tuple[Tensor, Tensor]:
    """Features (B, F, h, w, WIDTH) of length about 1, and saliency (B, F, h, w): the objects'
    share.

    Frames of `height` × `width` pixels in cells of `cell` pixels, which must divide both.
    """
    shares = _share_of_surfaces(scenes, frames, height, width, cell)
    points = _points_on_surfaces(scenes, frames, height, width, cell)
    turns = points @ _frequencies(points, height, width, cell)
    waves = torch.cat([turns.cos(), turns.sin()], dim=-1) / FREQUENCIES**0.5
    features = shares[..., None].sqrt() * waves
    return features.movedim(1, 4).flatten(4), shares[:, 1:].sum(1)


def _share_of_surfaces(scenes: Scenes, frames: int, height: int, width: int, cell: int) -> Tensor:
    """(B, 1 + N, F, h, w): how much of each cell shows the background and each object."""
    covers = coverage(scenes, frames, height, width)
    covers[:, 0] *= 1 - covers[:, 1]  # the second object lies on top
    seen = torch.cat([1 - covers.sum(1, keepdim=True), covers], dim=1).clamp(0, 1)
    pooled = avg_pool2d(seen.flatten(0, 2)[:, None], cell)
    return pooled.view(*seen.shape[:3], *pooled.shape[-2:])


def _points_on_surfaces(scenes: Scenes, frames: int, height: int, width: int, cell: int) -> Tensor:
    """(B, 1 + N, F, h, w, 2): each cell's middle in coordinates of every surface, unit = shorter
    side.

    An object's coordinates move and turn with it; they keep its first size, so that a pulse is seen
    as the motion it is.
    """
    x, y = pixel_grid(height // cell, width // cell, scenes.style.device)
    ground = torch.stack(torch.broadcast_tensors(x, y), dim=-1)
    place = centres(scenes, frames, height, width).flatten(0, 1)
    scale = sizes(scenes, frames).flatten(0, 1)
    local = torch.stack(into_object(x, y, place, angles(scenes, frames).flatten(0, 1), scale), -1)
    local = local * scenes.radius.flatten()[:, None, None, None, None]
    local = local.unflatten(0, scenes.shape.shape)
    ground = ground.expand(len(scenes), 1, frames, *ground.shape)
    return torch.cat([ground, local], dim=1)


def _frequencies(points: Tensor, height: int, width: int, cell: int) -> Tensor:
    """(1 + N, 1, 1, 2, K): drawn with a fixed seed, and scaled so that the features reach as far as
    `REACH` cells."""
    draw = torch.Generator().manual_seed(_SEED)
    waves = torch.randn(SURFACES, 2, FREQUENCIES, generator=draw)
    reach = REACH * cell / min(height, width)
    return (waves / reach).to(points)[:, None, None]
