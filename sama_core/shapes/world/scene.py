"""Scenes of the embedded model's world: one or two coloured shapes that move over a background.

Shape legend: B scenes, N object slots (2), F frames. Every tensor of a `Scenes` starts with B; a
single scene is a batch of one. Lengths are parts of the frame's shorter side, so that a scene can
be rendered at any size.
"""

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self, TypeVar

import torch
from torch import Tensor

COLOURS = {
    "red": (0.87, 0.13, 0.15),
    "orange": (0.97, 0.53, 0.08),
    "yellow": (0.97, 0.87, 0.16),
    "green": (0.13, 0.62, 0.22),
    "cyan": (0.18, 0.82, 0.88),
    "blue": (0.14, 0.31, 0.92),
    "purple": (0.47, 0.14, 0.74),
    "pink": (0.96, 0.27, 0.66),
}
"""Saturated object colours, far apart in RGB (0.35 or more), each with one plain English name."""
GROUND_COLOURS = {
    "white": (0.95, 0.95, 0.95),
    "grey": (0.56, 0.57, 0.60),
    "black": (0.08, 0.08, 0.10),
    "navy": (0.10, 0.15, 0.38),
    "brown": (0.42, 0.27, 0.17),
    "sand": (0.86, 0.76, 0.58),
    "mint": (0.68, 0.88, 0.78),
    "lilac": (0.80, 0.70, 0.95),
}
"""Background colours. Their names differ from object colours: a colour word is unambiguous."""
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
GROUNDS = ("plain", "gradient", "stripes", "checks", "dots")
STYLES = ("normal", "greyscale", "sepia", "negative", "sketch")
SLOTS = 2
EMPTY = -1
USUAL_GEOMETRY = {
    "plain": (0.0, 0.25),
    "gradient": (math.pi / 2, 0.25),
    "stripes": (0.0, 0.25),
    "checks": (0.0, 0.5),
    "dots": (0.0, 0.25),
}
"""(angle, period) of each of GROUNDS in an edit: instructions do not state the geometry."""
OBJECT_FIELDS = (
    "shape",
    "colour",
    "tint",
    "radius",
    "place",
    "velocity",
    "angle",
    "spin",
    "pulse",
    "pulse_rate",
)
"""The fields of `Scenes` that are (B, N, …), one entry per object."""

RowsT = TypeVar("RowsT", bound="Rows")

ROUND_SHAPES = (SHAPES.index("circle"), SHAPES.index("ring"))
"""Shapes whose rotation is invisible. They never turn, so that a shape that replaces one of them is
fully determined."""
REACH = 1.3
"""How far corners reach, in nominal radii. Objects bounce where their corners would leave."""
TOUCH = 1.15
"""Objects touch if their centres are nearer than this times the sum of their radii."""
CONTRAST = 0.5
"""Least Euclidean distance in RGB between an object and its background."""


@dataclass(frozen=True)
class Rows:
    """Base of dataclasses of tensors that all start with B, which are handled as one batch."""

    def __len__(self) -> int:
        return len(next(iter(self.tensors().values())))

    def __getitem__(self, rows: Tensor | slice | list[int] | int) -> Self:
        """The given rows; a single row is a batch of one, so that B is always there."""
        if isinstance(rows, int):
            rows = [rows]
        return type(self)(**{name: value[rows] for name, value in self.tensors().items()})

    def tensors(self) -> dict[str, Tensor]:
        """Every field by its name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def replace(self, **changes: Tensor) -> Self:
        """The same batch with other values of some fields."""
        return dataclasses.replace(self, **changes)

    def repeat(self, times: int) -> Self:
        """Every row `times` times, copies side by side."""
        return type(self)(
            **{name: value.repeat_interleave(times, 0) for name, value in self.tensors().items()}
        )

    def to(self, device: torch.device | str) -> Self:
        """Every field on `device`."""
        return type(self)(**{name: value.to(device) for name, value in self.tensors().items()})


def join(parts: Iterable[RowsT]) -> RowsT:
    """Several batches as one."""
    parts = list(parts)
    return type(parts[0])(
        **{name: torch.cat([part.tensors()[name] for part in parts]) for name in parts[0].tensors()}
    )


@dataclass(frozen=True)
class Scenes(Rows):
    """B scenes as tensors; an edit is `replace` on some of them."""

    shape: Tensor
    """(B, N) index into SHAPES, or EMPTY"""
    colour: Tensor
    """(B, N) index into COLOURS"""
    tint: Tensor
    """(B, N, 3) small RGB offset from the named colour"""
    radius: Tensor
    """(B, N) half size in parts of the shorter side"""
    place: Tensor
    """(B, N, 2) x, y at frame 0: 0 touches the left or top wall, 1 the right or bottom one"""
    velocity: Tensor
    """(B, N, 2) change of `place` per frame, before bouncing"""
    angle: Tensor
    """(B, N) radians at frame 0, clockwise on screen"""
    spin: Tensor
    """(B, N) radians per frame"""
    pulse: Tensor
    """(B, N) depth of the size's oscillation, 0 = constant size, 0.15 = between 85 % and 115 %"""
    pulse_rate: Tensor
    """(B, N) radians per frame of that oscillation"""
    ground: Tensor
    """(B,) index into GROUNDS"""
    ground_colour: Tensor
    """(B,) index into GROUND_COLOURS"""
    ground_tint: Tensor
    """(B, 3) small RGB offset from the named background colour"""
    ground_angle: Tensor
    """(B,) radians: direction of the gradient or pattern, 0 = along x"""
    ground_period: Tensor
    """(B,) length of one stripe pair, check pair or dot spacing"""
    ground_phase: Tensor
    """(B, 2) offset of the pattern in periods"""
    style: Tensor
    """(B,) index into STYLES"""

    @property
    def present(self) -> Tensor:
        """(B, N) bool: which slots hold an object."""
        return self.shape != EMPTY


