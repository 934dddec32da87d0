"""Drawings that the world does not contain, carried by its objects: random ones for training.

    draw(generator, count) ──▶ drawings (B, 4, S, S) ──render_drawn──▶ frames (B, F, H, W, 3)

A drawing is a picture with alpha over an object's own square: x and y from -REACH to REACH radii,
y down. It moves, turns and pulses as the object does. Shape legend: B drawings, S side of a
drawing, F frames, H x W pixels.
"""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional

from .render import _apply_style, _draw_ground, coverage, into_object, palette, pixel_grid
from .scene import COLOURS, REACH, Scenes, angles, centres, sizes

SIDE = 48
"""Pixels of a drawing's side: about 1.5 for each pixel of a clip of 64x64."""
SOFT = 0.07
"""Width of a drawing's edge in radii, one pixel of a clip."""


def render_drawn(
    scenes: Scenes, slot: Tensor, drawings: Tensor, frames: int, height: int, width: int
) -> Tensor:
    """Frames (B, F, H, W, 3) in 0..1 with the object in `slot` (B,) replaced by its drawing."""
    ground = _draw_ground(scenes, height, width)
    colours = (palette(COLOURS)[scenes.colour] + scenes.tint).clamp(0, 1)
    covers = coverage(scenes, frames, height, width)
    painted = place_drawings(scenes, slot, drawings, frames, height, width)
    clips = ground[:, :, None].expand(-1, -1, frames, -1, -1)
    for number, cover in enumerate(covers.unbind(1)):
        plain = torch.lerp(clips, colours[:, number, :, None, None, None], cover[:, None])
        drawn = torch.lerp(clips, painted[:, :3], painted[:, 3:])
        clips = torch.where((slot == number).view(-1, 1, 1, 1, 1), drawn, plain)
    return _apply_style(clips, scenes).movedim(1, -1)


def place_drawings(
    scenes: Scenes, slot: Tensor, drawings: Tensor, frames: int, height: int, width: int
) -> Tensor:
    """(B, 4, F, H, W): each drawing where the object in `slot` (B,) is; alpha 0 elsewhere."""
    x, y = pixel_grid(height, width, drawings.device)
    rows = torch.arange(len(scenes))
    local = into_object(
        x,
        y,
        centres(scenes, frames, height, width)[rows, slot],
        angles(scenes, frames)[rows, slot],
        sizes(scenes, frames)[rows, slot],
    )
    grid = torch.stack(local, -1).flatten(1, 2) / REACH
    painted = functional.grid_sample(drawings, grid, align_corners=False, padding_mode="zeros")
    seen = painted[:, 3:].clamp_min(1e-6)
    colour = (painted[:, :3] / seen).clamp(0, 1)  # of what is inside, as alpha is premultiplied
    return torch.cat([colour, painted[:, 3:]], 1).unflatten(2, (frames, height))


def plane(side: int = SIDE) -> tuple[Tensor, Tensor]:
    """x and y (S, S) of a drawing's pixel centres, in radii."""
    line = ((torch.arange(side) + 0.5) / side * 2 - 1) * REACH
    return line[None].expand(side, side), line[:, None].expand(side, side)


def picture(distance: Tensor, colour: Tensor) -> Tensor:
    """(4, S, S) with premultiplied alpha: `colour` (3, S, S) or (3, 1, 1) inside a shape of this
    signed `distance` (S, S)."""
    alpha = (0.5 - distance / SOFT).clamp(0, 1)[None]
    return torch.cat([colour.expand(3, *distance.shape) * alpha, alpha])


def over(top: Tensor, below: Tensor) -> Tensor:
    """A drawing on another, both (4, S, S)."""
    return top + below * (1 - top[3:])


# --- random drawings ----------------------------------------------------------------------------
def draw(generator: Generator, count: int) -> Tensor:
    """(count, 4, SIDE, SIDE) random drawings: polygons, blobs, strokes and patches, in plain
    colours, patterns and textures."""
    return torch.stack([_draw_one(generator) for _ in range(count)])


def _draw_one(generator: Generator) -> Tensor:
    x, y = plane()
    distance = _pick(generator, SHAPES_AT)(generator, x, y)
    if _chance(generator, 0.25):  # a hole, or a part more
        other = _pick(generator, SHAPES_AT)(generator, 1.6 * x, 1.6 * y) / 1.6
        joined = torch.minimum(distance, other)
        distance = joined if _chance(generator, 0.5) else torch.maximum(distance, -other)
    found = picture(distance, _pick(generator, FILLS)(generator, x, y))
    if _chance(generator, 0.2):
        edge = (distance + 0.12).abs() - 0.12
        found = over(picture(edge, _colour(generator)), found)
    if _chance(generator, 0.3):  # a mark on it
        inner = _pick(generator, SHAPES_AT)(generator, 2.2 * x, 2.2 * y) / 2.2
        mark = picture(torch.maximum(inner, distance), _colour(generator))
        found = over(mark, found)
    return found


