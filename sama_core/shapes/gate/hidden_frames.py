"""Scores of clips whose hidden frames were drawn anew: where objects are, what they are, how they
move.

    scenes ──render──▶ truth ──black frames──▶ editor ──▶ output ──▶ score_hidden(truth, …, hidden)

An object's place is its centroid, found from the picture as in `clip_scores.track_distance`: each
pixel weighs by how much the clip differs from the truth rendered without the object, near the
object's true place; the truth's own centroid is found alike. Frames in which the object is hardly
visible do not count, and one that is lost (less than a fifth of its true weight) has no place.
Scores are per clip, the mean over its objects; NaN where nothing can be measured.

Shape legend: B clips, N object slots, F frames, H x W pixels, G x G points on an object. Clips are
(B, F, H, W, 3) float32 in 0..1, `hidden` is (B, F) bool.
"""

from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ...scores.fidelity import CEILING_DB
from ..world import Scenes, render
from ..world.render import coverage
from ..world.scene import COLOURS, REACH, SHAPES, SLOTS, angles, centres, sizes
from .clip_scores import (
    FAINT,
    LOST_SHARE,
    Track,
    find_neighbourhood,
    find_track,
    nearest,
    remove_object,
    track_distances,
)

LEAST_PATH = 1.0
"""Pixels that an object must move within the hidden frames for a dynamic degree."""
STATIC = 1 / 255
"""Most that a pixel of the truth may change over a clip and be called static."""
POINTS = 32
"""G: points along each side of the square, 2 · REACH radii wide, in which an object is compared."""
_INSIDE, _LEAST_POINTS = 0.95, 8


@dataclass(frozen=True)
class HiddenScores:
    """The numbers of one clip."""

    track: float
    """Mean distance of the centroids from the true ones over the hidden frames, in pixels. A lost
    object is as far away as its neighbourhood reaches."""
    identity: float
    """Share of the objects whose hidden frames are nearest, by mean squared error, to the clip
    that has them as they are, among the 48 colours and shapes at their true place."""
    smoothness: float
    """Mean |Δ²c − Δ²c true| of the centroids c, in pixels per frame², around the hidden frames.
    Δ²c(t) = c(t + 1) − 2 c(t) + c(t − 1). 0 if the object moves as the true one does."""
    background: float
    """Mean deviation over time of the pixels that are static in the truth, in grey levels of 255:
    the root of the mean over pixels, RGB and frames of (pixel − its mean over time)²."""
    subject: float
    """dB of the hidden frames against frame 0, both of the output, at the same points of the
    object: in coordinates that move, turn and grow with the true one, where it is seen in both."""
    dynamic: float
    """Path length of the centroid over that of the true one, within the hidden frames. 0 if
    nothing moves; NaN for an object that truly moves less than LEAST_PATH."""


def score_hidden(
    truth: Tensor, output: Tensor, scenes: Scenes, hidden: Tensor
) -> list[HiddenScores]:
    """Scores per clip of `output`, given the `scenes` that `truth` shows."""
    columns = {"background": measure_background(truth, output)}
    by_slot = [_score_object(truth, output, scenes, hidden, slot) for slot in range(SLOTS)]
    for name in by_slot[0]:
        values = torch.stack([scores[name] for scores in by_slot], 1)
        columns[name] = torch.where(scenes.present, values, torch.nan).nanmean(1)
    names = [field.name for field in fields(HiddenScores)]
    rows = zip(*(columns[name].tolist() for name in names), strict=True)
    return [HiddenScores(*row) for row in rows]


def _score_object(
    truth: Tensor, output: Tensor, scenes: Scenes, hidden: Tensor, slot: int
) -> dict[str, Tensor]:
    """Each score of the objects in one slot, (B,); meaningless where the slot is empty."""
    slots, size = torch.full((len(scenes),), slot), truth.shape[1:4]
    empty = render(remove_object(scenes, slots), *size)
    near, radius = find_neighbourhood(scenes, slots, *size)
    found, true = find_track(output, empty, near), find_track(truth, empty, near)
    seen = (true.mass >= FAINT) & (found.mass >= LOST_SHARE * true.mass)
    counted = hidden & (true.mass >= FAINT)
    return {
        "track": track_distances(found, Track(true.mass * hidden, true.place), radius),
        "identity": find_identities(output, scenes, counted, slot),
        "smoothness": measure_smoothness(found.place, true.place, seen, hidden),
        "subject": measure_subject(output, scenes, hidden, slot),
        "dynamic": measure_dynamic(found.place, true.place, seen & hidden),
    }


def find_identities(output: Tensor, scenes: Scenes, counted: Tensor, slot: int) -> Tensor:
    """(B,) 1 where the object in `slot` is what it truly is, see `HiddenScores.identity`; else 0.

    Compared in the frames `counted` (B, F) bool; NaN where there are none.
    """
    found = torch.full((len(scenes),), torch.nan)
    for row in (counted.any(1) & scenes.present[:, slot]).nonzero()[:, 0].tolist():
        shown, own = counted[row], scenes[row]
        pair = int(own.colour[0, slot]) * len(SHAPES) + int(own.shape[0, slot])
        clips = render(vary_pair(own, slot), *output.shape[1:4])
        found[row] = nearest(output[row, shown], clips[:, shown]) == pair
    return found


