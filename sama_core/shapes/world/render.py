"""Signed distances of the six shapes: negative inside, in units of the nominal radius.

Every function takes local coordinates x, y (y down, any equal shape) already divided by the radius. Sizes are chosen
so that the shapes cover similar areas; only the distance near the edge has to be right, corners may be mitred.

Global looks of a clip: pure functions on frames (B, 3, F, H, W) in 0..1, in the order of scene.STYLES.

Scenes to frames: signed distances with soft edges, vectorised over the batch, on any device.

Shape legend: B scenes, N object slots, F frames, H x W pixels. Compositing works channel first (B, 3, F, H, W).
"""

import math

import torch
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
    for _ in range(
        2
    ):  # the line 36 degrees from the tip, twice: every point of the star lands on the first
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


# ITU-R BT.601 luma weights.
LUMA = (0.299, 0.587, 0.114)


PAPER, PENCIL = 0.96, 0.85


def normal(frames: torch.Tensor) -> torch.Tensor:
    return frames


def greyscale(frames: torch.Tensor) -> torch.Tensor:
    return luma(frames).expand_as(frames)


def sepia(frames: torch.Tensor) -> torch.Tensor:
    """An old photograph: luma from dark brown to cream."""
    dark, light = (
        torch.tensor(colour, device=frames.device, dtype=frames.dtype).view(3, 1, 1, 1)
        for colour in ((0.20, 0.09, 0.02), (1.00, 0.88, 0.64))
    )
    return dark + (light - dark) * luma(frames)


def negative(frames: torch.Tensor) -> torch.Tensor:
    return 1 - frames


def sketch(frames: torch.Tensor) -> torch.Tensor:
    """Soft pencil lines on paper where the picture changes, in any channel."""
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


def luma(frames: torch.Tensor) -> torch.Tensor:
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


# Width of an object's edge in pixels: wide enough to need no supersampling.
EDGE = 2.0


# A pattern moves its background colour this far towards white or black, in two tones of one named colour.
TONE = 0.22


# Clips composited at once on a CPU: the working set stays in the cache.
CPU_CLIPS = 4


@torch.no_grad()
def render(scenes: Scenes, frames: int = 17, height: int = 64, width: int = 64) -> torch.Tensor:
    """Frames (B, F, H, W, 3), float32 in 0..1, on the scenes' device.

    The result is a view of channel-first memory, so that `movedim(-1, 1)` gives a contiguous (B, 3, F, H, W).
    """
    step = len(scenes) if scenes.style.device.type != "cpu" else CPU_CLIPS
    clips = torch.empty(len(scenes), 3, frames, height, width, device=scenes.style.device)
    for start in range(0, len(scenes), max(step, 1)):
        part = scenes[slice(start, start + step)]
        clips[start : start + step] = _stylise(
            _draw_objects(part, _draw_ground(part, height, width), frames), part
        )
    return clips.movedim(1, -1)


def _draw_ground(scenes: Scenes, height: int, width: int) -> torch.Tensor:
    """(B, 3, H, W) backgrounds, which stand still."""
    device = scenes.style.device
    base = palette(GROUND_COLOURS).to(device)[scenes.ground_colour] + scenes.ground_tint
    # Bright colours get darker and dark ones brighter: both tones stay visibly the named colour.
    away = torch.where(base.mean(-1, keepdim=True) > 0.5, -TONE, TONE)
    tones = _tones(scenes, height, width)
    return (base[..., None, None] + away[..., None, None] * tones[:, None]).clamp(0, 1)


def _tones(scenes: Scenes, height: int, width: int) -> torch.Tensor:
    """(B, H, W) in 0..1: where the background has its second tone."""
    x, y = _pixel_grid(height, width, scenes.style.device)
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


def _ramp(along: torch.Tensor) -> torch.Tensor:
    """0..1 from one end of the frame to the other."""
    low, high = along.amin((1, 2), keepdim=True), along.amax((1, 2), keepdim=True)
    return (along - low) / (high - low)


def _soft_step(wave: torch.Tensor) -> torch.Tensor:
    """0..1, soft over a few pixels of a wave around 0."""
    return torch.sigmoid(3 * wave)


def _draw_objects(scenes: Scenes, ground: torch.Tensor, frames: int) -> torch.Tensor:
    """(B, 3, F, H, W): the objects over the background; the later slot lies on top."""
    height, width = ground.shape[-2:]
    colours = (palette(COLOURS).to(ground.device)[scenes.colour] + scenes.tint).clamp(0, 1)
    covers = coverage(scenes, frames, height, width)
    clips = ground[:, :, None].expand(-1, -1, frames, -1, -1)
    for slot, cover in enumerate(covers.unbind(1)):
        clips = torch.lerp(clips, colours[:, slot, :, None, None, None], cover[:, None])
    return clips


def coverage(scenes: Scenes, frames: int, height: int, width: int) -> torch.Tensor:
    """(B, N, F, H, W) how much of each pixel each object covers."""
    x, y = _pixel_grid(height, width, scenes.style.device)
    scale = sizes(scenes, frames)
    place, turn = centres(scenes, frames, height, width), angles(scenes, frames)
    edge = EDGE / min(height, width)
    covers = torch.zeros(*scenes.shape.shape, frames, height, width, device=scenes.style.device)
    for number, name in enumerate(SHAPES):
        rows, slots = (scenes.shape == number).nonzero(as_tuple=True)
        if len(rows):
            local_x, local_y = _into_object(
                x, y, place[rows, slots], turn[rows, slots], scale[rows, slots]
            )
            softness = (edge / scale[rows, slots])[..., None, None]
            inside = (0.5 - DISTANCES[name](local_x, local_y) / softness).clamp_(0, 1)
            covers[rows, slots] = inside * inside * (3 - 2 * inside)
    return covers


def _into_object(
    x: torch.Tensor, y: torch.Tensor, place: torch.Tensor, turn: torch.Tensor, scale: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixel x (1, W), y (H, 1) in the frames (M, F) of M objects: two tensors (M, F, H, W), unit = radius."""
    cos, sin = (turn.cos() / scale)[..., None, None], (turn.sin() / scale)[..., None, None]
    from_x, from_y = x - place[..., 0, None, None], y - place[..., 1, None, None]
    return cos * from_x + sin * from_y, cos * from_y - sin * from_x


def _pixel_grid(height: int, width: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """x (1, W) and y (H, 1) of the pixel centres in parts of the shorter side."""
    short = min(height, width)
    return ((torch.arange(width, device=device) + 0.5) / short)[None], (
        (torch.arange(height, device=device) + 0.5) / short
    )[:, None]


def _stylise(clips: torch.Tensor, scenes: Scenes) -> torch.Tensor:
    """Each clip in its own style."""
    if not scenes.style.any():
        return clips
    clips = clips.clone()
    for number, name in enumerate(STYLES):
        rows = scenes.style == number
        if number and rows.any():
            clips[rows] = LOOKS[name](clips[rows])
    return clips