def polygon(corners: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Signed distance (S, S) of a closed polygon with `corners` (N, 2); negative inside."""
    ends = corners.roll(-1, 0)
    inside = torch.zeros_like(x, dtype=torch.bool)
    for (ax, ay), (bx, by) in zip(corners.tolist(), ends.tolist(), strict=True):
        crosses = (ay > y) != (by > y)
        inside ^= crosses & (x < ax + (y - ay) * (bx - ax) / (by - ay or 1e-9))
    distance = strokes(torch.stack([corners, ends], 1), x, y)
    return torch.where(inside, -distance, distance)


def strokes(segments: Tensor, x: Tensor, y: Tensor, width: float = 0.0) -> Tensor:
    """Distance (S, S) from lines `segments` (N, 2 ends, 2), less half a `width`."""
    start, along = segments[:, 0, :, None, None], (segments[:, 1] - segments[:, 0])[..., None, None]
    from_x, from_y = x - start[:, 0], y - start[:, 1]
    length = along.square().sum(1).clamp_min(1e-9)
    part = ((from_x * along[:, 0] + from_y * along[:, 1]) / length).clamp(0, 1)
    away = torch.hypot(from_x - part * along[:, 0], from_y - part * along[:, 1])
    return away.amin(0) - width / 2


def _random_polygon(generator: Generator, x: Tensor, y: Tensor) -> Tensor:
    count = int(torch.randint(3, 10, (1,), generator=generator))
    gaps = 0.35 + torch.rand(count, generator=generator)
    turns = 2 * math.pi * (gaps.cumsum(0) / gaps.sum() + torch.rand(1, generator=generator))
    radii = 0.45 + 0.8 * torch.rand(count, generator=generator)
    return polygon(torch.stack([radii * turns.cos(), radii * turns.sin()], 1), x, y)


def _blob(generator: Generator, x: Tensor, y: Tensor) -> Tensor:
    turn, reach = torch.atan2(y, x), torch.full_like(x, 0.85)
    for waves in range(1, 7):
        size, phase = torch.rand(2, generator=generator).tolist()
        reach = reach + 0.45 * size / waves * (waves * turn + 2 * math.pi * phase).cos()
    return torch.hypot(x, y) - reach.clamp(0.3, 1.2)


def _scribble(generator: Generator, x: Tensor, y: Tensor) -> Tensor:
    """Straight strokes, joined or apart, as in letters and signs."""
    count = int(torch.randint(2, 6, (1,), generator=generator))
    points = (2 * torch.rand(count + 1, 2, generator=generator) - 1) * 1.0
    ends = torch.stack([points[:-1], points[1:]], 1)
    if _chance(generator, 0.5):
        ends = (2 * torch.rand(count, 2, 2, generator=generator) - 1) * 1.0
    return strokes(ends, x, y, 0.25 + 0.3 * float(torch.rand(1, generator=generator)))


def _patch(generator: Generator, x: Tensor, y: Tensor) -> Tensor:
    """A rounded box or an ellipse."""
    wide, high, turn = torch.rand(3, generator=generator).tolist()
    wide, high, turn = 0.7 + 0.45 * wide, 0.7 + 0.45 * high, (turn - 0.5) * 1.2
    u, v = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    if _chance(generator, 0.4):
        return (torch.hypot(u / wide, v / high) - 1) * min(wide, high)
    return torch.maximum(u.abs() - wide, v.abs() - high)


SHAPES_AT: tuple[Callable[[Generator, Tensor, Tensor], Tensor], ...] = (
    _random_polygon,
    _random_polygon,
    _blob,
    _scribble,
    _patch,
)


def _plain(generator: Generator, x: Tensor, y: Tensor) -> Tensor:
    return _colour(generator).expand(3, *x.shape)


def _pattern(generator: Generator, x: Tensor, y: Tensor) -> Tensor:
    """Two colours: halves, stripes, checks, rings or a gradient."""
    turn, phase, period = torch.rand(3, generator=generator).tolist()
    turn, period = 2 * math.pi * turn, 0.6 + 1.2 * period
    u, v = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    wave, across = (2 * math.pi * (way / period + phase) for way in (u, v))
    options = (
        u / 0.1,
        4 * wave.sin(),
        4 * wave.sin() * across.sin(),
        4 * (2 * math.pi * (torch.hypot(x, y) / period + phase)).sin(),
        1.5 * u,
    )
    mix = torch.sigmoid(_pick(generator, options))
    return torch.lerp(_colour(generator), _colour(generator), mix)


def _texture(generator: Generator, x: Tensor, y: Tensor) -> Tensor:
    """Smooth noise of several sizes around a colour, as patches of photos have."""
    base, found = _colour(generator), torch.zeros(3, *x.shape)
    for cells in (2, 4, 8):
        own = torch.randn(1, 3, cells, cells, generator=generator)
        grey = torch.randn(1, 1, cells, cells, generator=generator)
        noise = 0.5 * own + grey
        found = found + functional.interpolate(noise, x.shape, mode="bicubic")[0] / cells**0.7
    strength = 0.15 + 0.35 * float(torch.rand(1, generator=generator))
    return (base + strength * found).clamp(0, 1)


FILLS: tuple[Callable[[Generator, Tensor, Tensor], Tensor], ...] = (
    _plain,
    _plain,
    _pattern,
    _texture,
)


def _colour(generator: Generator) -> Tensor:
    """(3, 1, 1) any colour."""
    return torch.rand(3, 1, 1, generator=generator)


def _pick(generator: Generator, options):
    return options[int(torch.randint(len(options), (1,), generator=generator))]


def _chance(generator: Generator, share: float) -> bool:
    return float(torch.rand(1, generator=generator)) < share