def vary_pair(scene: Scenes, slot: int) -> Scenes:
    """One scene with each of the 48 pairs of colour and shape in `slot`, its own one with its tint.

    Row = colour · len(SHAPES) + shape.
    """
    pairs = torch.arange(len(COLOURS) * len(SHAPES))
    many = scene.repeat(len(pairs))
    changes = {"colour": pairs // len(SHAPES), "shape": pairs % len(SHAPES)}
    own = (many.colour[:, slot] == changes["colour"]) & (many.shape[:, slot] == changes["shape"])
    changes["tint"] = many.tint[:, slot] * own[:, None]
    values = {name: getattr(many, name).clone() for name in changes}
    for name, value in changes.items():
        values[name][:, slot] = value
    return many.replace(**values)


def measure_smoothness(found: Tensor, true: Tensor, seen: Tensor, hidden: Tensor) -> Tensor:
    """(B,) see `HiddenScores.smoothness`: of places (B, F, 2) in pixels.

    Counted are frames that are `hidden` and `seen` (B, F) bool, whose neighbours are seen too.
    """
    bend = torch.diff(found, n=2, dim=1) - torch.diff(true, n=2, dim=1)
    counts = seen[:, :-2] & seen[:, 1:-1] & seen[:, 2:] & hidden[:, 1:-1]
    return (bend.norm(dim=-1) * counts).sum(1) / counts.sum(1)


def measure_dynamic(found: Tensor, true: Tensor, counted: Tensor) -> Tensor:
    """(B,) see `HiddenScores.dynamic`: of places (B, F, 2), over steps between `counted` frames."""
    steps = counted[:, :-1] & counted[:, 1:]
    way, true_way = (
        (torch.diff(places, dim=1).norm(dim=-1) * steps).sum(1) for places in (found, true)
    )
    return torch.where(true_way >= LEAST_PATH, way / true_way, torch.nan)


def measure_background(truth: Tensor, output: Tensor) -> Tensor:
    """(B,) grey levels, see `HiddenScores.background`; NaN where every pixel of the truth moves."""
    static = (truth.amax(1) - truth.amin(1)).amax(-1) <= STATIC
    change = (output - output.mean(1, keepdim=True)).square().mean((1, -1))
    return 255 * ((change * static).sum((1, 2)) / static.sum((1, 2))).sqrt()


def measure_subject(output: Tensor, scenes: Scenes, hidden: Tensor, slot: int) -> Tensor:
    """(B,) dB, see `HiddenScores.subject`: the mean over hidden frames, each at most CEILING_DB."""
    frames, height, width = output.shape[1:4]
    points = _points_on_object(scenes, slot, frames, height, width)
    covers = coverage(scenes, frames, height, width)
    shown = covers[:, slot] * (1 - covers[:, slot + 1 :]).prod(1)
    inside = _sample(shown[..., None], points)[..., 0] >= _INSIDE
    patches = _sample(output, points)
    both = inside & inside[:, :1]
    error = (patches - patches[:, :1]).square().mean(-1)
    mean = (error * both).sum((2, 3)) / both.sum((2, 3)).clamp(min=1)
    decibels = -10 * mean.clamp(min=10 ** (-CEILING_DB / 10)).log10()
    counts = hidden & (both.sum((2, 3)) >= _LEAST_POINTS)
    return (decibels * counts).sum(1) / counts.sum(1)


def _points_on_object(scenes: Scenes, slot: int, frames: int, height: int, width: int) -> Tensor:
    """(B, F, G, G, 2) x, y in −1..1 of the picture: the inverse of `into_object` on a grid."""
    line = torch.linspace(-REACH, REACH, POINTS)
    local_y, local_x = torch.meshgrid(line, line, indexing="ij")
    turn = angles(scenes, frames)[:, slot, :, None, None]
    scale = sizes(scenes, frames)[:, slot, :, None, None]
    place = centres(scenes, frames, height, width)[:, slot, :, None, None]
    x = place[..., 0] + scale * (turn.cos() * local_x - turn.sin() * local_y)
    y = place[..., 1] + scale * (turn.sin() * local_x + turn.cos() * local_y)
    side = torch.tensor([width, height]) / min(height, width)
    return 2 * torch.stack([x, y], -1) / side - 1


def _sample(clips: Tensor, points: Tensor) -> Tensor:
    """Values (B, F, G, G, C) of clips (B, F, H, W, C) at points (B, F, G, G, 2), bilinear."""
    pictures = clips.flatten(0, 1).movedim(-1, 1)
    taken = functional.grid_sample(pictures, points.flatten(0, 1), align_corners=False)
    return taken.movedim(1, -1).unflatten(0, clips.shape[:2])


class FlowAgreement(NamedTuple):
    """How often a student's flow points where the teacher's does, on objects that move."""

    share: Tensor
    """(B,) of the cells counted; NaN where there are none"""
    cells: Tensor
    """(B,) cells counted"""


def compare_flows(student: Tensor, teacher: Tensor, on_object: Tensor) -> FlowAgreement:
    """Share of moving object cells where the largest of both flows is the same neighbour.

    `student` and `teacher` (B, T−1, h, w, K) as of `local_gram_flow`, `on_object` (B, T−1, h, w)
    bool. A cell moves if the teacher's largest is not the centre of the window. A divergence alone
    does not tell: background cells, which all stay, decide it.
    """
    goal = teacher.argmax(-1)
    moving = on_object & (goal != teacher.shape[-1] // 2)
    cells = moving.flatten(1).sum(1)
    agree = ((student.argmax(-1) == goal) & moving).flatten(1).sum(1)
    return FlowAgreement(torch.where(cells > 0, agree / cells, torch.nan), cells)
