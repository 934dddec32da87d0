"""Decoding a whole clip to see that it can be: its facts, and small pictures spread over it."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from ....clip import ClipRange, FileSource
from ....clip.placement import shown_size

SIDE = 256
"""Pixels of a small picture's longer side."""
MOST = 32
"""Small pictures that are held; beyond it every second one is dropped."""


@dataclass(frozen=True)
class Decoded:
    """A clip or image that was decoded from its beginning to its end."""

    size: tuple[int, int]
    """(width, height) as shown."""
    fps: Fraction
    """Frames per second."""
    frames: int
    """How many there are."""
    damaged: int
    """Frames of which the decoder invented a part."""
    stated: int | None
    """How many frames the file says it has; None where it does not say."""
    small: dict[int, np.ndarray]
    """Small pictures, uint8 (h, w, 3), by number of the frame."""

    def at(self, share: float) -> np.ndarray:
        """The small picture nearest to a part of the clip, 0 to 1."""
        wanted = share * (self.frames - 1)
        return self.small[min(self.small, key=lambda number: abs(number - wanted))]


def decode(path: Path) -> Decoded:
    """Decode all of a file. Raises ClipError where that fails."""
    source = FileSource(path)
    facts = source.facts()
    size = shown_size(facts.width, facts.height, facts.pixel_aspect)
    small: dict[int, np.ndarray] = {}
    count, damaged, every, last = 0, 0, 1, None
    for picture in source.pictures(ClipRange()):
        count, damaged, last = picture.number + 1, damaged + picture.damaged, picture
        if picture.number % every == 0:
            small[picture.number] = shrink(picture.pixels, size)
        if len(small) > MOST:
            every *= 2
            small = {number: one for number, one in small.items() if number % every == 0}
    if last is not None:
        small[last.number] = shrink(last.pixels, size)
    return Decoded(size, facts.fps, count, damaged, facts.frame_count, small)


def shrink(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture as it is shown, with a longer side of SIDE pixels; a smaller one keeps its size."""
    scale = min(1.0, SIDE / max(size))
    width, height = (max(1, round(side * scale)) for side in size)
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BOX))


def largest_difference(one: Decoded, other: Decoded) -> int:
    """Largest difference of two clips' small pictures, in levels of 0 to 255.

    255 where they have no frame in common.
    """
    largest, shared = 0, sorted(set(one.small) & set(other.small))
    for number in shared:
        mine, others = one.small[number], other.small[number]
        if mine.shape != others.shape:
            size = (mine.shape[1], mine.shape[0])
            others = np.asarray(Image.fromarray(others).resize(size, Image.Resampling.BOX))
        largest = max(largest, int(np.abs(mine.astype(int) - others).max()))
    return largest if shared else 255
