"""Random scenes from an explicit generator, with a choice of the colour-shape pairs in them.

Shape legend: B scenes, N object slots, P = len(COLOURS) * len(SHAPES) pairs of colour and shape
(index = colour * len(SHAPES) + shape).
"""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from .edits import Edits, add
from .scene import (
    COLOURS,
    CONTRAST,
    EMPTY,
    GROUND_COLOURS,
    GROUNDS,
    ROUND_SHAPES,
    SHAPES,
    SLOTS,
    STYLES,
    Scenes,
    contrasting_grounds,
    intrusion,
    palette,
    usual_geometry,
)

HELD_OUT_PAIRS = (
    ("red", "star"),
    ("orange", "circle"),
    ("yellow", "cross"),
    ("green", "triangle"),
    ("cyan", "square"),
    ("blue", "ring"),
    ("purple", "star"),
    ("pink", "triangle"),
)
"""Pairs that training never shows, neither in a source nor in a target: every colour once, every
shape at least once."""
COUNT_ODDS = (0.06, 0.38, 0.56)
"""How often an unpaired scene has no object, one, two."""
STYLED = 0.25
"""Share of unpaired scenes that are not in normal style."""
RADIUS_ALONE, RADIUS_OF_TWO = (0.19, 0.24), (0.165, 0.2)
"""Range of the radius of a single object, and of two, in parts of the shorter side: 10.6 to 15.4
pixels of 64."""
ASKEW, TURN = math.radians(12), math.radians(1.5)
"""Largest angle of an object at frame 0, and largest turn per frame. Together they reach 36 degrees
in 17 frames, half the symmetry of a star: with more, a frame would not determine the angle of a
shape that replaces another."""
TINT = 0.03
"""Largest difference of a drawn colour from the named one, per RGB channel."""
VIVID = 0.45
"""Least saturation and value (HSV) of an object in another shade."""
TRIES = 64
"""Motions drawn per scene, of which the one is taken in which the objects touch least (or, see
`Movement`, cross most); also the shades drawn per object."""


@dataclass(frozen=True)
class Movement:
    """How objects move, other than they usually do. The default is the usual world."""

    speed: float = 1.0
    """Factor of every object's velocity, which usually is 0.3 to 1.3 pixels of 64 per frame.
    Turning and pulsing stay as they are."""
    crossing: bool = False
    """Whether two objects cover each other for a part of the clip. Of the drawn motions the one is
    taken whose `intrusion` varies most: the objects are apart in one frame and overlap in another.
    The greatest mean would leave them on top of each other in every frame."""


USUAL = Movement()
"""The movement of the embedded model's world."""


def held_out_pairs() -> Tensor:
    """(P,) bool: the pairs kept for testing."""
    mask = torch.zeros(len(COLOURS) * len(SHAPES), dtype=torch.bool)
    mask[
        [
            list(COLOURS).index(colour) * len(SHAPES) + SHAPES.index(shape)
            for colour, shape in HELD_OUT_PAIRS
        ]
    ] = True
    return mask


def subject_pairs(split: str) -> Tensor:
    """(P,) bool: the pairs that an edit of this split is about."""
    return held_out_pairs() if split == "test" else ~held_out_pairs()


def other_pairs(split: str) -> Tensor:
    """(P,) bool: the pairs of the other objects in scenes of this split."""
    return torch.ones_like(held_out_pairs()) if split == "test" else ~held_out_pairs()


def sample_scenes(
    generator: Generator,
    count: int,
    frames: int = 17,
    split: str = "train",
    movement: Movement = USUAL,
) -> Scenes:
    """`count` unpaired scenes in all styles, for the codec and for stage 0.

    In the split `test`, the first object of every scene is a pair that training never shows.
    """
    objects = choose(generator, torch.tensor(COUNT_ODDS).expand(count, -1))
    first = choose(generator, subject_pairs(split).expand(count, -1))
    pairs = torch.stack([first, choose(generator, other_pairs(split) & ~one_pair(first))], 1)
    odds = torch.full((count, len(STYLES)), STYLED / (len(STYLES) - 1))
    odds[:, 0] = 1 - STYLED
    present = torch.arange(SLOTS) < objects[:, None]
    scenes = draw_scenes(generator, pairs, present, frames, movement=movement)
    return scenes.replace(style=choose(generator, odds))


def draw_scenes(
    generator: Generator,
    pairs: Tensor,
    present: Tensor,
    frames: int,
    beside: Tensor | None = None,
    added: Edits | None = None,
    movement: Movement = USUAL,
) -> Scenes:
    """Scenes in normal style with objects of these `pairs` (B, N) where `present` (B, N) bool.

    The background also contrasts with the colours of the pairs `beside` (B,), which an edit will
    bring in. With `added`, the scenes already contain the objects that these edits add, and the
    others keep away from them, or cross them with `movement.crossing`. A scene with one object and
    without `added` differs between movements in its velocity only, for every motion touches alike.
    """
    seen = torch.cat([pairs, pairs[:, :1] if beside is None else beside[:, None]], 1) // len(SHAPES)
    shown = torch.cat([present, torch.full((len(pairs), 1), beside is not None)], 1)
    still = {
        "shape": torch.where(present, pairs % len(SHAPES), EMPTY),
        "colour": pairs // len(SHAPES),
        "tint": TINT * uniform_signed(generator, *pairs.shape, 3),
        **_draw_ground(generator, choose(generator, contrasting_grounds(seen, shown))),
    }
    tries = {name: value.repeat_interleave(TRIES, 0) for name, value in still.items()}
    scenes = _move(generator, tries, movement.speed)
    if added is not None:
        scenes = add(scenes, added.repeat(TRIES))
    touching = intrusion(scenes, frames).unflatten(0, (-1, TRIES))
    if movement.crossing:
        best = (touching.amax(2) - touching.amin(2)).argmax(1)
    else:
        best = touching.mean(2).argmin(1)
    return scenes[torch.arange(len(best)) * TRIES + best]