def swap(scenes: Scenes, rows: Tensor) -> Scenes:
    """Exchange the two objects' slots, and so which one is on top, where `rows` (B,) bool."""
    fields = {name: getattr(scenes, name) for name in OBJECT_FIELDS}
    return scenes.replace(
        **{
            name: torch.where(rows.view(-1, *[1] * (value.dim() - 1)), value.flip(1), value)
            for name, value in fields.items()
        }
    )


def sizes(scenes: Scenes, frames: int) -> Tensor:
    """(B, N, F) radius of every object in every frame."""
    turns = scenes.pulse_rate[..., None] * torch.arange(frames, device=scenes.style.device)
    return scenes.radius[..., None] * (1 + scenes.pulse[..., None] * turns.sin())


def centres(scenes: Scenes, frames: int, height: int, width: int) -> Tensor:
    """(B, N, F, 2) x, y of every object in every frame, in parts of the shorter side."""
    times = torch.arange(frames, device=scenes.style.device)[:, None]
    straight = scenes.place[..., None, :] + scenes.velocity[..., None, :] * times
    bounced = 1 - ((straight % 2) - 1).abs()
    side = torch.tensor([width, height], device=straight.device) / min(height, width)
    margin = (REACH * scenes.radius * (1 + scenes.pulse))[..., None, None]
    return margin + bounced * (side - 2 * margin).clamp(min=0)


def angles(scenes: Scenes, frames: int) -> Tensor:
    """(B, N, F) radians of every object in every frame."""
    return scenes.angle[..., None] + scenes.spin[..., None] * torch.arange(
        frames, device=scenes.style.device
    )


def intrusion(scenes: Scenes, frames: int, height: int = 64, width: int = 64) -> Tensor:
    """(B, F) overlap of the two objects in radii; 0 where they do not touch or one is missing."""
    places, reach = centres(scenes, frames, height, width), sizes(scenes, frames).sum(1)
    apart = (places[:, 0] - places[:, 1]).norm(dim=-1)
    return (TOUCH - apart / reach).clamp(min=0) * scenes.present.all(1)[:, None]


def palette(named: dict[str, tuple[float, float, float]]) -> Tensor:
    """(K, 3) the colours of a palette in its order."""
    return torch.tensor(list(named.values()))


def contrasting_pairs() -> Tensor:
    """(object colours, background colours) bool: pairs that differ by CONTRAST or more."""
    return torch.cdist(palette(COLOURS), palette(GROUND_COLOURS)) >= CONTRAST


def contrasting_grounds(colour: Tensor, present: Tensor) -> Tensor:
    """(B, background colours) bool: those that contrast with every present object's colour."""
    return (contrasting_pairs()[colour] | ~present[..., None]).all(1)


def usual_geometry(ground: Tensor) -> dict[str, Tensor]:
    """Angle, period and phase of background kinds (B,) where nothing else is stated."""
    table = torch.tensor([USUAL_GEOMETRY[name] for name in GROUNDS])[ground]
    return {
        "ground_angle": table[:, 0],
        "ground_period": table[:, 1],
        "ground_phase": torch.zeros(len(ground), 2),
    }
