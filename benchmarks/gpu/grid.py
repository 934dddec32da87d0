"""What `python -m benchmarks.gpu` measures: all points, what is worth most first; and some."""

import argparse
from dataclasses import dataclass, replace
from itertools import product

FRAMES, SIZES, WEIGHTS, CAPS = (
    (33, 49, 81),
    ((832, 480), (1280, 720)),
    ("bf16", "fp8"),
    (12, 16, 24, 48, None),
)
ATTENTION = (
    "sage",
    "sol-attn",
    "pytorch-cudnn",
    "pytorch-flash",
    "flash",
    "kitchen-int8",
    "pytorch-efficient",
)
STREAMED = (12, 24)
"""Caps at which prefetch is tried."""
FILE_GB = {"bf16": 28.7, "fp8": 15.1}
"""Random files of SAMA-14B's shape."""


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
    prefetch: bool = False
    """With ComfyUI's prefetch around the loop of blocks."""


FULL = Point(81, 832, 480)
"""The released model's own size."""


def every_point(official: bool) -> list[Point]:
    """Every point once; those that decide most come first, since time may end."""
    grid = [
        Point(frames, *size, weights, cap)
        for cap, weights, size, frames in product(reversed(CAPS), WEIGHTS, SIZES, FRAMES)
    ]
    theirs = [
        Point(frames, *size, code="official") for size, frames in product(SIZES, reversed(FRAMES))
    ]
    points = [*_first_points(theirs[:1]), *_variants(WEIGHTS), *grid]
    return list(dict.fromkeys(points + (theirs if official else [])))


def _first_points(official: list[Point]) -> list[Point]:
    """The goals, then streaming with prefetch and without, then shorter clips."""
    streamed = [
        replace(FULL, weights=weights, cap=cap, prefetch=prefetch)
        for cap, weights, prefetch in product(STREAMED, WEIGHTS, (False, True))
    ]
    shorter = [replace(FULL, frames=frames) for frames in FRAMES[:2]]
    return [FULL, *official, replace(FULL, weights="fp8"), *streamed, *shorter]


def _variants(weights: tuple[str, ...]) -> list[Point]:
    """Attention back ends and torch.compile, at the full size with all memory."""
    changes = [{"attention": ATTENTION[0]}, {"compile": True}]
    changes += [{"attention": name} for name in ATTENTION[1:]]
    return [replace(FULL, weights=kind, **change) for kind, change in product(weights, changes)]


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
                ("on" if point.prefetch else "off", asked.prefetch),
                (point.code, asked.code),
            )
        )

    return [point for point in points if is_wanted(point)]