def shade_objects(generator: Generator, scenes: Scenes, share: float) -> Scenes:
    """The scenes with a `share` of the objects in other vivid colours of the same name.

    A colour's name is that of the nearest named colour in RGB. Colours that differ from the
    background by less than CONTRAST are not used. With the eight named colours alone, a model
    learns which pairs of colour and shape exist and draws no others.
    """
    size, colours = scenes.colour.shape, palette(COLOURS)
    shades = _vivid(generator, *size, TRIES)
    ground = palette(GROUND_COLOURS)[scenes.ground_colour][:, None, None]
    fits = (
        torch.cdist(shades.flatten(0, 2), colours).argmin(-1).view(shades.shape[:3])
        == scenes.colour[..., None]
    )
    fits &= (shades - ground).norm(dim=-1) >= CONTRAST
    taken = fits.any(-1) & (torch.rand(size, generator=generator) < share)
    chosen = choose(generator, (fits | ~taken[..., None]).flatten(0, 1))
    shade = shades.flatten(0, 1)[torch.arange(len(chosen)), chosen].view(*size, 3)
    return scenes.replace(
        tint=torch.where(taken[..., None], shade - colours[scenes.colour], scenes.tint)
    )


def _vivid(generator: Generator, *size: int) -> Tensor:
    """Random RGB colours (*size, 3) of all hues, their saturation and value VIVID or more."""
    hue = 6 * torch.rand(size, generator=generator)
    saturation, value = (uniform(generator, VIVID, 1.0, *size) for _ in range(2))
    sector = (torch.tensor([5.0, 3.0, 1.0]) + hue[..., None]) % 6
    return value[..., None] * (
        1 - saturation[..., None] * torch.minimum(sector, 4 - sector).clamp(0, 1)
    )


def _draw_ground(generator: Generator, ground_colour: Tensor) -> dict[str, Tensor]:
    """Background fields: half with the usual geometry, half rotated, scaled and shifted."""
    count = len(ground_colour)
    ground = torch.randint(len(GROUNDS), (count,), generator=generator)
    usual = torch.rand(count, generator=generator) < 0.5
    geometry = usual_geometry(ground)
    return {
        "ground": ground,
        "ground_colour": ground_colour,
        "ground_tint": TINT * uniform_signed(generator, count, 3),
        "ground_angle": torch.where(
            usual, geometry["ground_angle"], math.pi * uniform_signed(generator, count)
        ),
        "ground_period": geometry["ground_period"]
        * torch.where(usual, 1.0, uniform(generator, 1.0, 1.5, count)),
        "ground_phase": torch.where(usual[:, None], 0.0, torch.rand(count, 2, generator=generator)),
    }


def _move(generator: Generator, still: dict[str, Tensor], factor: float) -> Scenes:
    """Scenes with random size, place, motion (`factor` times the usual), turning and pulsing."""
    shape = still["shape"]
    size, spread = shape.shape, torch.rand(shape.shape, generator=generator)
    two = (shape != EMPTY).all(1, keepdim=True)
    heading = math.pi * uniform_signed(generator, *size)
    # `place` is in units of the space an object can move in, about 0.55 of the frame: the speed is
    # 0.3 to 1.3 pixels of 64 per frame. One in ten stands still.
    speed = uniform(generator, 0.008, 0.036, *size) * (torch.rand(size, generator=generator) > 0.1)
    turns = ~torch.isin(shape, torch.tensor(ROUND_SHAPES))
    return Scenes(
        **still,
        radius=torch.where(two, _between(spread, *RADIUS_OF_TWO), _between(spread, *RADIUS_ALONE)),
        place=torch.rand(*size, 2, generator=generator),
        velocity=factor * (speed[..., None] * torch.stack([heading.cos(), heading.sin()], -1)),
        angle=ASKEW * uniform_signed(generator, *size) * turns,
        spin=TURN * uniform_signed(generator, *size) * turns,
        pulse=uniform(generator, 0.06, 0.14, *size) * (torch.rand(size, generator=generator) < 0.4),
        pulse_rate=uniform(generator, 0.2, 0.45, *size),
        style=torch.zeros(len(shape), dtype=torch.long),
    )


def one_pair(pair: Tensor) -> Tensor:
    """(B, P) bool: only this pair (B,) of each row."""
    return torch.arange(len(COLOURS) * len(SHAPES)) == pair[:, None]


def choose(generator: Generator, odds: Tensor) -> Tensor:
    """(B,) an index per row of `odds` (B, K), with those odds or, of bools, equal ones."""
    return torch.multinomial(odds.float(), 1, generator=generator)[:, 0]


def uniform_signed(generator: Generator, *size: int) -> Tensor:
    """Uniform in -1..1."""
    return uniform(generator, -1.0, 1.0, *size)


def uniform(generator: Generator, low: float, high: float, *size: int) -> Tensor:
    """Uniform in low..high."""
    return _between(torch.rand(*size, generator=generator), low, high)


def _between(part: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * part
