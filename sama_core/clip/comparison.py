"""Pictures that compare two frames: packed for the player, and composed to be watched.

The player gets both frames of a pair in one picture. So they cannot come apart, whatever the
browser does.
"""

from collections.abc import Callable
from enum import StrEnum

import numpy as np

from .placement import resize_frame

LONGEST_SIDE = 1920
"""Pixels of the longer side that the player shows at most."""
HEAT_RANGE = 64
"""The difference, in levels of 255, from which the heat map is white."""
HEAT_COLOURS = ((0, 0, 0), (60, 10, 110), (190, 40, 90), (250, 140, 20), (255, 255, 230))
"""Of the heat map, from no difference to `HEAT_RANGE`. `web/compare/heat.js` has the same."""
LINE = 2
"""Pixels of the line of a wipe."""


class Layout(StrEnum):
    """How a film shows both clips."""

    SIDE_BY_SIDE = "side by side"
    TOP_AND_BOTTOM = "top and bottom"
    WIPE = "wipe"
    MOVING_WIPE = "moving wipe"
    DIFFERENCE = "difference"


def even_size(width: int, height: int, longest: int | None = None) -> tuple[int, int]:
    """The nearest size with even sides, in the same shape, with no side above `longest`."""
    scale = min(1.0, longest / max(width, height)) if longest else 1.0
    return _even(width * scale), _even(height * scale)


def _even(side: float) -> int:
    return max(2, round(side / 2) * 2)


def fit_to(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W, 3) at `size` (width, height); the frame itself where it has it."""
    height, width = frame.shape[:2]
    return frame if (width, height) == size else resize_frame(frame, (0, 0, width, height), *size)


def pack(edit: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Two frames of one size in one picture: the source first, then the edit.

    Below it where they are wide, beside it where they are high: decoders limit the longest side.
    """
    return np.concatenate([source, edit], axis=0 if source.shape[1] >= source.shape[0] else 1)


def composer(layout: str, position: float, count: int) -> Callable[..., np.ndarray]:
    """`compose(number, edit, source)` → the picture of the film; frames of one size, even sides.

    `position` 0…1 is where the line of a wipe stands: left of it is the source. A moving one goes
    across and back once in `count` pairs.
    """

    def moving(number: int, edit: np.ndarray, source: np.ndarray) -> np.ndarray:
        part = number / max(1, count - 1)
        return _wipe(edit, source, 1 - abs(2 * part - 1))

    return {
        Layout.SIDE_BY_SIDE: lambda number, edit, source: np.concatenate([source, edit], axis=1),
        Layout.TOP_AND_BOTTOM: lambda number, edit, source: np.concatenate([source, edit], axis=0),
        Layout.WIPE: lambda number, edit, source: _wipe(edit, source, position),
        Layout.MOVING_WIPE: moving,
        Layout.DIFFERENCE: lambda number, edit, source: heat(edit, source),
    }[Layout(layout)]


def _wipe(edit: np.ndarray, source: np.ndarray, position: float) -> np.ndarray:
    width = edit.shape[1]
    at = round(position * width)
    picture = edit.copy()
    picture[:, :at] = source[:, :at]
    if 0 < at < width:
        picture[:, max(0, at - LINE // 2) : at + LINE // 2] = 255
    return picture


def heat(edit: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Where two frames differ: the largest difference of a pixel's channels, as a colour."""
    levels = np.abs(edit.astype(np.int16) - source).max(-1)
    return heat_table()[np.minimum(levels, 255)]


def heat_table() -> np.ndarray:
    """uint8 (256, 3): the colour of each difference."""
    at = np.minimum(np.arange(256) / HEAT_RANGE, 1) * (len(HEAT_COLOURS) - 1)
    channels = np.array(HEAT_COLOURS, float).T
    stops = np.arange(len(HEAT_COLOURS))
    return (
        np.stack([np.interp(at, stops, channel) for channel in channels], -1)
        .round()
        .astype(np.uint8)
    )
