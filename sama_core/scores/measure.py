"""All scores of one edit: measured, reported in words, and drawn per frame."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..region.paste import require_pair
from .fidelity import Exclusivity, Flicker, exclusivity, flicker
from .motion import MotionFollow, block_motion, motion_follow, shrink, shrink_factor, travel_gap

WIDTH, PANEL, LEFT, RIGHT, TOP, BOTTOM = 640, 120, 46, 12, 24, 12
"""Pixels of the drawing: its width, the height of a panel, and the margins of the plot in it."""
_PAPER, _INK, _GRID = (255, 255, 255), (40, 40, 40), (215, 215, 215)
_COLOURS = {"leak": (30, 100, 180), "flicker": (200, 80, 30), "motion": (30, 130, 70)}


@dataclass(frozen=True)
class Scores:
    """What `measure` returns."""

    shape: tuple[int, int, int]
    """Frames, height, width."""
    exclusivity: Exclusivity | None
    """Where the change lies; None without a mask."""
    flicker: Flicker
    """What the edit adds from frame to frame."""
    motion: MotionFollow
    """How well the edit moves with the source."""


def measure(source: Tensor, edited: Tensor, mask: Tensor | None = None) -> Scores:
    """Scores of an edit of `source`, both (F, H, W, 3) in 0…1.

    `mask` (F, H, W), fitted, is where the change was wanted. Raises RegionError if the clips are
    not of one size and length, or smaller than 16x16.
    """
    source, edited = require_pair(source, edited)
    frames, height, width = source.shape[:3]
    small, small_edit = shrink(source), shrink(edited)
    steps = block_motion(small)
    gap = travel_gap(steps, len(source))
    travel = steps if gap == 1 else block_motion(small, gap)
    return Scores(
        (frames, height, width),
        None if mask is None else exclusivity(source, edited, mask),
        flicker(small, small_edit, steps),
        motion_follow(travel, block_motion(small_edit, gap), shrink_factor(height, width)),
    )


def report(scores: Scores) -> str:
    """A table with one line per score: name, number, and what the number means."""
    frames, height, width = scores.shape
    rows = [
        ("Exclusivity", *_say_exclusivity(scores.exclusivity)),
        ("Flicker", *_say_flicker(scores.flicker.levels)),
        ("Motion follow", *_say_motion(scores.motion.follow, scores.motion.pixels)),
    ]
    lines = [f"{name:<15}{number:<8}{words}" for name, number, words in rows]
    return "\n".join([f"{frames} frame{'s' * (frames != 1)} of {width}x{height}", *lines])


def _say_exclusivity(found: Exclusivity | None) -> tuple[str, str]:
    """The number, and its meaning; so the two below."""
    if found is None:
        return "–", "not measured: connect the mask of the region that was to change"
    inside = f"{found.share:.1%} of the change lies in the region"
    if math.isnan(found.outside_db):
        return f"{found.share:.3f}", f"{inside}, which is the whole clip"
    return f"{found.share:.3f}", f"{inside}; outside: {found.outside_db:.1f} dB, best is 60"


def _say_flicker(levels: float) -> tuple[str, str]:
    if math.isnan(levels):
        return "–", "not measured: there are no two neighbouring frames of one shot"
    return f"{levels:.2f}", "grey levels of 255 that the edit adds from frame to frame; best is 0"


def _say_motion(follow: float, pixels: float) -> tuple[str, str]:
    if math.isnan(follow):
        return "–", "not measured: nothing with distinct structure stays in source and edit"
    apart = f"{pixels:.2f} pixels per frame apart where something moves"
    return f"{follow:.3f}", f"1 moves as the source, 0 does not; {apart}"


def draw(scores: Scores) -> Tensor:
    """One panel per measured score, over frame numbers → an IMAGE (1, h, 640, 3) in 0…1."""
    panels = [
        ("flicker", "flicker, grey levels", scores.flicker.frames),
        ("motion", "motion, pixels per frame apart", scores.motion.frames),
    ]
    if scores.exclusivity is not None:
        panels.insert(
            0, ("leak", "change outside the region, grey levels", scores.exclusivity.leak)
        )
    picture = Image.new("RGB", (WIDTH, PANEL * len(panels) + BOTTOM), _PAPER)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(size=12)
    for number, (name, title, values) in enumerate(panels):
        _draw_panel(pen, font, number * PANEL, title, values.tolist(), _COLOURS[name])
    return torch.from_numpy(np.array(picture)).float()[None] / 255


def _draw_panel(
    pen: ImageDraw.ImageDraw, font, top: int, title: str, values: list[float], colour: tuple
) -> None:
    """A plot of `values` per frame, with its title, at `top` pixels; NaN leaves a gap."""
    floor, ceiling, right = top + PANEL - BOTTOM, top + TOP, WIDTH - RIGHT
    measured = [value for value in values if not math.isnan(value)]
    high = max([*measured, 1.0])
    pen.text((LEFT, top + 6), title if measured else f"{title}: not measured", _INK, font)
    for value, height in ((0, floor), (high, ceiling)):
        pen.line([(LEFT, height), (right, height)], _GRID)
        pen.text((LEFT - 6, height), f"{value:.3g}", _INK, font, anchor="rm")
    pen.text((right, floor + 2), f"frame {len(values) - 1}", _INK, font, anchor="rt")

    def place(frame: int) -> tuple[float, float]:
        along = frame / max(1, len(values) - 1)
        return LEFT + along * (right - LEFT), floor - values[frame] / high * (floor - ceiling)

    for line in _find_runs(values):
        pen.line([place(frame) for frame in line], colour, 2)
        for frame in (line[0], line[-1]):
            x, y = place(frame)
            pen.ellipse([x - 2, y - 2, x + 2, y + 2], colour)


def _find_runs(values: list[float]) -> list[list[int]]:
    """Frame numbers in runs without NaN."""
    runs: list[list[int]] = [[]]
    for frame, value in enumerate(values):
        if not math.isnan(value):
            runs[-1].append(frame)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]
