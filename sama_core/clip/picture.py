"""One picture as shown: turned upright, in RGB, what lies under transparency black; and what is wrong with it."""

from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np

from .conversion import to_rgb
from .upright import UPRIGHT, Orientation

OPAQUE, TRANSPARENT = {False: "gbrp", True: "gbrp16le"}, {False: "gbrap", True: "gbrap16le"}
WHITE = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 255 << 8}
"""The value of full light; in 16 bits swscale shifts by 8 bits, so it is not 65535."""


@dataclass(frozen=True)
class Picture:
    """A picture of a source."""

    number: int
    "Counted from 0 in the order shown, from the source's first."
    pixels: np.ndarray
    "(H, W, 3) RGB, upright, contiguous; uint8, or uint16 where more than 8 bits were asked for. White is `WHITE`."
    time: Fraction
    "Seconds after the source's first picture; later than the one before."
    length: Fraction | None
    "Seconds it is shown for; None where the source does not say."
    interlaced: bool = False
    "It holds two half pictures of different times."
    damaged: bool = False
    "The decoder had to make up parts of it."
    moved: bool = False
    "The file's time stamp for it was missing or did not rise; `time` is one between its neighbours."


def bits_of(frame: av.VideoFrame) -> int:
    """Bits per colour component, 8 to 16."""
    return max([8, *(component.bits for component in frame.format.components if component.bits <= 16)])


def has_alpha(frame: av.VideoFrame) -> bool:
    """Whether it can be transparent."""
    return frame.format.name == "pal8" or any(component.is_alpha for component in frame.format.components)


def see_through(frame: av.VideoFrame) -> bool:
    """Whether it is transparent somewhere; GIF and others carry alpha in opaque pictures too."""
    return has_alpha(frame) and int(frame.to_ndarray(format=TRANSPARENT[False])[..., 3].min()) < 255


def pixels_of(frame: av.VideoFrame, deep: bool = False, orientation: Orientation = UPRIGHT) -> np.ndarray:
    """RGB of a picture as shown: uint8 (H, W, 3), or uint16 if `deep`; upright, contiguous, alpha over black."""
    pixels = to_rgb(frame, (TRANSPARENT if has_alpha(frame) else OPAQUE)[deep])
    if pixels.shape[-1] == 4:
        pixels = _over_black(pixels)
    return orientation.applied(pixels)


def _over_black(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 4) → (H, W, 3) of the same type, rounded."""
    full = WHITE[pixels.dtype]
    product = pixels[..., :3].astype(np.uint32) * np.minimum(pixels[..., 3:], full) + full // 2
    return (product // full).astype(pixels.dtype)
