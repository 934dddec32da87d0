"""Scores per frame as a small picture."""

import math

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .measure import Scores

WIDTH, PANEL, LEFT, RIGHT, TOP, BOTTOM = 640, 120, 46, 12, 24, 12
_PAPER, _INK, _GRID = (255, 255, 255), (40, 40, 40), (215, 215, 215)
_COLOURS = {"leak": (30, 100, 180), "flicker": (200, 80, 30), "motion": (30, 130, 70)}


def draw(scores: Scores) -> Tensor:
    """One panel per score that was measured, frame numbers along it → an IMAGE (1, h, 640, 3) in 0…1."""
    panels = [("flicker", "flicker, grey levels", scores.flicker.frames),
              ("motion", "motion, pixels per frame apart", scores.motion.frames)]
    if scores.exclusivity is not None:
        panels.insert(0, ("leak", "change outside the region, grey levels", scores.exclusivity.leak))
    picture = Image.new("RGB", (WIDTH, PANEL * len(panels) + BOTTOM), _PAPER)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(size=12)
    for number, (name, title, values) in enumerate(panels):
        _panel(pen, font, number * PANEL, title, values.tolist(), _COLOURS[name])
    return torch.from_numpy(np.array(picture)).float()[None] / 255


def _panel(pen: ImageDraw.ImageDraw, font, top: int, title: str, values: list[float], colour: tuple) -> None:
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
    for line in _unbroken(values):
        pen.line([place(frame) for frame in line], colour, 2)
        for frame in (line[0], line[-1]):
            x, y = place(frame)
            pen.ellipse([x - 2, y - 2, x + 2, y + 2], colour)


def _unbroken(values: list[float]) -> list[list[int]]:
    """Runs of frames without nan."""
    runs: list[list[int]] = [[]]
    for frame, value in enumerate(values):
        if not math.isnan(value):
            runs[-1].append(frame)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]
