"""A small clip for tests, of any size and length."""

from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw

# Warm circles and cool squares, so that any two can be told apart and named: "turn the red circle
# green".
WARM = ((226, 61, 61), (240, 134, 44), (242, 194, 48))
COOL = ((58, 110, 226), (64, 168, 88), (146, 84, 200))
BACKGROUNDS = (
    ((232, 238, 246), (158, 178, 206)),
    ((246, 236, 222), (206, 176, 150)),
    ((228, 240, 230), (150, 184, 164)),
)

# Drawn this many times larger and averaged down: smooth edges, sub-pixel motion.
SUPERSAMPLING = 4


def moving_shapes(
    frames: int = 17, width: int = 128, height: int = 128, seed: int = 0
) -> Iterator[np.ndarray]:
    """Yield `frames` uint8 (height, width, 3) frames: a circle and a square drift over a gradient.

    The seed picks colours, places and directions; the same arguments give the same pixels.
    """
    generator = np.random.default_rng(seed)
    circle, square, ends = (
        choices[generator.integers(len(choices))] for choices in (WARM, COOL, BACKGROUNDS)
    )
    background = _gradient(width, height, *ends)
    starts = np.array([[0.3, 0.35], [0.7, 0.65]]) + generator.uniform(-0.06, 0.06, (2, 2))
    angles = generator.uniform(0, 2 * np.pi, 2)
    steps = 0.02 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    for number in range(frames):
        yield _draw(background, _reflect(starts + number * steps), circle, square)


def _reflect(places: np.ndarray) -> np.ndarray:
    """Straight motion folded at the walls, so that shapes stay in 0.2..0.8 of the picture."""
    folded = np.abs((places - 0.2) % 1.2 - 0.6)
    return 0.8 - folded


def _draw(background: Image.Image, places: np.ndarray, circle: tuple, square: tuple) -> np.ndarray:
    """One frame; `places` (2, 2) are centres (x, y) of circle and square as parts of the frame."""
    canvas = background.resize([side * SUPERSAMPLING for side in background.size])
    pen = ImageDraw.Draw(canvas)
    circle_box, square_box = (
        _box_around(place, canvas.size, size)
        for place, size in zip(places, (0.17, 0.14), strict=True)
    )
    pen.rectangle(square_box, fill=square)
    pen.ellipse(circle_box, fill=circle)
    return np.asarray(canvas.reduce(SUPERSAMPLING))


def _box_around(place: np.ndarray, canvas: tuple[int, int], size: float) -> tuple[float, ...]:
    """(left, top, right, bottom) of a shape of half-width `size` (part of the shorter side)."""
    centre, reach = place * canvas, size * min(canvas)
    return tuple(map(float, (*(centre - reach), *(centre + reach))))


def _gradient(width: int, height: int, top: tuple, bottom: tuple) -> Image.Image:
    """A vertical blend of two colours."""
    blend = np.linspace(0, 1, height)[:, None, None]
    column = np.array(top) * (1 - blend) + np.array(bottom) * blend
    return Image.fromarray(np.repeat(column.round().astype(np.uint8), width, axis=1))
