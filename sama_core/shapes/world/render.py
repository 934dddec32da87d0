"""From scenes to frames: soft-edged shapes over a background, in a style; on any device.

Shape legend: B scenes, N object slots, F frames, H x W pixels. Frames are composited channel first,
(B, 3, F, H, W).
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from .scene import (
    COLOURS,
    GROUND_COLOURS,
    GROUNDS,
    SHAPES,
    STYLES,
    Scenes,
    angles,
    centres,
    palette,
    sizes,
)

EDGE = 2.0
"""Width of an object's edge in pixels: wide enough to need no supersampling."""
TONE = 0.22
"""How far a pattern moves its background colour towards white or black, for its second tone."""
CPU_CLIPS = 4
"""Clips composited at once on a CPU, so that the working set stays in the cache."""
LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601 luma weights."""
PAPER, PENCIL = 0.96, 0.85
"""Brightness of a sketch's paper, and how much darker its lines are at most."""


@torch.no_grad()
def render(scenes: Scenes, frames: int = 17, height: int = 64, width: int = 64) -> Tensor:
    """Frames (B, F, H, W, 3), float32 in 0..1, on the scenes' device.

    The result is a view of channel-first memory: `movedim(-1, 1)` gives a contiguous
    (B, 3, F, H, W).
    """
    step = len(scenes) if scenes.style.device.type != "cpu" else CPU_CLIPS
    clips = torch.empty(len(scenes), 3, frames, height, width, device=scenes.style.device)
    for start in range(0, len(scenes), max(step, 1)):
        part = scenes[slice(start, start + step)]
        drawn = _draw_objects(part, _draw_ground(part, height, width), frames)
        clips[start : start + step] = _apply_style(drawn, part)
    return clips.movedim(1, -1)


def _draw_ground(scenes: Scenes, height: int, width: int) -> Tensor:
    """(B, 3, H, W) backgrounds, which do not move."""
    device = scenes.style.device
    base = palette(GROUND_COLOURS).to(device)[scenes.ground_colour] + scenes.ground_tint
    # Bright colours become darker and dark ones brighter: both tones keep the colour's name.
    away = torch.where(base.mean(-1, keepdim=True) > 0.5, -TONE, TONE)
    tones = _tones(scenes, height, width)
    return (base[..., None, None] + away[..., None, None] * tones[:, None]).clamp(0, 1)


def _tones(scenes: Scenes, height: int, width: int) -> Tensor:
    """(B, H, W) in 0..1: where the background has its second tone."""
    x, y = pixel_grid(height, width, scenes.style.device)
    cos, sin = scenes.ground_angle.cos()[:, None, None], scenes.ground_angle.sin()[:, None, None]
    along, across = cos * x + sin * y, cos * y - sin * x
    period, phase = scenes.ground_period[:, None, None], scenes.ground_phase[..., None, None]
    u, v = (
        2 * math.pi * (way / period + phase[:, axis]) for axis, way in enumerate((along, across))
    )
    kinds = {
        "plain": torch.zeros_like(along),
        "gradient": _ramp(along),
        "stripes": _soft_step(u.sin()),
        "checks": _soft_step(u.sin() * v.sin()),
        "dots": _soft_step(u.cos() + v.cos() - 0.6),
    }
    return torch.stack([kinds[name] for name in GROUNDS])[
        scenes.ground, torch.arange(len(scenes), device=x.device)
    ]


def _ramp(along: Tensor) -> Tensor:
    """0..1 from one end of the frame to the other."""
    low, high = along.amin((1, 2), keepdim=True), along.amax((1, 2), keepdim=True)
    return (along - low) / (high - low)


def _soft_step(wave: Tensor) -> Tensor:
    """0..1, soft over a few pixels of a wave around 0."""
    return torch.sigmoid(3 * wave)


def _draw_objects(scenes: Scenes, ground: Tensor, frames: int) -> Tensor:
    """(B, 3, F, H, W): the objects over the background; the later slot lies on top."""
    height, width = ground.shape[-2:]
    colours = (palette(COLOURS).to(ground.device)[scenes.colour] + scenes.tint).clamp(0, 1)
    covers = coverage(scenes, frames, height, width)
    clips = ground[:, :, None].expand(-1, -1, frames, -1, -1)
    for slot, cover in enumerate(covers.unbind(1)):
        clips = torch.lerp(clips, colours[:, slot, :, None, None, None], cover[:, None])
    return clips


def coverage(scenes: Scenes, frames: int, height: int, width: int) -> Tensor:
    """(B, N, F, H, W) how much of each pixel each object covers."""
    x, y = pixel_grid(height, width, scenes.style.device)
    scale = sizes(scenes, frames)
    place, turn = centres(scenes, frames, height, width), angles(scenes, frames)
    edge = EDGE / min(height, width)
    covers = torch.zeros(*scenes.shape.shape, frames, height, width, device=scenes.style.device)
    for number, name in enumerate(SHAPES):
        rows, slots = (scenes.shape == number).nonzero(as_tuple=True)
        if len(rows):
            local_x, local_y = into_object(
                x, y, place[rows, slots], turn[rows, slots], scale[rows, slots]
            )
            softness = (edge / scale[rows, slots])[..., None, None]
            inside = (0.5 - DISTANCES[name](local_x, local_y) / softness).clamp_(0, 1)
            covers[rows, slots] = inside * inside * (3 - 2 * inside)
    return covers


