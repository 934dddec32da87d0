"""What `python -m benchmarks.gpu` measures: all points, and the choice of some."""

import argparse
from dataclasses import dataclass, replace
from itertools import product

FRAMES, SIZES, WEIGHTS, CAPS = (
    (33, 49, 81),
    ((832, 480), (1280, 720)),
    ("bf16", "fp8"),
    (12, 16, 24, 48, None),
)
ATTENTION = ("pytorch-flash", "pytorch-efficient", "pytorch-cudnn", "sage", "flash")


@dataclass(frozen=True)
class Point:
    """One thing to measure; two points are the same if all of this is."""

    frames: int
    """Of the clip."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    weights: str = "bf16"
    """`bf16` or `fp8`."""
    cap: int | None = None
    """GB of the card's memory that may be used; None for all."""
    attention: str = "pytorch"
    """One of ATTENTION, or `pytorch` for torch's own choice."""
    compile: bool = False
    """Through torch.compile."""
    code: str = "sama"
    """`sama` or `official`."""


def every_point(official: bool) -> list[Point]:
    """The grid, then attention back ends and torch.compile at one size, then the official code."""
    grid = [
        Point(frames, *size, weights, cap)
        for cap, weights, size, frames in product(reversed(CAPS), WEIGHTS, SIZES, FRAMES)
    ]
    variants = [
        replace(Point(81, 832, 480, weights), **change)
        for weights in WEIGHTS
        for change in [*({"attention": name} for name in ATTENTION), {"compile": True}]
    ]
    theirs = [Point(frames, *size, code="official") for size, frames in product(SIZES, FRAMES)]
    return grid + variants + (theirs if official else theirs[:1])


def choose_points(points: list[Point], asked: argparse.Namespace) -> list[Point]:
    """The points that the command line asks for."""

    def is_wanted(point: Point) -> bool:
        return all(
            given is None or str(value) in given.split(",")
            for value, given in (
                (point.frames, asked.frames),
                (f"{point.width}x{point.height}", asked.sizes),
                (point.weights, asked.weights),
                ("all" if point.cap is None else point.cap, asked.caps),
                (point.attention, asked.attention),
                ("on" if point.compile else "off", asked.compile),
                (point.code, asked.code),
            )
        )

    return [point for point in points if is_wanted(point)]
