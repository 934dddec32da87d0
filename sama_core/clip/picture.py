"""One picture of a source as it is shown: upright, in RGB, black where it is transparent.

FFmpeg turns and mirrors a picture before it shows or converts one. The file gives a 3x3 matrix that
moves a stored point (x right, y down) to where it is seen: its first two columns in the first two
rows are `[[a, b], [c, d]]` with seen x = a·x + c·y, seen y = b·x + d·y.
Source: FFmpeg, `av_display_rotation_get` and the autorotation of `ffmpeg_filter.c`.
Deviation: angles between quarter turns are rounded to one; FFmpeg would turn the picture within
black corners.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise

import av
import numpy as np
from av.sidedata.sidedata import Type

from .colours import Scratch, to_rgb

MATRIX = "DISPLAYMATRIX"
KNOWN_KINDS, KINDS = {kind.value for kind in Type}, range(48)
"""Numbers of the kinds of side data: those that PyAV knows, and all that FFmpeg may have."""
OPAQUE, TRANSPARENT = {False: "gbrp", True: "gbrp16le"}, {False: "gbrap", True: "gbrap16le"}
"""FFmpeg's names for RGB without and with alpha, in 8 and (True) 16 bits."""
WHITE = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 255 << 8}
"""The value of full light; in 16 bits swscale shifts by 8 bits, so it is not 65535."""

NO_PIXELS = np.empty((0, 0, 3), np.uint8)
"""Of a picture whose pixels were not asked for."""


@dataclass(frozen=True)
class Orientation:
    """The turn and the mirroring that make a stored picture upright."""

    quarter_turns: int = 0
    """Counterclockwise, 0 to 3, after mirroring."""
    mirrored: bool = False
    """Whether top and bottom are swapped first."""

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """(H, W, channels), stored → upright, contiguous."""
        return np.ascontiguousarray(
            np.rot90(pixels[::-1] if self.mirrored else pixels, self.quarter_turns)
        )

    def size(self, width: int, height: int) -> tuple[int, int]:
        """`(width, height)`, stored → upright."""
        return (height, width) if self.quarter_turns % 2 else (width, height)


UPRIGHT = Orientation()


class Orientations:
    """Orientations of a file's pictures, read once for each angle.

    PyAV's side data keeps the picture in memory until Python collects its garbage, so it is not
    asked for each one.
    """

    def __init__(self) -> None:
        self._by_angle: dict[int, Orientation] = {}

    def of(self, frame: av.VideoFrame) -> Orientation:
        """The orientation of a decoded picture."""
        angle = frame.rotation
        if angle not in self._by_angle:
            self._by_angle[angle] = orientation_of(frame)
        return self._by_angle[angle]


def orientation_of(frame: av.VideoFrame) -> Orientation:
    """The orientation of a decoded picture; upright where the file says nothing or nonsense."""
    stated = _side_data(frame).get(MATRIX)
    return UPRIGHT if stated is None else orientation_from(np.frombuffer(bytes(stated), np.int32))


def orientation_from(matrix: np.ndarray) -> Orientation:
    """The orientation that a display matrix means, given as its nine numbers row by row."""
    a, b, _, c, d = (int(number) for number in matrix[:5])
    width, height = math.hypot(a, c), math.hypot(b, d)
    if not width or not height:
        return UPRIGHT
    clockwise = math.degrees(math.atan2(b / height, a / width))
    return Orientation(round(-clockwise / 90) % 4, a * d < b * c)


def _side_data(frame: av.VideoFrame) -> Mapping:
    """The side data of a picture, without kinds that PyAV does not know."""
    try:
        return frame.side_data
    except ValueError:  # PyAV gives up at a kind it does not know, such as FFmpeg 8's EXIF
        return _with_known_kinds(frame).side_data


def _with_known_kinds(frame: av.VideoFrame) -> av.VideoFrame:
    """The picture without side data of other kinds."""
    graph = av.filter.Graph()
    links = [
        graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1)
        )
    ]
    links += [
        graph.add("sidedata", f"mode=delete:type={kind}")
        for kind in KINDS
        if kind not in KNOWN_KINDS
    ]
    links.append(graph.add("buffersink"))
    for one, other in pairwise(links):
        one.link_to(other)
    graph.configure()
    graph.push(frame)
    picture = graph.pull()
    assert isinstance(picture, av.VideoFrame)
    return picture


@dataclass(frozen=True)
class Picture:
    """A picture of a source."""

    number: int
    """Counted from 0 in the order shown, from the source's first."""
    content: np.ndarray | Callable[[Scratch | None], np.ndarray]
    """Its `pixels`, or what makes them, in any thread."""
    time: Fraction
    """Seconds after the source's first picture; later than the one before."""
    length: Fraction | None
    """Seconds it is shown for; None where the source does not say."""
    interlaced: bool = False
    """It holds two half pictures of different times."""
    damaged: bool = False
    """The decoder had to invent parts of it."""
    moved: bool = False
    """The file has no valid time stamp for it: `time` lies between those of its neighbours."""

    @cached_property
    def pixels(self) -> np.ndarray:
        """(H, W, 3) RGB, upright, contiguous: uint8, or uint16 if so asked. Full light is `WHITE`.

        A decoded picture is converted when they are first asked for.
        """
        return self.content(None) if callable(self.content) else self.content

    def lend_pixels(self, scratch: Scratch) -> np.ndarray:
        """As `pixels`, not to be written to; valid until `scratch` is used again."""
        return self.content(scratch) if callable(self.content) else self.content


def bits_of(frame: av.VideoFrame) -> int:
    """Bits per colour component, 8 to 16."""
    return max(
        [8, *(component.bits for component in frame.format.components if component.bits <= 16)]
    )


def has_alpha(frame: av.VideoFrame) -> bool:
    """Whether it can be transparent."""
    return frame.format.name == "pal8" or any(
        component.is_alpha for component in frame.format.components
    )


def is_see_through(frame: av.VideoFrame) -> bool:
    """Whether it is transparent somewhere; GIF and others carry alpha in opaque pictures too."""
    return has_alpha(frame) and int(frame.to_ndarray(format=TRANSPARENT[False])[..., 3].min()) < 255


def pixels_of(
    frame: av.VideoFrame,
    deep: bool = False,
    orientation: Orientation = UPRIGHT,
    scratch: Scratch | None = None,
) -> np.ndarray:
    """RGB (H, W, 3) of a picture as shown, contiguous: uint8, or uint16 if `deep`.

    With `scratch` it may lie there, valid until that is used again.
    """
    pixels = to_rgb(frame, (TRANSPARENT if has_alpha(frame) else OPAQUE)[deep], scratch)
    if deep and frame.format.is_rgb and bits_of(frame) == 16:
        pixels = _to_white(pixels)
    if pixels.shape[-1] == 4:
        pixels = _over_black(pixels)
    return orientation.apply(pixels)


def _to_white(pixels: np.ndarray) -> np.ndarray:
    """Pictures that are RGB in 16 bits already, whose full light is 65535, with that of `WHITE`."""
    wide = pixels.astype(np.uint32) * WHITE[pixels.dtype]
    return ((wide + 0x7FFF) // 0xFFFF).astype(pixels.dtype)


def _over_black(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 4) → (H, W, 3) of the same type, rounded."""
    full = WHITE[pixels.dtype]
    product = pixels[..., :3].astype(np.uint32) * np.minimum(pixels[..., 3:], full) + full // 2
    return (product // full).astype(pixels.dtype)