def into_object(
    x: Tensor, y: Tensor, place: Tensor, turn: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """Pixel x (1, W) and y (H, 1) in the coordinates of M objects.

    place (M, F, 2), turn and scale (M, F) → local x and y (M, F, H, W) in units of the radius.
    """
    cos, sin = (turn.cos() / scale)[..., None, None], (turn.sin() / scale)[..., None, None]
    from_x, from_y = x - place[..., 0, None, None], y - place[..., 1, None, None]
    return cos * from_x + sin * from_y, cos * from_y - sin * from_x


def pixel_grid(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """x (1, W) and y (H, 1) of the pixel centres in parts of the shorter side."""
    short = min(height, width)
    x = (torch.arange(width, device=device) + 0.5) / short
    y = (torch.arange(height, device=device) + 0.5) / short
    return x[None], y[:, None]


def circle(x: Tensor, y: Tensor) -> Tensor:
    """Radius 1."""
    return torch.hypot(x, y) - 1.0


def ring(x: Tensor, y: Tensor) -> Tensor:
    """Between radius 0.5 and 1.1."""
    return (torch.hypot(x, y) - 0.8).abs() - 0.3


def square(x: Tensor, y: Tensor) -> Tensor:
    """Sides at 0.92, corners at 1.3."""
    return torch.maximum(x.abs(), y.abs()) - 0.92


def cross(x: Tensor, y: Tensor) -> Tensor:
    """Two bars 2.3 long and 0.8 wide."""
    x, y = x.abs(), y.abs()
    long, wide = 1.15, 0.40
    return torch.maximum(torch.maximum(x, y) - long, torch.minimum(x, y) - wide)


def triangle(x: Tensor, y: Tensor) -> Tensor:
    """Equilateral, tip up, corners at 1.3."""
    return torch.maximum(x.abs() * math.sin(math.pi / 3) - y * 0.5, y) - 0.65


def star(x: Tensor, y: Tensor) -> Tensor:
    """Five points at 1.3, tip up, inner corners at 0.62.

    The plane is folded into half a point, where the edge is one line.
    """
    x, y = x.abs(), -y
    mirror_x, mirror_y = math.cos(math.pi / 5), -math.sin(math.pi / 5)
    # Reflected twice at the line 36 degrees from the tip: every point lands on the first one.
    for _ in range(2):
        beyond = 2 * (x * mirror_x + y * mirror_y).clamp(min=0)
        x, y = (x - beyond * mirror_x).abs(), y - beyond * mirror_y
    tip, notch_x, notch_y = 1.3, 0.62 * math.sin(math.pi / 5), 0.62 * math.cos(math.pi / 5)
    return (x * (tip - notch_y) + (y - tip) * notch_x) / math.hypot(notch_x, tip - notch_y)


DISTANCES = {
    "circle": circle,
    "square": square,
    "triangle": triangle,
    "star": star,
    "cross": cross,
    "ring": ring,
}
"""Signed distance of each shape at local x and y (y down, of equal shape), in units of the nominal
radius; negative inside. The shapes cover similar areas. Only distances near the edge are exact;
corners may be mitred."""


def _apply_style(clips: Tensor, scenes: Scenes) -> Tensor:
    """(B, 3, F, H, W) → the same shape, each clip in the style of its scene."""
    if not scenes.style.any():
        return clips
    clips = clips.clone()
    for number, name in enumerate(STYLES):
        rows = scenes.style == number
        if number and rows.any():
            clips[rows] = LOOKS[name](clips[rows])
    return clips


def normal(frames: Tensor) -> Tensor:
    """Unchanged."""
    return frames


def greyscale(frames: Tensor) -> Tensor:
    """Luma in all channels."""
    return luma(frames).expand_as(frames)


def sepia(frames: Tensor) -> Tensor:
    """An old photograph: luma from dark brown to cream."""
    dark, light = (
        torch.tensor(colour, device=frames.device, dtype=frames.dtype).view(3, 1, 1, 1)
        for colour in ((0.20, 0.09, 0.02), (1.00, 0.88, 0.64))
    )
    return dark + (light - dark) * luma(frames)


def negative(frames: Tensor) -> Tensor:
    """Inverted."""
    return 1 - frames


def sketch(frames: Tensor) -> Tensor:
    """Soft pencil lines on paper where any channel changes."""
    batch, channels, count, height, width = frames.shape
    planes = functional.pad(
        frames.transpose(1, 2).reshape(-1, channels, height, width), (2, 2, 2, 2), "replicate"
    )
    soft = functional.avg_pool2d(planes, 3, 1)
    across = soft[..., 1:-1, 2:] - soft[..., 1:-1, :-2]
    down = soft[..., 2:, 1:-1] - soft[..., :-2, 1:-1]
    edge = (across.square() + down.square()).sum(1, keepdim=True).sqrt()
    drawn = PAPER - PENCIL * (1.6 * edge).clamp(max=1)
    return drawn.view(batch, count, 1, height, width).transpose(1, 2).expand_as(frames)


def luma(frames: Tensor) -> Tensor:
    """(B, 1, F, H, W) brightness."""
    weights = torch.tensor(LUMA, device=frames.device, dtype=frames.dtype).view(3, 1, 1, 1)
    return (frames * weights).sum(1, keepdim=True)


LOOKS = {
    "normal": normal,
    "greyscale": greyscale,
    "sepia": sepia,
    "negative": negative,
    "sketch": sketch,
}
"""The look of each of STYLES: pure functions on frames (B, 3, F, H, W) in 0..1."""
